#!/usr/bin/env bats
# vmrun's network options on this machine: what is refused, and that passt comes and goes with its machine. vmrun-nested-net.bats has
# guests that use it, test_runner_net the device.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy passt
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

require_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }

# children PID - names of its processes
children() { ps -o comm= --ppid "$1"; }

guest() {
	local what=$1
	shift
	timeout -k 5 100 vmrun -k "$GUEST" -a "do=$what" -m 8M -t 60s "$@"
}

@test "--net user: passt is there while the machine is, and not before or after" {
	require_kvm
	vmrun -k "$GUEST" -a do=hang -m 8M --net user -p 18081:80 -p 127.0.0.1:18082:53/udp </dev/null >out 2>err 3>&- &
	pid=$!
	for ((i = 0; i < 1200; i++)); do
		! children $pid | grep -q passt || break
		sleep 0.05
	done
	passt=$(ps -o pid=,comm= --ppid $pid | awk '/passt/ { print $1 }')
	[ -n "$passt" ]
	# The ports are its, on 127.0.0.1 alone
	for ((i = 0; i < 1200; i++)); do
		! grep -q ' 0100007F:46A1 ' /proc/net/tcp || break
		sleep 0.05
	done
	grep -q ' 0100007F:46A1 00000000:0000 0A ' /proc/net/tcp
	grep -q ' 0100007F:46A2 ' /proc/net/udp
	# A second machine cannot have them
	refused 6 guest hello -p 18081:80
	[[ $stderr == *18081* ]]
	kill $pid
	status=0
	wait $pid || status=$?
	[ "$status" = 143 ]
	[ "$(wc -l <err)" = 1 ] || fail "$(cat err)" # of the signal
	[ ! -d "/proc/$passt" ]
	run_split guest hello --net user </dev/null
	assert_status 0
	[ "$output" = hello ]
}

@test "no passt, or no route: status 9, and what to do" {
	refused 9 env PATH=/nothing "$VMKIT_BIN/vmrun" -k "$GUEST" --net user
	[[ $stderr == *passt*hint*apt* ]]
	require_root
	unshare -n true || skip "no network namespaces here"
	refused 9 unshare -n "$VMKIT_BIN/vmrun" -k "$GUEST" --net user
	[[ $stderr == *"default route"* ]]
}

@test "network options that make no sense: status 2 and one sentence" {
	for spec in '' dance user=1 tap tap= fd fd= fd=x fd=-1 fd=999 fd=0 none,mac=52:54:00:12:34:56 user,dance tap=tap0,host \
		user,mac= user,mac=52:54:00:12:34 user,mac=53:54:00:12:34:56 user,mac=xx:54:00:12:34:56 tap=a/b \
		tap=averyverylongname; do
		refused 2 vmrun -k "$GUEST" --net "$spec" </dev/null
	done
	refused 2 vmrun -k "$GUEST" --net user --net user
	refused 2 vmrun -k "$GUEST" --net none --net user
	for port in '' x 0 65536 80:x 80: :80 80:0 1:2:3 localhost:1:2 1.2.3:1:2 127.0.0.1:80:80/sctp 80:80/ '[::1:80:80' '[zz]:1:2' \
		"$(printf 'x%.0s' {1..300})"; do
		refused 2 vmrun -k "$GUEST" -p "$port"
	done
	refused 2 vmrun -k "$GUEST" --net none -p 80
	[[ $stderr == *"--net user"* ]]
	args=()
	for ((i = 1; i <= 33; i++)); do args+=(-p "$((20000 + i)):80"); done
	refused 2 vmrun -k "$GUEST" "${args[@]}"
}

@test "a tap device: one of no name is made by root, an interface of another kind is refused" {
	require_kvm
	require_root
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	unshare -n true || skip "no network namespaces here"
	run unshare -n sh -c "'$VMKIT_BIN/vmrun' -k '$GUEST' -a do=hello -m 8M -t 60s --net tap=vmkt0 </dev/null"
	assert_status 0
	[ "$output" = hello ]
	refused 9 unshare -n sh -c "ip link set lo up; exec '$VMKIT_BIN/vmrun' -k '$GUEST' --net tap=lo"
	[[ $stderr == *"no tap device"* ]]
}

@test "a descriptor: a stream socket does, other things do not" {
	require_kvm
	require python3
	python3 - "$VMKIT_BIN/vmrun" "$GUEST" <<-'END'
		import socket, subprocess, sys
		ours, theirs = socket.socketpair()
		run = lambda *args, **kw: subprocess.run([sys.argv[1], "-k", sys.argv[2], "-a", "do=hello", "-m", "8M", "-t", "60s", *args],
		    stdin=subprocess.DEVNULL, capture_output=True, **kw)
		r = run("--net", "fd=%d" % theirs.fileno(), pass_fds=[theirs.fileno()])
		assert (r.returncode, r.stdout) == (0, b"hello\r\n") or (r.returncode, r.stdout) == (0, b"hello\n"), r
		a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
		r = run("--net", "fd=%d" % b.fileno(), pass_fds=[b.fileno()])
		assert r.returncode == 2 and b"stream socket" in r.stderr, r
	END
}
