# vmctl events: a session daemon whose machine has no guest system (nothing boots), and libvirt's test driver.

load common
load lvhost

setup_file() { lv_init && lv_on A virsh list >/dev/null && define; }
teardown_file() { lv_down; }

setup() {
	common_setup
	require virsh jq qemu-img
	URI=$(lv_uri A)
	DEAD="qemu+unix:///session?socket=$PWD/none"
	FOLLOWER=
}

teardown() {
	[ -z "$FOLLOWER" ] || { kill "$FOLLOWER" 2>/dev/null && wait "$FOLLOWER"; } || true
	lv_on A virsh destroy web >/dev/null 2>&1 || true
}

on() { lv_on A timeout 20 virsh -q "$@" >/dev/null; }

# define - a machine with a disk over a backing file, and one whose boot sector cannot be read
define() {
	(
		cd "$LV_BASE" || exit 1
		qemu-img create -q -f qcow2 base.qcow2 1M && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 web.qcow2 || exit 1
		# A compressed cluster that does not decompress: reading it is an error, and the image stays open.
		yes boot | head -c 1M >bad.raw && qemu-img convert -c -f raw -O qcow2 bad.raw bad.qcow2 || exit 1
		l2=$(($(be64 "$(be64 40)") & ((1 << 56) - 512)))
		patch_bytes bad.qcow2 $(($(be64 $l2) & ((1 << 54) - 1))) "$(printf 'ff%.0s' $(seq 32))"
		[ "$(id -u)" != 0 ] || chown "$LV_UID:$LV_UID" ./*.qcow2
	) || return 1
	machine web "" 1 && machine bad "error_policy='stop' rerror_policy='stop'" 2
}

# be64 OFFSET - a number of bad.qcow2
be64() { echo $((16#$(od -An -tx1 -j"$1" -N8 bad.qcow2 | tr -d ' '))); }

# machine NAME DRIVER_ATTRIBUTES UUID'S_LAST_DIGIT
machine() {
	cat >"$LV_BASE/$1.xml" <<X
<domain type='qemu'><name>$1</name><uuid>11111111-2222-3333-4444-55555555555$3</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><disk type='file' device='disk'><driver name='qemu' type='qcow2' $2/>
<source file='$LV_BASE/$1.qcow2'/><target dev='vda' bus='virtio'/></disk><controller type='usb' model='qemu-xhci'/>
<input type='tablet' bus='usb'><alias name='ua-pen'/></input><memballoon model='none'/></devices></domain>
X
	on define "$LV_BASE/$1.xml"
}

# soon CMD... - until CMD succeeds
soon() {
	local i
	for ((i = 0; i < 1200; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	fail "not so after 15 s: $*
$(tail -n 20 out errors)"
}

# seen FILTER - wait for an event in ./out for which the jq filter is true; the last line may be half written
seen() { soon have "$1"; }
have() { [ -n "$(jq -c "select($1)" out 2>/dev/null)" ]; }

# behind ARGS... - vmctl events in the background, its lines in ./out
behind() {
	# A shell without job control has its children ignore SIGINT.
	env --default-signal=SIGINT vmctl events "$@" >out 2>errors 3>&- &
	FOLLOWER=$!
}

# follow ARGS... - the same, listening already on return
follow() {
	behind "$@"
	seen '.event == "connected" and .kind == "host"'
}

# ended STATUS - the one in the background
ended() {
	local rc=0
	wait "$FOLLOWER" || rc=$?
	FOLLOWER=
	[ $rc = "$1" ] || fail "status $rc instead of $1: $(cat errors)"
}

@test "the life of a machine, block jobs, devices, resets, as they happen; SIGINT ends it" {
	follow -c "$URI"
	on start --paused web
	on reset web
	on blockpull web vda
	seen '.kind == "block-job"'
	on detach-device-alias web ua-pen
	seen '.event == "removed"'
	on resume web
	on suspend web
	on destroy web
	seen '.event == "stopped"'
	kill -INT $FOLLOWER
	ended 130
	[ ! -s errors ]
	assert_schema vmctl-events out
	jq -r 'select(.kind == "lifecycle") | .machine + " " + .event + " " + .detail' out >life
	local want
	for want in "web started booted" "web resumed user" "web stopped destroyed"; do
		[ "$(grep -cx "$want" life)" = 1 ] || fail "$want: $(cat life)"
	done
	grep -qx "web suspended user" life # once more at the start: it was asked to be paused
	[ "$(jq -r 'select(.kind == "block-job") | .event + " " + .detail + " " + .device' out)" = "completed pull vda" ]
	[ "$(jq -r 'select(.kind == "device") | .event + " " + .device' out)" = "removed ua-pen" ]
	[ "$(jq -r 'select(.kind == "reboot") | .event + " " + .machine' out)" = "reset web" ]
	[ "$(jq -r 'select(.machine != null) | .uuid' out | sort -u)" = 11111111-2222-3333-4444-555555555551 ]
	[ "$(jq -r .host out | sort -u)" = "$URI" ]
}

@test "a disk that cannot be read: the machine, the disk, what was done about it" {
	follow -c "$URI" --kind io-error --kind host --count 2 --timeout 20s
	on start bad
	ended 0
	on destroy bad
	assert_schema vmctl-events out
	[ "$(jq -r 'select(.kind == "io-error") | .machine + " " + .event + " " + .path' out)" = "bad paused $LV_BASE/bad.qcow2" ]
	[ "$(jq -r 'select(.kind == "io-error") | .device' out)" = virtio-disk0 ]
}

@test "a daemon that ends and comes again: lost, connected, and how each machine is" {
	local pid
	on start --paused web
	follow -c "$URI" --kind lifecycle --kind host
	pid=$(cat "$LV_BASE/A/run/libvirt/libvirtd.pid")
	kill "$pid"
	seen '.event == "lost"'
	on list
	seen '.event == "present" and .machine == "web"'
	on resume web
	seen '.event == "resumed" and .machine == "web"'
	kill -TERM $FOLLOWER
	ended 143
	assert_schema vmctl-events out
	[ "$(jq -r 'select(.kind == "host") | .event' out | xargs)" = "connected lost connected" ]
	[ "$(jq -r 'select(.event == "present") | .machine + " " + .state' out | sort | xargs)" = "bad off web paused" ]
}

@test "autostart --order: in the domain's metadata, started in that order, and libvirt's own autostart is off" {
	ctl() { lv_on A "$VMKIT_BIN/vmctl" -c qemu:///session "$@"; }
	lv_on A virsh autostart web
	ctl autostart --order 2 web
	ctl autostart --order 1 --delay 1s bad
	[ "$(lv_on A virsh metadata web urn:vmkit:autostart --config | xmllint --xpath 'string(/*/@order)' -)" = 2 ]
	[ "$(lv_on A virsh dominfo web | awk '$1 == "Autostart:" { print $2 }')" = disable ]
	[ "$(ctl list --json | jq -c '[.[] | [.name, .autostart, .autostart_order]]')" = '[["bad",true,1],["web",true,2]]' ]
	ctl start --autostart
	# libvirt counts those that it starts
	[ "$(lv_on A virsh domid bad)" -lt "$(lv_on A virsh domid web)" ]
	lv_on A virsh destroy bad
	ctl autostart web
	[ "$(lv_on A virsh dominfo web | awk '$1 == "Autostart:" { print $2 }')" = enable ]
	[ "$(ctl list --json | jq -c '.[] | select(.name == "web") | [.autostart, .autostart_order]')" = '[true,null]' ]
	ctl autostart --off web bad
	ctl autostart --off web bad
	[ "$(ctl list --json | jq -c '[.[].autostart]')" = '[false,false]' ]
}

