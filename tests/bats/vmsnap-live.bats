# Snapshots deleted below a running machine: it writes them down itself; all others stay bit-exact, whatever interrupts it.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && lv_define A web || return 1
}
teardown() { lv_on A virsh destroy web >/dev/null 2>&1 || true; }
teardown_file() { lv_down; }

setup() { common_setup; }

snap() { lv_on A timeout 100 "$VMKIT_BIN/vmsnap" -c qemu:///session "$@"; }
source_of() { lv_on A virsh dumpxml web "$@" | sed -n "s/.*<source file='\([^']*\.qcow2\)'.*/\1/p" | head -n 1; }
disk() { source_of --inactive; }

# keep NAME... - what these snapshots show, in NAME.raw
keep() {
	local s
	for s; do vmsnap export "$(disk)@$s" - >"$s.raw"; done
}

# shows NAME... - these snapshots and no others; each as it was kept
shows() {
	run snap list --json web
	assert_success
	[ "$(json '[.[].name] | join(" ")')" = "$*" ] || fail "snapshots: $output"
	local s
	for s; do
		vmsnap export "$(disk)@$s" - | cmp - "$s.raw" || fail "$s shows something else"
	done
	run snap check web
	assert_success
	# Not a file that nobody needs
	local files
	files=$(cd "$LV_BASE" && find . -maxdepth 1 -name 'web.*' ! -name '*.xml' ! -name '*.snap' | wc -l)
	[ "$files" = $(($# + 1)) ] || fail "$files files for $#: $(ls "$LV_BASE")"
}

# change N - the paused machine's disk gets something new at place N, by its own QEMU
change() {
	local said
	WRITES=$((${WRITES:-$((BATS_TEST_NUMBER * 60))} + 1))
	said=$(lv_on A virsh qemu-monitor-command web --hmp "qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend \"write -P $((WRITES % 255 + 1)) $((40 + $1 % 16))M 300k\"")
	[ -z "$said" ] || fail "$said"
}

@test "a guest writes, and its snapshots are deleted in any place" {
	lv_on A virsh start web >/dev/null
	lv_agent A web
	lv_on A "$VMKIT_BIN/vmctl" exec -i web -- sh -c 'cat >/run/w && (sh /run/w >/dev/null 2>&1 &)' <<'X'
n=0
while :; do
	n=$((n + 1))
	echo "$n" >/mnt/count.new && sync && cat /mnt/count.new >>/mnt/counts && sync
	sleep 0.02
done
X
	local s
	for s in one two three four; do
		sleep 0.5
		snap create --quiesce="$([ $s = one ] && echo require || echo no)" web $s
	done
	sleep 0.5
	keep one two three four
	# In the midst: three goes down into two's file
	run_split snap delete -v web two
	assert_status 0
	shows one three four
	# The lowest, then what lies below the present state: the machine goes on in four's file
	snap delete web one
	shows three four
	[ "$(source_of)" = "$LV_BASE/web.live-4.qcow2" ]
	snap delete web four
	shows three
	[ "$(source_of)" = "$LV_BASE/web.live-3.qcow2" ]
	[ "$(source_of --inactive)" = "$LV_BASE/web.live-3.qcow2" ]
	# What was deleted can be made again, and all be merged
	snap create --quiesce=no web four
	keep four
	sleep 0.5
	run snap merge --dry-run --json --all web
	assert_schema vmsnap-merge
	[ "$(json '.merged | join(" ")')" = "three four" ]
	shows three four
	run snap merge -v --all web
	assert_output "merged three
merged four"
	shows
	[ "$(source_of)" = "$LV_BASE/web.qcow2" ]
	[ "$(disk)" = "$LV_BASE/web.qcow2" ]
	sleep 0.5
	lv_on A virsh destroy web >/dev/null
	qemu-img check "$(disk)"
	vmimg convert -O raw "$(disk)" now.raw
	e2fsck -fp now.raw >/dev/null || [ $? = 1 ]
	debugfs -R "cat counts" now.raw 2>/dev/null | awk '$1 != NR { exit 1 } END { exit NR < 100 }'
}

@test "branches that do not run take along what they need" {
	snap create -e external web a
	snap create web b
	keep a b
	# Back to a: b stays as a branch of it, and the disk is an overlay of a
	snap revert -q --discard-current web a
	lv_on A virsh start --paused web >/dev/null
	change 1
	snap create --quiesce=no web c
	keep c
	change 2
	shows a b c
	snap delete web a
	shows b c
	# One that the machine has nothing to do with
	snap create --quiesce=no web d
	keep d
	snap delete web b
	shows c d
	lv_on A virsh destroy web >/dev/null
	snap prune --keep-last 1 web
	shows d
	lv_on A virsh start --paused web >/dev/null
	change 3
	snap create --quiesce=no web e
	change 4
	snap prune --max-chain 1 web
	keep e
	shows e
	snap delete web e
	lv_on A virsh destroy web >/dev/null
	shows
	# A name whose file another one has: that of f is g's then
	snap create -e external web f
	lv_on A virsh start --paused web >/dev/null
	change 5
	snap create --quiesce=no web g
	snap delete web f
	lv_on A virsh destroy web >/dev/null
	[[ $(snap show --json web:vda@g | jq -r .file) == *.f.qcow2 ]]
	snap create web f
	keep f g
	shows g f
	snap delete web f g
}

@test "cancelled, it goes on with recover; what is in the way is said before" {
	lv_on A virsh start --paused web >/dev/null
	change 5
	snap create --quiesce=no web a
	change 6
	change 7
	snap create --quiesce=no web b
	keep b
	# Too little at a time: some of the 600 KiB will be there when the signal comes
	lv_on A "$VMKIT_BIN/vmsnap" -c qemu:///session delete --rate-limit 100k web a 2>said 3>&- &
	local pid=$!
	until lv_on A virsh blockjob --raw web vda | grep -q type; do kill -0 $pid 2>/dev/null || fail "$(cat said)"; done
	refused 6 snap create --quiesce=no web x
	kill -INT "$(pgrep -P $pid -n || echo $pid)"
	status=0
	wait $pid || status=$?
	[ "$status" = 130 ] || fail "status $status: $(cat said)"
	grep -q "recover" said
	[ -z "$(lv_on A virsh blockjob --raw web vda)" ]
	refused 1 snap list web
	refused 1 vmsnap recover "$(disk)"
	run snap recover --json web
	[ "$(json .result)" = finished ]
	shows b
	# A job of somebody else's, which is b's end: the machine has its file open for writing from now on
	change 8
	lv_on A virsh blockcommit web vda --active --bytes --bandwidth 1000 >/dev/null
	refused 6 snap delete web b
	[[ $stderr == *"block job"* ]]
	lv_on A virsh blockjob web vda --abort >/dev/null
	# Images that lean on it, or on the file that would go
	qemu-img create -q -f qcow2 -F qcow2 -b "$(source_of)" "$LV_BASE/x.qcow2" -u 64M
	refused 6 snap delete web b
	rm "$LV_BASE/x.qcow2"
	qemu-img create -q -f qcow2 -F qcow2 -b "$(basename "$(snap show --json "web:vda@b" | jq -r .file)")" "$LV_BASE/x.qcow2" -u 64M
	refused 6 snap delete web b
	rm "$LV_BASE/x.qcow2"
	# In another folder, through another image: its domain is known
	lv_as mkdir "$LV_BASE/o"
	qemu-img create -q -f qcow2 -F qcow2 -b "$(snap show --json "web:vda@b" | jq -r .file)" "$LV_BASE/o/low.qcow2" -u 64M
	qemu-img create -q -f qcow2 -F qcow2 -b low.qcow2 "$LV_BASE/o/high.qcow2" -u 64M
	sed "s,<name>web<,<name>other<,; s,$LV_BASE/web.qcow2,$LV_BASE/o/high.qcow2," "$LV_BASE/web.xml" >"$LV_BASE/o/other.xml"
	lv_on A virsh define "$LV_BASE/o/other.xml" >/dev/null
	refused 6 snap delete web b
	[[ $stderr == *"other ("* ]] || fail "$stderr"
	lv_on A virsh undefine other >/dev/null
	snap delete web b
	shows
	lv_on A virsh destroy web >/dev/null
}

@test "two disks are one snapshot, and are shortened one by one; what the machine refuses changes nothing" {
	lv_as qemu-img create -q -f qcow2 "$LV_BASE/data.qcow2" 64M
	lv_on A virsh attach-disk web "$LV_BASE/data.qcow2" vdb --subdriver qcow2 --config >/dev/null
	lv_on A virsh start --paused web >/dev/null
	local s d
	for s in a b; do
		change 1
		lv_on A virsh qemu-monitor-command web --hmp "qemu-io -d /machine/peripheral/virtio-disk1/virtio-backend \"write -P $WRITES 1M 300k\"" >/dev/null
		snap create --quiesce=no web $s
	done
	for d in vda vdb; do snap export "web:$d@b" - >$d.raw; done
	! cmp -s vdb.raw <(snap export web:vdb@a -) || fail "nothing was written"
	refused 9 snap create --memory web m # it is paused
	# After that QEMU keeps the disks of a paused machine shut
	lv_on A virsh snapshot-create-as web x --no-metadata --live --memspec "file=$LV_BASE/x.memory" --diskspec vda,snapshot=no --diskspec vdb,snapshot=no >/dev/null
	rm -f "$LV_BASE/x.memory"
	run_split snap delete web a
	assert_status 1
	[ "$(snap list --json web:vda | jq -r '[.[].name] | join(" ")')" = "a b" ]
	lv_on A virsh resume web >/dev/null && lv_on A virsh suspend web >/dev/null
	snap delete web a
	for d in vda vdb; do
		[ "$(snap list --json web:$d | jq -r '[.[].name] | join(" ")')" = b ]
		snap export "web:$d@b" - | cmp - $d.raw
	done
	snap merge web:vdb b
	snap export web:vda@b - | cmp - vda.raw
	snap prune --max-chain 1 web:vda
	snap merge --all web:vda
	lv_on A virsh destroy web >/dev/null
	lv_on A virsh detach-disk web vdb --config >/dev/null
	rm "$LV_BASE"/data.*
	shows
}

# At each: VMSNAP_STEP=1
@test "killed at any call: recover asks the machine, on or off, and finishes it" {
	lv_on A virsh start --paused web >/dev/null
	local n killed=0 active=0 off=0
	snap create --quiesce=no web low
	for ((n = 1; n < 80; n += ${VMSNAP_STEP:-4})); do
		change $((n % 16))
		snap create --quiesce=no web "m$n"
		change $(((n + 5) % 16))
		snap create --quiesce=no web "h$n"
		change $(((n + 9) % 16))
		keep low "m$n" "h$n"
		! cmp -s low.raw "m$n.raw" && ! cmp -s "m$n.raw" "h$n.raw" || fail "nothing was written"
		# By turns: the present state goes down, a snapshot does
		local name=m$n left=h$n
		if [ $((killed % 2)) = 1 ]; then name=h$n left=m$n; fi
		lv_on A env LD_PRELOAD="$(preload inject.so)" INJECT_AT=$n INJECT_HOW=kill INJECT_UNLINK=1 \
			"$VMKIT_BIN/vmsnap" -c qemu:///session delete web "$name" 2>/dev/null && break
		killed=$((killed + 1))
		if [ $((killed % 3)) = 0 ]; then
			lv_on A virsh destroy web >/dev/null
			off=$((off + 1))
		fi
		run snap recover --json web
		assert_success
		[ $((killed % 3)) != 0 ] || lv_on A virsh start --paused web >/dev/null
		[ "$(json .result)" != finished ] || active=$((active + 1))
		run snap list --json web
		if [ "$(json "[.[].name] | index(\"$name\")")" = null ]; then
			shows low "$left"
			snap delete web "$left"
		else
			shows low "m$n" "h$n"
			snap delete web "m$n" "h$n"
		fi
		[ $((n % 4)) != 0 ] || shows low
	done
	lv_on A virsh destroy web >/dev/null
	[ "$n" -lt 80 ] && [ "$active" -gt 1 ] && [ "$off" -gt 0 ] || fail "killed $killed, finished $active, off $off, of $n"
	qemu-img check "$(source_of --inactive)"
}

@test "memory is kept: revert goes on from that moment, from on and from off" {
	# What the test before has left, which chance decides
	run snap list --json web
	mapfile -t left < <(json '.[].name')
	((${#left[@]} == 0)) || snap delete web "${left[@]}"
	guest() { lv_on A timeout 60 "$VMKIT_BIN/vmctl" -c qemu:///session exec web -- sh -c "$1"; }
	refused 2 snap create --memory web m
	lv_on A virsh start web >/dev/null
	lv_agent A web
	guest 'echo before >/run/in-memory; echo before >/mnt/on-disk; (while :; do sleep 1; done) >/dev/null 2>&1 & echo $! >/run/pid'
	local boot pid
	boot=$(guest 'cat /proc/sys/kernel/random/boot_id')
	pid=$(guest 'cat /run/pid')
	refused 2 snap create --memory --quiesce=require web m
	run snap create --memory --json web m
	assert_success
	assert_schema vmsnap-create
	[ "$(json .vm_state_size)" -gt 1000000 ]
	keep m
	lv_agent A web
	guest 'echo after >/run/in-memory; echo after >/mnt/on-disk; sync'
	run_split snap revert --json web m
	assert_status 0
	assert_schema vmsnap-revert
	[ "$(json .memory)" = true ]
	local kept
	kept=$(json .kept)
	lv_agent A web
	[ "$(guest 'cat /proc/sys/kernel/random/boot_id /run/in-memory /mnt/on-disk')" = "$boot
before
before" ]
	guest "kill -0 $pid && echo more >>/mnt/on-disk && sync"
	vmsnap export "$(disk)@m" - | cmp - m.raw
	# Stopped while it is written; killed: libvirt goes on, and recover waits for it
	local signal i
	for signal in INT KILL; do
		lv_on A "$VMKIT_BIN/vmsnap" -c qemu:///session create --memory web s$signal 2>said 3>&- &
		pid=$!
		until [ -n "$(find "$LV_BASE" -name ".s$signal.memory")" ]; do kill -0 $pid 2>/dev/null || fail "$(cat said)"; done
		kill -$signal "$(pgrep -P $pid -n || echo $pid)"
		status=0
		wait $pid || status=$?
		[ "$signal$status" = INT130 ] || [ "$signal$status" = INT0 ] || [ "$signal$status" = KILL137 ] || fail "status $status: $(cat said)"
		for ((i = 0; i < 100; i++)); do
			run snap recover --json web
			[ "$status" = 6 ] || break
			sleep 0.2
		done
		assert_success
		run snap check web
		assert_success
		run snap list --json web
		if [ "$(json "[.[].name] | index(\"s$signal\")")" = null ]; then
			[ -z "$(find "$LV_BASE" -name ".s$signal.memory")" ]
		else
			snap delete web s$signal
		fi
		[ "$(lv_on A virsh domstate web | head -n 1)" = running ]
	done
	# Off: it is started from there; anew when that is asked for
	lv_on A virsh destroy web >/dev/null
	snap revert -q --discard-current web m
	lv_agent A web
	[ "$(guest 'cat /proc/sys/kernel/random/boot_id /run/in-memory /mnt/on-disk')" = "$boot
before
before" ]
	run snap revert --json --discard-current --boot web m
	[ "$(json .memory)" = false ]
	[ "$(lv_on A virsh domstate web | head -n 1)" = running ]
	run snap revert --json --discard-current --no-start web m
	[ "$(lv_on A virsh domstate web | head -n 1)" = "shut off" ]
	# It goes with the snapshot
	local dir
	dir=$(echo "$LV_BASE"/web*.snap)
	[ -n "$(find "$dir" -name '.m.memory')" ]
	# Damaged: found before anything is touched
	cp "$dir/.m.memory" memory && echo x >"$dir/.m.memory"
	run_split snap revert web m
	[ "$status" != 0 ] && [ "$(lv_on A virsh domstate web | head -n 1)" = "shut off" ]
	run snap check web
	assert_success
	snap delete web m "$kept"
	shows
	[ -z "$(find "$LV_BASE" -name '*.memory')" ]
}
