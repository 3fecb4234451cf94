# Machines that move between two hosts: session daemons on this machine, a guest that writes numbered blocks meanwhile.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && lv_define A web && lv_on A virsh start web >/dev/null && lv_agent A web || return 1
	lv_on B virsh list >/dev/null # the daemon starts
	export A B
	A=$(lv_uri A) B=$(lv_uri B)
	writer
}
teardown_file() { lv_down; }

setup() {
	common_setup
	require jq debugfs
}

# writer - the guest appends numbers with their checksums, each as a block of 4 KiB, to one of 64 places of a file
writer() {
	local script='i=0; while :; do i=$((i + 1)); printf "%-4095s\\n" "$i $(echo $i | md5sum)" >/tmp/b
		dd if=/tmp/b of=/mnt/seq bs=4096 seek=$((i % 64)) conv=notrunc,fsync; done'
	lv_on A virsh qemu-agent-command web \
		"$(jq -nc --arg s "$script" '{execute: "guest-exec", arguments: {path: "/bin/sh", arg: ["-c", $s]}}')" >/dev/null
}

ctl() { lv_on A "$VMKIT_BIN/vmctl" "$@"; }
state() { lv_on "$1" virsh domstate web 2>/dev/null | head -n 1; }

# only_on HOST - it runs there and is not known on the other one
only_on() {
	local other=B
	[ "$1" != B ] || other=A
	[ "$(state "$1")" = running ] || fail "on $1 it is $(state "$1")"
	[ -z "$(state "$other")" ] || fail "on $other it is $(state "$other")"
}

