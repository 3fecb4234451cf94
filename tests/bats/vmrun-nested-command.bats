#!/usr/bin/env bats
# vmrun -- COMMAND in Debian's own kernel: in one nested host with a real KVM, started once for all tests here.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun"
	random_bytes 5 2500001 >input
	random_bytes 9 3000000 | base64 -w 60 >lines
	random_image disk.raw $((1 << 20)) 7
	mkdir rootfs/deep
	ln -s ../bin/busybox rootfs/deep/link
	mkdir rootfs/{proc,sys,dev}
	ext4_image fs 24M rootfs
	vmimg convert -q fs root.qcow2
	rm fs
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		fast="nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		run() { # NAME OPTIONS...
			mkdir -p /out/$1
			o=/out/$1
			shift
			bin/vmrun -k kernel --root rootfs --modules modules -a "$fast" -t 1000 "$@" >$o/out 2>$o/err
			echo $? >$o/status
		}
		run streams -c 2 --env GREETING=hello --workdir /deep -d disk.raw --read-only -- sh -c '
			sha256sum /dev/vda >&2
			echo "$GREETING $(pwd) $(id -u) $0 $#" >&2
			ls -l >&2
			cat
			exit 7' name "an argument" "" <input
		pipe() { # NAME OPTIONS...
			mkdir -p /out/$1
			o=/out/$1
			shift
			bin/vmrun -k kernel -r rootfs --modules modules -m 512M -a "$fast" -t 1000 "$@" 2>$o/err
			echo $? >$o/status
		}
		cat lines | pipe sort -- sort | cat >/out/sort.out
		# The guest is done, and resets its devices, long before the reader looks
		head -c 1500000 lines | pipe slow -- cat | (sleep 15; cat) >/out/slow.out
		mkdir /out/pipe
		(bin/vmrun -k kernel -r rootfs --modules modules -a "$fast" -t 1000 -- yes 2>/out/pipe/err </dev/null
			echo $? >/out/pipe/status) | head -n 1000 >/out/pipe/out
		sleep 1
		run disk --root root.qcow2 -- sh -c 'cat /proc/mounts | head -n 20; echo kept >/kept; ls /vmrun' </dev/null
		cp root.qcow2 /out/
		run missing -- no-such-command </dev/null
		run panic -- sh -c 'echo before; sleep 1; echo c >/proc/sysrq-trigger' </dev/null
		mkdir /out/signal
		bin/vmrun -k kernel -r rootfs --modules modules -a "$fast" -t 1000 -- \
			sh -c 'trap "echo got it; exit 9" TERM; echo up; while :; do sleep 0.1; done' </dev/null >/out/signal/out 2>/out/signal/err &
		while ! grep -q up /out/signal/out; do sleep 0.2; done
		kill -TERM $!
		wait $!
		echo $? >/out/signal/status
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 800 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
}

of() {
	R=$WORK/out/$1
	status=$(cat "$R/status")
	stderr=$(cat "$R/err")
	[ "$status" = "$2" ] || fail "$1: status $status: $stderr"
}

@test "streams are the command's, byte for byte, and apart; its status is vmrun's" {
	of streams 7
	assert_same_bytes "$WORK/payload/input" "$R/out"
}

@test "cat | vmrun -- sort | cat: 4 MB of lines, each there, in order" {
	of sort 0
	LC_ALL=C sort "$WORK/payload/lines" >want
	assert_same_bytes want "$WORK/out/sort.out"
	[ -z "$stderr" ]
}

@test "a reader that is slower than the guest's end gets all" {
	of slow 0
	head -c 1500000 "$WORK/payload/lines" >want
	assert_same_bytes want "$WORK/out/slow.out"
	[ -z "$stderr" ]
}

@test "environment, folder, arguments, root, disk" {
	of streams 7
	[ "$(head -n 2 "$R/err")" = "$(sha256 "$WORK/payload/disk.raw")  /dev/vda
hello /deep 0 name 2" ]
	[[ $stderr == *"link -> ../bin/busybox"* ]]
}

@test "the root on a disk image: what the command writes there stays, and the file system is clean" {
	[ "$(cat "$WORK/out/disk/status")" = 1 ] # of ls: there is no /vmrun in that root
	[[ $(cat "$WORK/out/disk/out") == *"/dev/vda / ext4 rw"* ]]
	vmimg convert -q "$WORK/out/root.qcow2" fs -O raw
	run e2fsck -fn fs
	[ "$status" = 0 ]
	[[ $output != *"recovering journal"* ]]
	[ "$(debugfs -R 'cat /kept' fs 2>/dev/null)" = kept ]
}

@test "a reader that goes away: the command gets SIGPIPE" {
	of pipe 141
	[ "$(sort -u "$R/out")" = y ]
	[ "$(wc -l <"$R/out")" = 1000 ]
}

@test "a command that is not there: 127" {
	of missing 127
	[[ $stderr == *"no-such-command: No such file or directory"* ]]
}

@test "a guest that dies: 125, and its last words" {
	of panic 125
	[ "$(cat "$R/out")" = before ]
	[[ $stderr == *"ended before the command did"*hint* ]]
}

@test "SIGTERM is the command's" {
	of signal 9
	[ "$(cat "$R/out")" = $'up\ngot it' ]
}
