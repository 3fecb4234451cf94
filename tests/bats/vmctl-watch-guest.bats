#!/usr/bin/env bats
# vmctl watch with a real libvirt daemon and a guest: a disk that is full, memory by the balloon, processors.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	require_root
	lv_init && lv_guest || return 1
	mkdir "$LV_BASE/full" && mount -t tmpfs -o size=24m,mode=777 none "$LV_BASE/full" || return 1
	lv_define A one || return 1
	mv "$LV_BASE/one.qcow2" "$LV_BASE/full/"
	# What the guest tells of its memory, every second
	sed -i "s|$LV_BASE/one.qcow2|$LV_BASE/full/one.qcow2|; s|<memballoon model='virtio'/>|<memballoon model='virtio'><stats period='1'/></memballoon>|" "$LV_BASE/one.xml"
	lv_on A virsh undefine one >/dev/null && lv_on A virsh define "$LV_BASE/one.xml" >/dev/null && lv_on A virsh start one >/dev/null && lv_agent A one
}

teardown_file() {
	umount -l "$LV_BASE/full" 2>/dev/null || true
	lv_down
}

ctl() { lv_on A "$VMKIT_BIN/vmctl" "$@"; }
state() { ctl list --json | jq -r '.[0] | .state + " " + .reason'; }

@test "a machine that is paused by a full disk goes on once there is space, and has lost nothing" {
	ctl exec one -- sh -c '(dd if=/dev/urandom of=/mnt/big bs=1M count=40 && sync && md5sum /mnt/big && echo written) >/tmp/out 2>&1 &'
	for ((i = 0; i < 300; i++)); do
		[ "$(state)" != "paused io error" ] || break
		sleep 0.2
	done
	[ "$(state)" = "paused io error" ]
	run_split ctl watch --once
	assert_status 0
	assert_schema vmctl-watch
	[[ $(json '.action + " " + .detail') == "wait-for-space no space for $LV_BASE/full/one.qcow2" ]]
	ctl watch --interval 0.3 --space 16M >watch.out 3>&- &
	pid=$!
	sleep 2
	[ "$(state)" = "paused io error" ]
	mount -o remount,size=400m "$LV_BASE/full"
	for ((i = 0; i < 1200; i++)); do
		[ "$(state)" = "paused io error" ] || break
		sleep 0.1
	done
	[ "$(state)" = "running " ]
	pkill -P "$pid" # the function's shell waits for it
	wait "$pid" || true
	assert_schema vmctl-watch watch.out
	[ "$(jq -rs '[.[] | select(.machine) | .action + " \(.done)"] | join(",")' watch.out)" = "wait-for-space true,resume true" ]
	for ((i = 0; i < 200; i++)); do
		! ctl exec one -- grep -q written /tmp/out || break
		sleep 0.3
	done
	[ "$(ctl exec one -- md5sum /mnt/big)" = "$(ctl exec one -- grep big /tmp/out)" ]
}

@test "memory: while the host is short a guest gives what it does not use, not below its bound" {
	for ((i = 0; i < 100; i++)); do
		[ "$(ctl stats --json | jq '.[0].guest_memory_usable > 0')" != true ] || break
		sleep 0.2
	done
	run_split ctl watch --once --balance --reserve 1000T --memory-least 150M
	assert_status 0
	assert_schema vmctl-watch
	[ "$(json '[.action, .done, .from] | join(" ")')" = "memory true $((192 << 20))" ]
	to=$(json .to)
	[ "$to" -ge $((150 << 20)) ]
	for ((i = 0; i < 100; i++)); do
		[ "$(lv_on A virsh dommemstat one | awk '$1 == "actual" { print $2 * 1024 }')" != "$to" ] || break
		sleep 0.2
	done
	[ "$(lv_on A virsh dommemstat one | awk '$1 == "actual" { print $2 * 1024 }')" = "$to" ]
	# What the guest says of its memory is some seconds old
	for ((i = 0; i < 100; i++)); do
		run_split ctl watch --once --balance --reserve 1000T --memory-least 192M
		[ -z "$output" ] || break
		sleep 0.2
	done
	[ "$(json .to)" = $((192 << 20)) ]
}

@test "processors: one more for a guest that is busy" {
	[ "$(lv_on A virsh vcpucount one --live --current)" = 1 ]
	ctl exec one -- sh -c 'while :; do :; done >/dev/null 2>&1 &'
	run_split ctl watch --scale --scale-at 5 --interval 0.5 --timeout 8s
	assert_status 0
	assert_schema vmctl-watch
	[ "$(jq -rs '[.[] | select(.action == "cpus") | "\(.from)-\(.to) \(.done)"] | join(",")' <<<"$output")" = "1-2 true" ]
	[ "$(lv_on A virsh vcpucount one --live --current)" = 2 ]
}
