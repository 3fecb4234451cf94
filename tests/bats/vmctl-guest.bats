# vmctl with a real guest: libvirt's session daemon, QEMU without hardware, Debian's kernel, the guest agent.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && lv_define A web || return 1
}
teardown_file() { lv_down; }

setup() { common_setup; }

ctl() { lv_on A "$VMKIT_BIN/vmctl" "$@"; }
state() { lv_on A virsh domstate web | head -n 1; }

@test "start, and the console says that the guest is up" {
	ctl start --paused web
	[ "$(state)" = paused ]
	lv_on A sh -c "'$VMKIT_BIN/vmctl' console web --wait-for GUEST-UP --timeout 90s" >said 3>&- &
	local pid=$!
	ctl resume web
	wait "$pid"
	grep -q GUEST-UP said
	[ "$(state)" = running ]
}

@test "console: what is sent is answered; what never comes is status 10" {
	run ctl console web --send 'echo $((6 * 7))x\n' --wait-for '^42x' --timeout 30s
	assert_success
	run ctl console web --wait-for neverthere --timeout 1s
	assert_failure 10
}

@test "exec: output, error output, status, input, environment" {
	lv_agent A web
	run_split ctl exec web -- sh -c 'echo out; echo err >&2; exit 7'
	assert_status 7
	[ "$output" = out ]
	[ "$stderr" = err ]
	random_bytes 5 131072 >input
	[ "$(ctl exec -i web -- md5sum <input)" = "$(md5sum <input)" ]
	echo >>input # more is lost on the way to the agent
	run_split ctl exec -i web -- md5sum <input
	assert_status 9
	ctl exec web -- head -c 100000 /dev/zero >zeros
	[ "$(stat -c %s zeros)" = 100000 ]
	run ctl exec -e A=b web -- sh -c 'echo $A'
	assert_output b
	run_split ctl exec web -- sh -c 'kill -9 $$'
	assert_status 137
	run_split ctl exec -t 1s web -- sleep 20
	assert_status 10
	run_split ctl exec web -- /no/such
	[ "$status" -ne 0 ]
	[[ $stderr == vmctl:* ]]
}

@test "suspend and resume; a paused guest's agent does not answer" {
	ctl suspend web
	[ "$(state)" = paused ]
	run_split ctl exec web -- true
	assert_status 7
	run_split ctl start web
	assert_status 1
	[[ $stderr == *"is paused"*"hint: vmctl resume"* ]]
	ctl start --paused web
	[ "$(state)" = paused ]
	ctl resume web
	[ "$(state)" = running ]
}

@test "set: processors and memory are there in the guest" {
	run_split ctl set --live --cpus 2 --json web
	assert_status 0
	assert_schema vmctl-set
	[ "$(json .live.cpus)" = 2 ]
	[ "$(json .config.cpus)" = 1 ]
	[ "$(lv_on A virsh vcpucount web --live --current)" = 2 ]
}

@test "set: limits are what QEMU and libvirt have, now and at the next start, and go again" {
	run_split ctl set --pin all=0 --pin emulator=0-1 --disk-limit vda:iops=500,read-bytes=50M --json web
	assert_status 0
	assert_schema vmctl-set
	[ "$(json '.live.limits.disks[] | select(.target == "vda") | [.iops, .read_bytes, .bytes] | map(tostring) | join(" ")')" = "500 $((50 << 20)) null" ]
	[ "$(json '.config.limits.disks')" = "$(json '.live.limits.disks')" ]
	[ "$(json '[.live.limits.pins[] | .vcpu + "=" + .cpus] | join(" ")')" = "0=0 1=0 emulator=0-1" ]
	[[ $(lv_on A virsh qemu-monitor-command web --hmp "info block") == *"bps_rd=52428800"*"iops=500"* ]]
	lv_on A virsh vcpupin web | awk '$1 == 0 { exit $2 != "0" }'
	[ "$(lv_on A virsh blkdeviotune web vda --config | awk '$1 == "total_iops_sec" { print $3 }')" = 500 ]
	# One kind alone: the other stays
	ctl set --live --disk-limit vda:bytes=1M web
	[[ $(lv_on A virsh qemu-monitor-command web --hmp "info block") == *"bps=1048576 bps_rd=0"*"iops=500"* ]]
	ctl set --disk-limit vda:none --pin all=any --pin emulator=any web
	[[ $(lv_on A virsh qemu-monitor-command web --hmp "info block") != *"iops=500"* ]]
	# A session daemon has no control groups (with one: vmctl-system.bats)
	run_split ctl set --config --cpu-limit 150 web
	assert_status 9
	run_split ctl set --config --disk-limit vdq:iops=1 web
	[ "$status" -ne 0 ]
	[[ $stderr == *vdq* ]]
	run_split ctl set --pin 0=0-99999 web
	assert_status 2
	run_split ctl set --pin 0=4000 web
	assert_status 2
	[[ $stderr == *"processor 4000"* ]]
}