@test "names, kinds, --count and --timeout choose" {
	behind -c "$URI" web --present --count 2 --timeout 20s
	seen '.event == "present"'
	on define "$LV_BASE/bad.xml"
	on define "$LV_BASE/web.xml"
	ended 0
	[ "$(jq -r '.machine + " " + .event' out | xargs)" = "web present web defined" ]
	run_split vmctl -c "$URI" events nobody --count 1 --timeout 300ms
	assert_status 10
	[ -z "$output" ]
	run_split vmctl -c "$URI" events --present --kind agent --timeout 300ms
	assert_status 0
	[ -z "$output" ]
	run_split vmctl -c "$URI" events --present --kind host --count 1 --timeout 20s
	assert_status 0
	assert_schema vmctl-events
	[ "$(json .event)" = connected ]
}

@test "words on a terminal, JSON with --json" {
	script -qec "vmctl -c test:///default events --present --count 1 --timeout 20s" typescript >/dev/null
	grep -q 'test:///default  test  lifecycle present running' typescript
	script -qec "vmctl -c test:///default events --present --count 1 --timeout 20s --json" typescript >/dev/null
	grep -q '^{.*"event":"present"' typescript
}

@test "several hosts: one that is not there is told and tried again; all of them are a failure" {
	follow -c test:///default -c "$DEAD" --present
	seen '.event == "lost"'
	seen '.event == "present"'
	soon grep -q "$DEAD: .*it is tried again" errors
	kill -TERM $FOLLOWER
	ended 143
	assert_schema vmctl-events out
	[ "$(jq -r .event out | sort | xargs)" = "connected lost present" ]
	refused 2 vmctl events --kind life
	refused 4 vmctl -c nowhere events
	run_split vmctl -c "$DEAD" events --kind lifecycle
	assert_status 7
	[ -z "$output" ]
}

@test "a reader that goes away ends it quietly, without another event" {
	local start=$SECONDS
	{ timeout 20 vmctl -c test:///default events 2>errors || echo $? >status; } | head -n 1 >first
	[ "$(cat status)" = 141 ]
	[ ! -s errors ]
	assert_schema vmctl-events first
	[ $((SECONDS - start)) -lt 10 ]
}

@test "events that a slow reader does not take are dropped and told, and the states with them" {
	{
		echo '<node>'
		for i in $(seq 100); do
			echo "<domain type='test'><name>m$i</name><memory>1024</memory><os><type>hvm</type></os></domain>"
		done
		echo '</node>'
	} >node.xml
	# 100 lines are more than this pipe holds: all but one of the rest is dropped while nobody reads.
	mkfifo fifo
	exec 7<>fifo
	python3 -c 'import fcntl; fcntl.fcntl(7, 1031, 4096)'
	vmctl -c "test://$PWD/node.xml" events --present --debug-queue 1 --kind lifecycle --kind host --count 100 --timeout 40s \
		>fifo 2>errors 3>&- 7>&- &
	FOLLOWER=$!
	exec 8<fifo 7>&-
	{ IFS= read -r first && echo "$first" && sleep 1 && cat; } <&8 >out
	exec 8<&-
	ended 0
	assert_schema vmctl-events out
	[[ "$(jq -r .event out | uniq | xargs)" == "connected "*"overflow present"* ]]
	vmctl -c "test://$PWD/node.xml" events --present --kind lifecycle --count 100 --timeout 40s >all
	[ "$(jq -r .machine all | sort -u | wc -l)" = 100 ]
}
