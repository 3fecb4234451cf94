#!/usr/bin/env bats
# vmrun's machines with a name: ps, stats, pause, resume, stop, on this machine's /dev/kvm with the guest of tests/guest.

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

@test "ps: none, then those with a name; the socket is its owner's alone and goes with the machine" {
	run_split vmrun ps
	assert_status 0
	[ -z "$output$stderr" ]
	run_split vmrun ps --json
	[ "$output" = "[]" ]
	machine web-1 hang -c 2
	machine db spin
	run_split vmrun ps --json
	assert_status 0
	assert_schema vmrun-ps
	[ "$(json '[.[] | [.name, .state, .cpus, .memory] | join(" ")] | join(",")')" = "db running 1 8388608,web-1 running 2 8388608" ]
	[ "$(json '.[0].pid')" = "$pid" ]
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "db web-1 " ]
	[ "$(vmrun __complete machine w)" = web-1 ]
	run_split vmrun ps
	[[ ${lines[0]} == NAME*STATE*PID*CPUS*MEMORY* ]]
	[[ ${lines[2]} == web-1*running*2*"8"*MiB* ]]
	[ "$(stat -c %a run/vmkit/db.vmrun run/vmkit | xargs)" = "600 700" ]
	kill "$pid"
	ended "$pid"
	[ "$status" = 143 ]
	[ ! -e run/vmkit/db.vmrun ]
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "web-1 " ]
}

@test "a name that is taken is status 5, one of a killed machine is free, a bad one is status 2" {
	machine m hang
	refused 5 vmrun -k "$GUEST" -a do=hello --name m
	[[ $stderr == *"m: a machine of this name runs already, as process $pid"* ]]
	refused 125 vmrun -k "$GUEST" -a do=hello --name m -- true
	kill -9 "$pid"
	ended "$pid"
	[ -e run/vmkit/m.vmrun ]
	[ "$(vmrun -k "$GUEST" -a do=hello --name m </dev/null)" = hello ]
	[ ! -e run/vmkit/m.vmrun ]
	machine m hang
	kill -9 "$pid"
	ended "$pid"
	run_split vmrun ps
	[ -z "$output" ]
	[ ! -e run/vmkit/m.vmrun ]
	for name in '' . .. -x a/b '../m' 'a b' "$(printf 'x%.0s' {1..65})"; do
		refused 2 vmrun -k "$GUEST" -a do=hello "--name=$name"
	done
	refused 4 vmrun stop m
	[[ $stderr == "vmrun: m: no machine"*hint* ]]
	refused 4 vmrun pause m
	refused 4 vmrun stats m
	refused 2 vmrun stop
	refused 2 vmrun stop ../m
	chmod 755 run/vmkit
	refused 12 vmrun -k "$GUEST" -a do=hello --name m
	refused 12 vmrun ps
}

@test "without XDG_RUNTIME_DIR and /run/user the sockets lie below TMPDIR" {
	[ ! -d "/run/user/$(id -u)" ] || skip "/run/user is there"
	unset XDG_RUNTIME_DIR
	machine m hang
	[ -S "$TMPDIR/vmkit-$(id -u)/m.vmrun" ]
	# One of another user is none
	if [ "$(id -u)" = 0 ]; then
		mkdir -m 700 other
		chown 65534 other
		XDG_RUNTIME_DIR=$PWD/other run_split vmrun ps -0
		[ "$output" = m ]
	fi
	vmrun stop -q --now m
}

@test "stop: the power button where the guest listens, and its status is 0; else hard, and status 3" {
	truncate -s 1M d.raw
	machine listens button -f raw -d d.raw
	says listens.out ready
	run_split vmrun stop --json listens
	assert_status 0
	assert_schema vmrun-stop
	[ "$(json '.[0].name + " " + .[0].method')" = "listens acpi" ]
	# It is over when stop is: the disk is free
	vmrun -k "$GUEST" -a do=hello -f raw -d d.raw </dev/null
	ended "$pid"
	[ "$status" = 0 ]
	grep -q pressed listens.out
	machine deaf spin
	run_split vmrun stop deaf
	assert_status 0
	[[ $output == "deaf: destroy, "* ]]
	ended "$pid"
	[ "$status" = 3 ]
	grep -q "stopped by vmrun stop" deaf.err
	# A command's machine fails as such
	vmrun -k "$GUEST" -a do=hang --name cmd -- true </dev/null 2>cmd.err 3>&- &
	pid=$!
	pids+=("$pid")
	until vmrun stop -q cmd 2>/dev/null; do sleep 0.1; done
	ended "$pid"
	[ "$status" = 125 ]
}

