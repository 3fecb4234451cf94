#!/usr/bin/env bats
# A guest that attacks its virtio devices (tests/guest/hostile.c): vmrun lives, its sanitizers are silent, and nothing but what the guest
# was given has changed. The seeds differ by build, so that each run of ./check tries several; a failure names them.

load common
load vmrun

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy python3
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	random_image raw $((1 << 20)) 7
	vmimg convert -q raw kept.qcow2
	vmimg convert -q raw written.qcow2
	mkdir share outside
	echo secret >outside/secret
	ln -s ../outside share/link
	echo given >share/file
	truncate -s 100K share/big
}

# attack SEED ROUNDS OPTIONS... - as vmrun's status in $status; a network's other end says random things
attack() {
	local seed=$1 rounds=$2
	shift 2
	python3 - "$VMKIT_BIN/vmrun" -k "$GUEST" -a "do=hostile:$seed:$rounds" -m 8M -t 100 "$@" >out 2>err <<-END || status=$?
		import os, random, socket, struct, subprocess, sys, threading
		rng = random.Random($seed)
		ours, theirs = socket.socketpair()
		def talk():
		    try:
		        for i in range(100000):
		            n = rng.choice([14, 60, 1500, 9000, 65535])
		            ours.sendall(struct.pack(">I", n) + rng.randbytes(n))
		    except OSError:
		        pass
		def listen():
		    left = 0
		    while (head := ours.recv(4, socket.MSG_WAITALL)):
		        n = struct.unpack(">I", head)[0]
		        assert 14 <= n <= 65535, n
		        while n:
		            n -= len(ours.recv(n))
		args = [a.replace("FD", str(theirs.fileno())) for a in sys.argv[1:]]
		p = subprocess.Popen(args, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
		theirs.close()
		listener = threading.Thread(target=listen)
		listener.start()
		threading.Thread(target=talk, daemon=True).start()
		code = p.wait()
		listener.join()
		os._exit(code if code >= 0 else 128 - code)
	END
}

unharmed() {
	[ "$(sha256 kept.qcow2)" = "$1" ] || fail "seed $2: an ephemeral disk's image has changed"
	assert_qemu_clean written.qcow2
	[ "$(ls outside)" = secret ] && [ "$(cat outside/secret)" = secret ] || fail "seed $2: it got out of the folder"
	! grep -aE 'ERROR|runtime error|Sanitizer' err || fail "seed $2: $(cat err)"
}

@test "disks, the random number generator, the network, a folder" {
	seed=$((0x$(printf %s "$VMKIT_BIN" | sha256sum | head -c 6)))
	before=$(sha256 kept.qcow2)
	status=0
	attack $seed 300 -d written.qcow2 --net fd=FD --share "$PWD/share"
	[ "$status" = 0 ] || fail "seed $seed: status $status: $(cat err)"
	grep -aqx "attacking 2 4 1 26" out || fail "$(head -n 1 out)"
	grep -aqx survived out
	unharmed "$before" $seed
	status=0
	attack $((seed + 1)) 80 -e -d kept.qcow2 --net fd=FD -c 2
	[ "$status" = 0 ] || fail "seed $((seed + 1)): status $status: $(cat err)"
	unharmed "$before" $((seed + 1))
}

@test "the streams of a command" {
	seed=$((0x$(printf %s "$VMKIT_BIN" | sha256sum | tail -c 9 | head -c 6)))
	status=0
	attack $seed 150 -- true
	# It is no command that ends, but the guest, or a status that the guest made up
	[ "$status" != 99 ] && [ "$status" -lt 128 ] || fail "seed $seed: status $status: $(cat err)"
	! grep -aE 'ERROR|runtime error|Sanitizer' err || fail "seed $seed: $(cat err)"
	grep -aq survived err || [ "$status" != 125 ] || fail "seed $seed: $(cat err)"
}

@test "queues that hold hundreds of gigabytes keep no machine from its end" {
	# To the control port, which takes words; then to a reader that does not read, with a reset and without, and with a
	# power-off by another processor while the first is in the reset
	local queue fd want
	mkfifo full
	exec {fd}<>full
	for queue in 1 7 7:off 7:ap; do
		status=0
		timeout -k 1 60 vmrun -k "$GUEST" -a "do=flood:$queue" -m 8M -c 2 -t 2 -- true >full 2>err 3>&- || status=$?
		# 125: no command has ended here; 124: not in time. Killed by this test it would be 137
		want=124
		[ $queue != 1 ] || want=125
		[ "$status" = $want ] || fail "queue $queue: status $status: $(cat err)"
	done
	# A signal does it as well
	for queue in 7:off 7:ap; do
		vmrun -k "$GUEST" -a "do=flood:$queue" -m 8M -c 2 -t 100 -- true >full 2>err 3>&- &
		pid=$!
		sleep 2
		kill $pid
		timeout 30 tail --pid=$pid -f /dev/null || fail "queue $queue: it is still there"
		status=0
		wait $pid || status=$?
		[ "$status" = 143 ] || fail "queue $queue: status $status: $(cat err)"
	done
	exec {fd}>&-
}