@test "attach and detach: a disk and an interface come and go in the guest" {
	qemu-img create -q -f qcow2 "$LV_BASE/data.qcow2" 8M
	[ "$(id -u)" != 0 ] || chown "$LV_UID:$LV_UID" "$LV_BASE/data.qcow2"
	lv_agent A web
	run_split ctl attach --json web --disk "$LV_BASE/data.qcow2"
	assert_status 0
	assert_schema vmctl-attach
	[ "$(json .target)" = vdb ]
	[ "$(lv_on A virsh domblklist web | awk '$1 == "vdb" { print $2 }')" = "$LV_BASE/data.qcow2" ]
	[ "$(lv_on A virsh dumpxml web --inactive | xmllint --xpath 'string(//disk[target/@dev="vdb"]/driver/@type)' -)" = qcow2 ]
	[ "$(ctl exec web -- cat /sys/block/vdb/size)" = 16384 ]
	run_split ctl attach web --disk "$LV_BASE/data.qcow2" --target vdb
	[ "$status" -ne 0 ]
	ctl detach web vdb
	run ctl exec web -- cat /sys/block/vdb/size
	[ "$status" -ne 0 ]
	[[ $(lv_on A virsh dumpxml web --inactive) != *vdb* ]]
	run_split ctl detach web vdb
	assert_status 4
	run_split ctl attach --json web --network user --mac 52:54:00:aa:bb:cc
	assert_status 0
	assert_schema vmctl-attach
	[[ $(ctl exec web -- cat /sys/class/net/eth0/address) == 52:54:00:aa:bb:cc ]]
	ctl detach web 52:54:00:AA:BB:CC
	[[ $(lv_on A virsh dumpxml web) != *52:54:00:aa:bb:cc* ]]
	run_split ctl attach web --disk "$LV_BASE/none.qcow2"
	assert_status 4
}

@test "a guest that does not let go: status 10, and it has the disk still" {
	ctl attach web --disk "$LV_BASE/data.qcow2"
	ctl suspend web
	run_split ctl detach web vdb --timeout 1s
	assert_status 10
	[[ $(lv_on A virsh dumpxml web --inactive) == *vdb* ]]
	ctl resume web
	ctl detach web vdb
	[[ $(lv_on A virsh dumpxml web --inactive) != *vdb* ]]
}

@test "stats: what the guest reads and writes; a busy machine is stale, not waited for" {
	run_split ctl stats --json
	assert_status 0
	assert_schema vmctl-stats
	[ "$(json '.[0].disks[0].name')" = vda ]
	[ "$(json '.[0].disks[0].read_bytes')" = "$(lv_on A virsh domblkstat web vda | awk '$2 == "rd_bytes" { print $3 }')" ]
	[ "$(json '.[0].cpu_seconds > 0')" = true ]
	[ "$(json '.[0].stale')" = false ]
	ctl stats --prometheus >prom
	grep -q '^vm_state{host="[^"]*",name="web",state="running"} 1$' prom
	grep -q '^vm_disk_read_bytes_total{host="[^"]*",name="web",disk="vda"} [0-9]*$' prom
	kill -STOP "$(cat "$LV_BASE"/A/run/libvirt/qemu/run/web.pid)"
	lv_on A timeout 20 virsh qemu-monitor-command web --hmp info status >/dev/null 2>&1 3>&- &
	local waiting=$! start=$SECONDS
	sleep 1
	run_split ctl stats --json
	kill -CONT "$(cat "$LV_BASE"/A/run/libvirt/qemu/run/web.pid)"
	wait $waiting || true
	assert_status 0
	assert_schema vmctl-stats
	[ "$(json '.[0].stale')" = true ]
	[ $((SECONDS - start)) -lt 15 ]
}