@test "stop: a guest that does not power off is ended when --timeout is over; --now does not ask" {
	machine m button
	says m.out ready
	vmrun pause m
	kill -0 "$pid"
	# A paused one is resumed for the button
	run_split vmrun stop m
	[[ $output == "m: acpi, "* ]]
	ended "$pid"
	[ "$status" = 0 ]
	machine ignores ignore
	says ignores.out ready
	run_split vmrun stop -v --timeout 0.3 ignores
	assert_status 0
	[[ $output == "ignores: destroy, "* ]]
	ended "$pid"
	[ "$status" = 3 ]
	machine a button
	a=$pid
	machine b button
	run_split vmrun stop --now --json a nothing-here b
	assert_status 4
	[ "$(json '[.[] | .name + .method] | join(" ")')" = "adestroy bdestroy" ]
	ended "$a"
	[ "$status" = 3 ]
}

@test "pause holds the vCPUs, resume lets them go on; both may be said twice" {
	machine m talk
	says m.out talk
	vmrun pause m
	[ "$(vmrun ps --json | jq -r '.[0].state')" = paused ]
	vmrun pause m
	size=$(stat -c %s m.out)
	sleep 0.3
	[ "$(stat -c %s m.out)" = "$size" ]
	vmrun resume m
	for ((i = 0; i < 1200; i++)); do
		[ "$(stat -c %s m.out)" = "$size" ] || break
		sleep 0.05
	done
	[ "$(stat -c %s m.out)" -gt "$size" ]
	vmrun resume m
	[ "$(vmrun ps --json | jq -r '.[0].state')" = running ]
	# A paused machine can be ended
	vmrun pause m
	kill "$pid"
	ended "$pid"
	[ "$status" = 143 ]
	# Of several vCPUs each stands still: the one that spins and those that were never started
	machine n spin -c 4
	for ((i = 0; i < 10; i++)); do
		vmrun pause n
		vmrun resume n
	done
	vmrun pause n
	before=$(vmrun stats n --json | jq '[.cpus[].cpu_seconds] | add')
	sleep 0.3
	after=$(vmrun stats n --json | jq '[.cpus[].cpu_seconds] | add')
	[ "$before" = "$after" ]
	vmrun stop -q n
}

@test "stats: time of vCPUs, exits, disk requests and bytes, memory" {
	truncate -s 1M d.raw
	machine m button:wrf -f raw -d d.raw -d d.raw --ephemeral
	says m.out ready
	run_split vmrun stats m --json
	assert_status 0
	assert_schema vmrun-stats
	[ "$(json '.disks | length')" = 2 ]
	[ "$(json '.disks[0] | [.name, .image, .size, .reads, .writes, .flushes, .errors] | join(" ")')" = "vda d.raw 1048576 1 1 1 0" ]
	[ "$(json '.disks[0] | .read_bytes % 512 + .written_bytes % 512')" = 0 ]
	[ "$(json '.disks[0] | .read_bytes > 0 and .written_bytes > 0')" = true ]
	[ "$(json '.disks[1] | .reads + .writes')" = 0 ]
	[ "$(json '.cpus[0].exits > 10 and .cpus[0].cpu_seconds > 0')" = true ]
	[ "$(json '.memory')" = 8388608 ]
	[ "$(json '.memory_resident > 0 and .memory_resident < .memory')" = true ]
	first=$(json '.cpus[0].exits')
	[ "$(vmrun stats m --json | jq .cpus[0].exits)" -gt "$first" ]
	run_split vmrun stats m
	assert_status 0
	[[ ${lines[0]} == "m: running for "*" of 8"*MiB* ]]
	[[ $output == *vda*d.raw* ]]
	vmrun stop -q m
}

@test "every thread of a machine that runs has no_new_privs and a system call filter" {
	machine m hang -c 2
	[ "$(grep -h NoNewPrivs "/proc/$pid/task"/*/status | sort -u)" = $'NoNewPrivs:\t1' ]
	[ "$(grep -h Seccomp: "/proc/$pid/task"/*/status | sort -u)" = $'Seccomp:\t2' ]
	[ "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)" -ge 4 ]
	vmrun stop -q m
}

