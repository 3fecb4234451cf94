# vmsnap on libvirt domains: session daemon, QEMU without hardware, a guest that writes numbered blocks.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && lv_define A web || return 1
}
teardown_file() { lv_down; }

setup() { common_setup; }

snap() { lv_on A timeout 100 "$VMKIT_BIN/vmsnap" -c qemu:///session "$@"; }
state() { lv_on A virsh domstate web | head -n 1; }
source_of() { lv_on A virsh dumpxml web "$@" | sed -n "s/.*<source file='\([^']*\.qcow2\)'.*/\1/p" | head -n 1; }

@test "off: a domain is the set of its disks" {
	snap create -e external web clean
	run lv_on A "$VMKIT_BIN/vmsnap" list --json qemu:///session/web
	assert_success
	assert_schema vmsnap-list
	[ "$(json '.[0].name + " " + .[0].engine')" = "clean external" ]
	[ "$(json '.[0].disk')" = "$LV_BASE/web.qcow2" ]
	run snap show web:vda@clean
	assert_success
	refused 4 snap show web:vdb@clean
	refused 4 snap list nothere
	refused 5 snap create web clean
	snap delete web clean
}

@test "running: the guest goes on in an overlay, its writes stand still" {
	lv_on A virsh start web
	lv_agent A web
	lv_on A "$VMKIT_BIN/vmctl" exec -i web -- sh -c 'cat >/run/w && (sh /run/w >/dev/null 2>&1 &)' <<'X'
n=0
while :; do
	n=$((n + 1))
	echo "$n" >/mnt/count.new && sync && cat /mnt/count.new >>/mnt/counts && sync
	sleep 0.05
done
X
	sleep 1
	run_split snap create -v --quiesce=require web one
	assert_status 0
	[[ $stderr == *"stood still"* ]]
	[ "$(source_of)" = "$LV_BASE/web.live-1.qcow2" ]
	[ "$(source_of --inactive)" = "$LV_BASE/web.live-1.qcow2" ]
	sleep 1
	run snap create --json --quiesce=no web two
	assert_success
	assert_schema vmsnap-create
	[ "$(source_of)" = "$LV_BASE/web.live-2.qcow2" ]
	run snap check web
	assert_success
	run snap list --json web
	[ "$(json '[.[] | .name + ":" + (.file | sub(".*/"; ""))] | join(" ")')" = "one:web.qcow2 two:web.live-1.qcow2" ]
	# The old name leads to the same
	run vmsnap list --json "$LV_BASE/web.qcow2"
	[ "$(json '[.[].name] | join(" ")')" = "one two" ]
	# A quiesced state needs no journal to be replayed, and its numbers have no gap
	vmsnap export "$LV_BASE/web.qcow2@one" one.raw
	e2fsck -fn one.raw
	debugfs -R "cat counts" one.raw 2>/dev/null | awk '$1 != NR { exit 1 } END { exit NR < 2 }'
	refused 5 snap create web two
	refused 9 snap create -e internal web three
	[ "$(state)" = running ]
}

@test "an agent that does not answer: refused when it is required, and nothing is left" {
	lv_on A "$VMKIT_BIN/vmctl" exec web -- sh -c '(sleep 1; kill -STOP $(pidof qemu-ga); sleep 14; kill -CONT $(pidof qemu-ga)) >/dev/null 2>&1 &'
	sleep 1.5
	refused 7 snap create --quiesce=require web z
	[[ $stderr == *"stand still"* ]]
	run snap list --json web
	[ "$(json '[.[].name] | join(" ")')" = "one two" ]
	[ "$(source_of)" = "$LV_BASE/web.live-2.qcow2" ] && [ ! -e "$LV_BASE/web.live-3.qcow2" ]
	lv_agent A web
}

@test "revert of a running domain: stopped, back, started; the kept state can be had again" {
	run_split snap revert --json web one
	assert_status 0
	assert_schema vmsnap-revert
	local kept
	kept=$(json .kept)
	[ "$(state)" = running ]
	lv_on A virsh destroy web
	run snap list --json web
	[ "$(json '[.[] | select(.name == "two" or .current) | .name] | join(" ")')" = "one two" ]
	vmsnap export "$LV_BASE/web.qcow2@one" one.raw
	vmsnap export "$LV_BASE/web.qcow2@$kept" kept.raw
	e2fsck -fp kept.raw >/dev/null || [ $? = 1 ]
	[ "$(debugfs -R 'cat counts' kept.raw 2>/dev/null | wc -l)" -gt "$(debugfs -R 'cat counts' one.raw 2>/dev/null | wc -l)" ]
	local sums
	sums=$(vmimg digest "$LV_BASE/web.live-2.qcow2")
	snap delete web two one "$kept"
	[ "$(vmimg digest "$LV_BASE/web.live-2.qcow2")" = "$sums" ]
	run snap list --json web
	[ "$(json length)" = 0 ]
	[ "$(cd "$LV_BASE" && echo web*qcow2*)" = web.live-2.qcow2 ]
	lv_on A virsh start web
	lv_agent A web
}

@test "what would leave it off or lose something is found before" {
	lv_on A virsh checkpoint-create-as web cp1 >/dev/null
	snap create --quiesce=no web x
	refused 9 snap revert web x
	[[ $stderr == *checkpoint* ]]
	[ "$(state)" = running ]
	lv_on A virsh checkpoint-delete web cp1 >/dev/null
	# Its file is lost: QEMU has it open still
	local file
	file=$(snap show --json web:vda@x | jq -r .file)
	mv "$file" "$file.away"
	run_split snap revert web x
	[ "$status" != 0 ] && [ "$(state)" = running ]
	mv "$file.away" "$file"
	refused 7 timeout 20 "$VMKIT_BIN/vmsnap" -c "qemu+unix:///session?socket=/nowhere" list web
	refused 2 snap create web web y
	lv_on A virsh managedsave web >/dev/null
	refused 9 snap revert web x
	[[ $stderr == *"saved memory"* ]]
	# What it would be restored with names the files of the chain as they are
	refused 9 snap create web y
	refused 9 snap delete web x
	refused 9 snap merge --all web
	lv_on A virsh managedsave-remove web >/dev/null
	snap revert -q --discard-current web x
	[ "$(state)" = "shut off" ]
	snap delete web x
}

@test "killed while the machine changes over: recover asks it how far it came" {
	lv_on A virsh start --paused web
	local file done=0 undone=0 n
	for ((n = 1; n < 40; n++)); do
		file=$(source_of)
		lv_on A env LD_PRELOAD="$VMKIT_TOOLS/inject.so" INJECT_AT=$n INJECT_HOW=kill \
			"$VMKIT_BIN/vmsnap" -c qemu:///session create --quiesce=no web "k$n" 2>/dev/null && break
		run snap recover --json web
		assert_success
		run snap list --json web
		if [ "$(source_of)" = "$file" ]; then
			[ "$(json "[.[].name] | index(\"k$n\")")" = null ]
			undone=$((undone + 1))
		else
			[ "$(json ".[] | select(.name == \"k$n\") | .file")" = "$file" ]
			done=$((done + 1))
		fi
		run snap check web
		assert_success
	done
	[ "$undone" -gt 0 ] && [ "$done" -gt 0 ] && [ "$n" -lt 40 ] || fail "undone $undone, done $done, of $n"
	lv_on A virsh destroy web
	run snap merge --all web
	assert_success
	[ "$(cd "$LV_BASE" && find . -maxdepth 1 -name 'web*' ! -name web.xml | wc -l)" = 1 ] || fail "$(cd "$LV_BASE" && ls -d web*)"
	qemu-img check "$(source_of --inactive)"
}

@test "killed while a running machine goes back: recover lets it run again" {
	local n killed=0 off=0
	snap create -e external web base
	lv_on A virsh start web
	for n in 3 9 15 21; do
		lv_on A env LD_PRELOAD="$VMKIT_TOOLS/inject.so" INJECT_AT=$n INJECT_HOW=kill INJECT_UNLINK=1 \
			"$VMKIT_BIN/vmsnap" -c qemu:///session revert --discard-current web base 2>/dev/null && break
		killed=$((killed + 1))
		[ "$(state)" = running ] || off=$((off + 1))
		run snap recover --json web
		assert_success
		[ "$(state)" = running ]
		run snap check web
		assert_success
	done
	[ "$killed" -gt 2 ] && [ "$off" -gt 1 ] || fail "killed $killed, off $off, of $n"
	run snap recover --json web
	[ "$(json .result)" = nothing ]
	lv_on A virsh destroy web
	snap merge --all web
	[ "$(cd "$LV_BASE" && find . -maxdepth 1 -name 'web*' ! -name web.xml | wc -l)" = 1 ] || fail "$(cd "$LV_BASE" && ls -d web*)"
}