@test "a job under way is status 6 at once" {
	local start=$SECONDS
	cat >b.xml <<-X
		<domainbackup mode='pull'><server transport='unix' socket='$LV_BASE/n.sock'/>
		<disks><disk name='vda' backup='yes' type='file'><scratch file='$LV_BASE/s.qcow2'/></disk></disks></domainbackup>
	X
	install -m 644 b.xml "$LV_BASE/b.xml"
	lv_on A virsh backup-begin web "$LV_BASE/b.xml"
	run_split ctl save web
	lv_on A virsh domjobabort web
	assert_status 6
	[[ $stderr == *"a backup is under way"* ]]
	[ "$(state)" = running ]
	[ $((SECONDS - start)) -lt 25 ]
}

@test "a monitor at another client's question is waited for; one that hangs is status 6" {
	local qemu asks
	qemu=$(cat "$LV_BASE"/A/run/libvirt/qemu/run/web.pid)
	kill -STOP "$qemu"
	lv_on A timeout 20 virsh qemu-monitor-command web --hmp info status >/dev/null 2>&1 3>&- &
	asks=$!
	sleep 0.2
	(sleep 0.5 && kill -CONT "$qemu") 3>&- &
	run_split ctl suspend web
	wait $! $asks || true
	assert_status 0
	[ "$(state)" = paused ]
	ctl resume web
	kill -STOP "$qemu"
	lv_on A timeout 20 virsh qemu-monitor-command web --hmp info status >/dev/null 2>&1 3>&- &
	asks=$!
	sleep 0.5
	run_split ctl suspend web
	kill -CONT "$qemu"
	wait $asks || true
	assert_status 6
	[[ $stderr == *"the hypervisor has not answered for "[2-9]* ]]
	[ "$(state)" = running ]
}

@test "save and start: the guest goes on where it was" {
	lv_agent A web
	ctl exec web -- sh -c 'echo kept >/tmp/mark'
	ctl save web
	[ "$(state)" = "shut off" ]
	[ "$(ctl list --json | jq -r '.[0].saved')" = true ]
	ctl start web
	lv_agent A web
	[ "$(ctl exec web -- cat /tmp/mark)" = kept ]
}

@test "a daemon that stops answering is status 7, not a hang" {
	local pid
	pid=$(cat "$LV_BASE/A/run/libvirt/libvirtd.pid")
	kill -STOP "$pid"
	run_split lv_on A timeout 30 "$VMKIT_BIN/vmctl" --host-timeout 2s list
	kill -CONT "$pid"
	assert_status 7
}

@test "stop by the agent" {
	lv_agent A web
	run_split ctl stop --json web
	assert_status 0
	assert_schema vmctl-stop
	[ "$(json '.[0].method')" = agent ]
	[ "$(state)" = "shut off" ]
}

@test "stop by the power button, and by the plug when the guest does not listen" {
	lv_define A deaf noagent
	ctl start deaf
	# Before its kernel listens the button is lost.
	ctl suspend deaf
	run_split ctl stop --no-force --timeout 1s deaf
	assert_status 1
	ctl resume deaf
	run_split ctl stop --json --timeout 1s deaf
	assert_status 0
	[ "$(json '.[0].method')" = destroy ]
	ctl start deaf
	ctl console deaf --wait-for GUEST-UP --timeout 90s >/dev/null
	run_split ctl stop --json --timeout 20s deaf
	assert_status 0
	[ "$(json '.[0].method')" = acpi ]
	ctl delete deaf
	run_split ctl info deaf
	assert_status 4
}
