#!/usr/bin/env bats
# vmctl watch: machines that fail run again, on builtin with the guest of tests/guest.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	require jq
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run VMKIT_CONNECT=builtin
	MACHINES=$HOME/.config/vmkit/machines
	mkdir -p "$MACHINES"
}

teardown() { VMKIT_CONNECT=builtin vmctl stop -q --now --all 2>/dev/null || true; }

needs_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }
describe() { echo "{\"memory\": \"8M\", \"kernel\": \"$GUEST\", \"append\": \"do=$2\"}" >"$MACHINES/$1.json"; }
state() { vmctl list --json | jq -r ".[] | select(.name == \"$1\") | .state"; }

# crashed NAME - until it is
crashed() {
	vmctl start "$1" 2>/dev/null || true
	for ((i = 0; i < 1200; i++)); do
		[ "$(vmctl list --json | jq -r ".[] | select(.name == \"$1\") | .reason")" != crashed ] || return 0
		sleep 0.05
	done
	fail "$1 did not crash"
}

@test "a machine that fails is started again with growing pauses, then given up; one that was shut down stays off" {
	needs_kvm
	describe bad panic
	describe off hello
	crashed bad
	vmctl start off
	run_split vmctl watch --interval 0.1 --tries 3 --delay 0.4 --timeout 5s
	assert_status 0
	assert_schema vmctl-watch
	[ "$(jq -rs '[.[] | select(.machine == "bad") | .action + "\(.try)"] | join(" ")' <<<"$output")" = "restart1 restart2 restart3 give-up3" ]
	[ "$(jq -rs '[.[] | select(.machine == "off")] | length' <<<"$output")" = 0 ]
	[ "$(jq -rs '.[0].action' <<<"$output")" = connected ]
	[ "$(state bad)" = off ]
}

@test "a machine that is killed runs again; --once and --dry-run; machines that are not named are left alone" {
	needs_kvm
	describe one hang
	describe two hang
	vmctl start one two
	vmctl list --json | jq '.[].id' | xargs kill -9
	for ((i = 0; i < 1200; i++)); do [ "$(state one)$(state two)" != offoff ] || break; sleep 0.05; done
	run_split vmctl watch --once --dry-run
	assert_status 0
	assert_schema vmctl-watch
	[ "$(jq -rs '[.[] | .machine + " " + .action + " \(.done) \(.dry_run)"] | join(",")' <<<"$output")" = \
		"one restart false true,two restart false true" ]
	[ "$(state one)$(state two)" = offoff ]
	run_split vmctl watch --once one
	assert_status 0
	[ "$(jq -rs '[.[] | .machine + " " + .action + " \(.done)"] | join(",")' <<<"$output")" = "one restart true" ]
	[ "$(state one)" = running ]
	[ "$(state two)" = off ]
	run_split vmctl watch --once --no-restart
	[ -z "$output" ]
	mv "$GUEST" "$GUEST.away"
	run_split vmctl watch --once
	mv "$GUEST.away" "$GUEST"
	assert_status 3
	[ "$(jq -r '.machine + " \(.done)"' <<<"$output")" = "two false" ]
}

@test "a signal ends it; a reader that is gone ends it; a host that is not there is status 7, a lost one is tried again" {
	vmctl watch --interval 0.1 >out 2>err 3>&- &
	pid=$!
	for ((i = 0; i < 1200; i++)); do [ ! -s out ] || break; sleep 0.05; done
	kill "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" = 143 ]
	refused 7 vmctl -c "qemu+unix:///session?socket=$PWD/none" watch --timeout 5s
	refused 2 vmctl watch --interval 0.01
	refused 4 vmctl -c nowhere watch
	run_split vmctl -c builtin -c "qemu+unix:///session?socket=$PWD/none" watch --timeout 1s
	assert_status 3
}
