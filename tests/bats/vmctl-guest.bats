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
