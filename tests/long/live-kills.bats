#!/usr/bin/env bats
# A live backup that is killed, its daemon, or QEMU, at any of its calls to libvirt: 30 calls, each before and after, three victims.
# It takes a quarter of an hour, so ./check does not run it: VMKIT_BIN=$PWD/build/bin bats tests/long/live-kills.bats
# KILLS_STEP=4: every fourth call, KILLS_FROM=8: not the first ones. tests/bats/vmbackup-domain.bats has a few of them.
# bats file_tags=slow,release

load ../bats/common
load ../bats/lvhost
load ../bats/live

setup_file() { live_setup_file; }
teardown_file() { lv_down; }
setup() {
	common_setup
	require jq debugfs
}

# sweep WHOM - until the backup has fewer calls
sweep() {
	local n=${KILLS_FROM:-0} when
	backup
	while :; do
		n=$((n + ${KILLS_STEP:-1}))
		for when in before after; do
			rm -f "$LV_BASE/A/calls"
			RPC_TRACE=$LV_BASE/A/calls killed $n $when "$1"
			echo "# $n $when: status $RC $(tail -n 1 err)" >&3
			if [ "$1" = "$LV_BASE/A/run/libvirt/qemu/run/web.pid" ] && [ ! -e "$1" ]; then
				revive
			fi
			[ "$(state)" = running ] || fail "$n $when: $(state)"
			thawed
			jobless
			run_split backup --json
			[ "$status" = 0 ] || fail "$n $when: the next backup: $status $stderr"
			at_rest || fail "$n $when"
			[ "$(checkpoints | wc -l)" = 1 ] || fail "$n $when: $(checkpoints)"
		done
		((n % 5)) || one_moment web
		[ "$(wc -l <"$LV_BASE/A/calls")" -ge $n ] || break
	done
	one_moment web
}

revive() {
	local i
	for ((i = 0; i < 50; i++)); do
		[ "$(state)" != "shut off" ] || break
		sleep 0.2
	done
	lv_on A virsh start web >/dev/null
	lv_agent A web
	writer
}

@test "vmbackup killed at any call" { sweep self; }

@test "the daemon killed at any call" { sweep "$LV_BASE/A/run/libvirt/libvirtd.pid"; }

# What libvirt 9.0 then never ends is at least said at once
@test "the daemon killed as the job begins: a job that it lost is status 6 at once, until both are started anew" {
	local i start
	for ((i = 0; i < 10; i++)); do
		RPC_OF=421 killed 1 after "$LV_BASE/A/run/libvirt/libvirtd.pid"
		thawed
		lv_on A virsh domjobinfo web >/dev/null 2>job || break
		run_split backup
		assert_status 0
	done
	[ $i -lt 10 ] || return 0
	[[ $(cat job) == *"backup job data missing"* ]]
	start=$SECONDS
	run_split backup
	assert_status 6
	[[ $stderr == *"holds that job for ever"*"its daemon started anew"* ]]
	[ $((SECONDS - start)) -lt 15 ]
	[ "$(state)" = running ]
	[ "$(frozen)" = thawed ]
	lv_on A "$VMKIT_BIN/vmctl" stop --now web
	kill "$(cat "$LV_BASE/A/run/libvirt/libvirtd.pid")"
	sleep 1
	lv_on A virsh start web >/dev/null
	lv_agent A web
	writer
	run_split backup
	assert_status 0
	jobless
}

@test "QEMU killed at any call" { sweep "$LV_BASE/A/run/libvirt/qemu/run/web.pid"; }