@test "a peer that does not behave, and a machine that does not answer" {
	require python3
	machine m button
	says m.out ready
	python3 - run/vmkit/m.vmrun <<-'END'
		import json, os, socket, sys, time
		def connect():
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    s.settimeout(10)
		    return s
		silent = [connect() for i in range(12)]
		for raw in (b"\n", b"{}\n", b'{"request":"dance"}\n', b"[" * 5000, b"\xff" * 4096, b'{"request":"info"}x\n'):
		    s = connect()
		    s.sendall(raw)
		    answer = json.loads(s.makefile().readline())
		    assert answer["ok"] is False and answer["code"] == "usage", answer
		for i in range(50):
		    s = connect()
		    s.sendall(b'{"request":"stats"}\n' * 3)
		    s.close()
		start = time.time()
		s = connect()
		s.sendall(b'{"request":"info"}\n')
		assert json.loads(s.makefile().readline())["state"] == "running"
		assert time.time() - start < 3
	END
	kill -STOP "$pid"
	until grep -q 'State:.*stopped' "/proc/$pid/status" && ! grep -L 'State:.*stopped' "/proc/$pid/task"/*/status | grep -q .; do sleep 0.05; done
	run_split vmrun ps --json
	assert_status 0
	assert_schema vmrun-ps
	[ "$(json '.[0].state')" = "not answering" ]
	kill -CONT "$pid"
	run_split vmrun stop m
	[[ $output == "m: acpi"* ]]
	ended "$pid"
	[ "$status" = 0 ]
}

# metric FILE NAME - its value
metric() { awk -v n="$2" 'index($0, n) == 1 && $0 !~ /^#/ { print $NF }' "$1"; }

@test "--metrics: status, time and figures at the end; stats --prometheus while it runs" {
	truncate -s 1M d.raw
	echo old >m.prom
	machine m button:wrf -f raw -d d.raw -c 2 --metrics m.prom
	says m.out ready
	vmrun stats m --prometheus >now.prom
	run vmrun stats m --prometheus --json
	[ "$status" = 2 ]
	[ "$(metric now.prom 'vmrun_disk_writes_total{name="m",disk="vda"}')" = 1 ]
	[ "$(cat m.prom)" = old ]
	vmrun stop -q m
	ended "$pid"
	[ "$status" = 0 ]
	[ "$(metric m.prom 'vmrun_status{name="m"}')" = 0 ]
	[ "$(metric m.prom 'vmrun_memory_bytes{name="m"}')" = 8388608 ]
	[ "$(metric m.prom 'vmrun_disk_reads_total{name="m",disk="vda"}')" = 1 ]
	awk -v s="$(metric m.prom 'vmrun_cpu_seconds_total{name="m",cpu="0"}')" -v t="$(metric m.prom 'vmrun_duration_seconds{name="m"}')" \
		'BEGIN { exit !(s > 0 && t > 0 && t < 60) }'
	[ -n "$(metric m.prom 'vmrun_cpu_exits_total{name="m",cpu="1"}')" ]
	[ $(($(date +%s) - $(metric m.prom 'vmrun_end_timestamp_seconds{name="m"}'))) -lt 60 ]
	# Each metric's lines stand together, behind its type
	[ "$(grep -v '^#' m.prom | sed 's/{.*//' | uniq | sort | uniq -d)" = "" ]
	[ "$(grep -c '^# TYPE' m.prom)" = "$(grep -v '^#' m.prom | sed 's/{.*//' | sort -u | wc -l)" ]
	# However it ends, also before it began
	refused 3 vmrun -k "$GUEST" -a do=reset -m 8M --metrics m.prom
	[ "$(metric m.prom 'vmrun_status{name=""}')" = 3 ]
	refused 125 vmrun -k "$GUEST" -a do=hello -m 8M --metrics m.prom -- true
	[ "$(metric m.prom vmrun_status)" = 125 ]
	refused 4 vmrun -k nothing-here --metrics m.prom
	[ "$(metric m.prom vmrun_status)" = 4 ]
	[ -z "$(metric m.prom vmrun_memory_bytes)" ]
	refused 4 vmrun -k "$GUEST" -a do=hello -m 8M --metrics no/such/folder/m.prom
	assert_clean
}
