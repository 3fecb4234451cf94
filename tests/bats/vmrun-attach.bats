#!/usr/bin/env bats
# vmrun attach: the console of a machine that runs, on this machine's /dev/kvm with the guest of tests/guest.

load common
load vmrun

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
	pids=()
}

teardown() {
	((${#pids[@]} == 0)) || kill -9 "${pids[@]}" 2>/dev/null || true
}

@test "on a terminal: what is typed is the guest's, ^] leaves, the machine runs on; raw meanwhile, then restored" {
	machine m echo
	run on_terminal $'hello\x03\x1d' vmrun attach m
	assert_line --index 0 "raw restored 0"
	says m.out $'hello\x03' # its own output has it too
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "m " ]
	run on_terminal SIGTERM vmrun attach m
	assert_line --index 0 "raw restored -15"
	for signal in SIGQUIT SIGSEGV; do
		! sanitized || continue
		run on_terminal $signal vmrun attach m
		[[ ${lines[0]} == "raw restored -"* ]]
	done
	# The last lines come first; the machine's end is the end
	run_split vmrun attach -v m <<<$'x\nyq'
	assert_status 0
	[ "$output" = $'hello\x03x\ny' ]
	[[ $stderr == *"m: the machine has ended"* ]]
	ended "$pid"
	[ "$status" = 0 ]
	# The machine's terminal and the one at its console are two
	run on_terminal q vmrun -k "$GUEST" -a do=echo -m 8M
	assert_line --index 0 "raw restored 0"
}

@test "pipes: nothing is lost either way, and the end of input is not the end" {
	machine m echo
	head -c 20000 /dev/urandom | base64 -w 0 | tr -d q >sent
	{ cat sent; echo q; } | vmrun attach m >got
	assert_same_bytes sent got
	assert_same_bytes sent m.out
	ended "$pid"
	machine n button
	vmrun attach n </dev/null >n.seen 3>&- &
	peer=$!
	pids+=("$peer")
	says n.seen ready # from before
	vmrun stop -q n
	ended "$peer"
	[ "$status" = 0 ]
	grep -q pressed n.seen
}

@test "several at once see the same; a fifth is refused; one that does not read holds nobody up" {
	machine m talk
	peers=()
	for i in 1 2 3; do
		vmrun attach m </dev/null >"seen.$i" 3>&- &
		peers+=($!)
		pids+=($!)
	done
	mkfifo unread
	exec 4<>unread # open, never read
	vmrun attach m </dev/null >unread 3>&- 4>&- &
	pids+=($!)
	for i in 1 2 3; do says "seen.$i" talk; done
	for ((i = 0; i < 1200; i++)); do
		vmrun attach m </dev/null 2>busy >/dev/null 3>&- && fail "it ended" || status=$?
		[ "$status" != 6 ] || break
		sleep 0.05
	done
	[ "$status" = 6 ]
	[[ $(cat busy) == *"4 others"* ]]
	# The one whose reader sleeps has long been left behind
	kill -STOP "${peers[0]}"
	before=$(stat -c %s m.out) seen=$(stat -c %s seen.2)
	for ((i = 0; i < 1200; i++)); do
		[ "$(stat -c %s m.out)" -le $((before + 200000)) ] || break
		sleep 0.1
	done
	[ "$(stat -c %s m.out)" -gt $((before + 200000)) ] || fail "the guest waits: $(stat -c %s m.out) $before"
	[ "$(stat -c %s seen.2)" -gt "$seen" ]
	kill "${peers[1]}"
	ended "${peers[1]}"
	[ "$status" = 143 ]
	# There is room again
	for ((i = 0; i < 100; i++)); do
		timeout 1 vmrun attach m </dev/null >seen.5 2>busy || status=$?
		[ "$status" != 124 ] || break
	done
	[ "$status" = 124 ]
	grep -q talk seen.5
	vmrun stop -q m
}

@test "no such machine is status 4, one that does not answer 7; a reader that goes away 141" {
	refused 4 vmrun attach m
	[[ $stderr == *"no machine of this name"*hint* ]]
	refused 2 vmrun attach
	machine m talk
	run bash -c 'set -o pipefail; vmrun attach m </dev/null | head -n 2 >head'
	[ "$status" = 141 ]
	[ "$(cat head)" = $'talk\ntalk' ]
	kill -STOP "$pid"
	refused 7 vmrun attach m
	kill -CONT "$pid"
	vmrun stop -q m
}