# counts HOST - the guest goes on writing, and what it has written is right
counts() {
	local uri=$A i a b
	[ "$1" != B ] || uri=$B
	a=$(ctl -c "$uri" exec web -- head -c 8 /mnt/seq | cut -d' ' -f1)
	for ((i = 0; i < 100; i++)); do
		b=$(ctl -c "$uri" exec web -- head -c 8 /mnt/seq | cut -d' ' -f1)
		[ "$b" = "$a" ] || break
		sleep 0.3
	done
	[ "$b" -gt "$a" ] || fail "it writes no more"
	ctl -c "$uri" exec web -- cat /mnt/seq >seq
	python3 - <<-'P' || fail "what it wrote is not right"
		import hashlib
		data = open('seq', 'rb').read()
		for k in range(len(data) // 4096):
		    words = data[k * 4096:(k + 1) * 4096].split()
		    if k == 0 and not words: continue
		    assert hashlib.md5(words[0] + b'\n').hexdigest().encode() == words[1] and int(words[0]) % 64 == k, (k, words[:2])
	P
}

# under_way - a job of the machine on A has begun
under_way() {
	local i
	for ((i = 0; i < 1200; i++)); do
		[[ $(lv_on A virsh domjobinfo web) == *None* ]] || return 0
		sleep 0.1
	done
	fail "nothing begins: $(cat err)"
}

@test "what is in the way is found before anything is touched" {
	ctl migrate web "$B" --check --unsafe
	refused 4 lv_on A "$VMKIT_BIN/vmctl" migrate nobody "$B"
	refused 4 lv_on A "$VMKIT_BIN/vmctl" migrate web nohost
	refused 7 lv_on A "$VMKIT_BIN/vmctl" migrate web "qemu+unix:///session?socket=$LV_BASE/none"
	refused 2 lv_on A "$VMKIT_BIN/vmctl" migrate web "$B" --storage copy # onto itself
	sed "s,<name>web</name>,<name>web</name><uuid>11111111-2222-3333-4444-555555555555</uuid>," "$LV_BASE/web.xml" >other.xml
	install -m 644 other.xml "$LV_BASE/other.xml"
	lv_on B virsh define "$LV_BASE/other.xml" >/dev/null
	refused 5 lv_on A "$VMKIT_BIN/vmctl" migrate web "$B" --check --unsafe
	lv_on B virsh undefine web >/dev/null
	only_on A
}

@test "shared storage, directly: it goes on where it was, with its definition" {
	run_split ctl migrate web "$B" --unsafe --json
	assert_status 0
	assert_schema vmctl-migrate
	only_on B
	[ "$(lv_on B virsh dominfo web | awk '/^Persistent/ { print $2 }')" = yes ]
	counts B
}

@test "its disks go along, sparse ones stay sparse" {
	lv_as mkdir "$LV_BASE/here"
	run_split ctl -c "$B" migrate web "$A" --storage copy --disk-dir "$LV_BASE/here" --json
	assert_status 0
	assert_schema vmctl-migrate
	only_on A
	counts A
	[ "$(lv_on A virsh domblklist web | awk '$1 == "vda" { print $2 }')" = "$LV_BASE/here/web.qcow2" ]
	[ "$(lv_on A virsh dumpxml web --inactive | xmllint --xpath 'string(//disk/source/@file)' -)" = "$LV_BASE/here/web.qcow2" ]
	[ "$(allocated "$LV_BASE/here/web.qcow2")" -lt $(($(allocated "$LV_BASE/web.qcow2") + (8 << 20))) ]
	run_split ctl migrate web "$B" --storage copy --disk-dir "$LV_BASE" # the old file is there
	assert_status 5
	only_on A
}

@test "out of time: status 10, it runs where it was and nothing is left there" {
	lv_as mkdir "$LV_BASE/there"
	run_split ctl migrate web "$B" --storage copy --disk-dir "$LV_BASE/there" --bandwidth 1M --timeout 2s
	assert_status 10
	[[ $stderr == *"it runs where it was"* ]]
	only_on A
	[ -z "$(ls "$LV_BASE/there")" ]
	counts A
}

@test "interrupted, and the target's daemon killed: it runs on one host" {
	lv_on A "$VMKIT_BIN/vmctl" migrate web "$B" --unsafe --bandwidth 1M 2>err 3>&- &
	local job=$! i rc=0
	under_way
	pkill -INT -P $job -x vmctl || kill -INT $job
	wait $job || rc=$?
	[ $rc = 130 ] || fail "status $rc: $(cat err)"
	only_on A
	rc=0
	lv_on A "$VMKIT_BIN/vmctl" migrate web "$B" --unsafe --bandwidth 1M 2>err 3>&- &
	job=$!
	under_way
	local start=$SECONDS
	kill -9 "$(cat "$LV_BASE/B/run/libvirt/libvirtd.pid")"
	wait $job || rc=$?
	[ $rc -ne 0 ]
	[ $((SECONDS - start)) -lt 40 ] # all of its memory would take minutes
	lv_on B virsh list >/dev/null # it is started again
	for ((i = 0; i < 50; i++)); do
		[ -n "$(state B)" ] || break
		sleep 0.2
	done
	only_on A
	counts A
}

@test "the daemons among themselves; late, but it gets there when it may wait" {
	run_split ctl migrate web "$B" --peer-to-peer --unsafe --bandwidth 24M --timeout 1s --on-timeout suspend
	assert_status 0
	only_on B
	counts B
}

# runs_on - the host that runs it, alone: the other one does not know it
runs_on() {
	local a b
	a=$(state A) b=$(state B)
	[ "$a,$b" != running, ] || where=A
	[ "$a,$b" != ,running ] || where=B
	[ "$a,$b" = running, ] || [ "$a,$b" = ,running ]
}

# unguarded - no guard of ours is at work any more
unguarded() {
	local pid
	for pid in $(pgrep -x vmkit-guard); do
		! grep -aqF "$LV_BASE" "/proc/$pid/environ" 2>/dev/null || return 1
	done
}

# Procedures of libvirt's protocol: begin, prepare, perform, finish, confirm, with parameters
@test "killed at each step that it leads, before and after: it runs on one host, and moves again" {
	local step when where to rc been=
	wait_for runs_on
	for step in 302 303 305 306 307; do
		for when in before after; do
			to=$B
			[ "$where" = A ] || to=$A
			rc=0
			lv_on "$where" env LD_PRELOAD="$(preload rpc.so)" RPC_OF=$step RPC_AT=1 RPC_WHEN=$when RPC_KILL=self \
				"$VMKIT_BIN/vmctl" migrate web "$to" --unsafe >out 2>err || rc=$?
			[ $rc = 137 ] || fail "$step $when: status $rc: $(cat err)"
			wait_for unguarded
			runs_on || fail "$step $when, from $where: A: $(state A), B: $(state B)"
			counts "$where"
			been+=$where
		done
	done
	[[ $been == *A* && $been == *B* ]]
	to=$B
	[ "$where" = A ] || to=$A
	lv_on "$where" "$VMKIT_BIN/vmctl" migrate web "$to" --unsafe
	runs_on
	counts "$where"
}

@test "one that is off does not move" {
	local where
	wait_for runs_on
	lv_on "$where" virsh destroy web >/dev/null
	run_split lv_on "$where" "$VMKIT_BIN/vmctl" migrate web "$A" --unsafe
	assert_status 1
	[[ $stderr == *"is off"* ]]
}
