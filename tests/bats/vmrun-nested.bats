#!/usr/bin/env bats
# vmrun boots Debian's own kernel: in one nested host with a real KVM (tests/nested-kvm.sh), started once for all tests here.
# What the host's script finds out lies in results/, which the tests look at; foreign tools look at the disks.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio qemu-img
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun"
	random_image raw $((1 << 20)) 7
	vmimg convert -q raw disk.qcow2
	vmimg convert -q raw disk.vmdk
	vmimg convert -q raw disk.vhdx
	cp raw disk.raw
	qemu-img create -q -f qcow2 killed.qcow2 64M
	# Each start is a folder of results: out, err, status, seconds
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		fast="quiet nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		start() { # NAME OPTIONS...
			mkdir -p /out/$1
			o=/out/$1
			shift
			began=$(date +%s)
			bin/vmrun -k kernel -i initrd "$@" >$o/out 2>$o/err
			echo $? >$o/status
			echo $(($(date +%s) - began)) >$o/seconds
		}
		start disks -t 200 -a "quiet do=disks" -d disk.raw -d disk.qcow2 -d disk.vmdk </dev/null
		sha256sum disk.vhdx >before
		start ephemeral -t 200 -c 4 -a "$fast do=disks" -e -d disk.vhdx </dev/null
		sha256sum -c before >/out/ephemeral/unchanged 2>&1
		start reboot -t 200 --read-only -d disk.raw -a "$fast do=reboot" </dev/null
		{
			sleep 1
			while ! grep -q "guest: 1 cpus" /out/panic/out; do sleep 0.5; done
			sleep 1
			echo 'echo answer $((6 * 7))'
			sleep 1
			echo 'echo c >/proc/sysrq-trigger'
		} | start panic -t 200 -a "$fast do=shell"
		start timeout -t 2 -a "$fast" </dev/null
		mkdir /out/killed
		bin/vmrun -k kernel -i initrd -a "$fast do=writes" -d killed.qcow2 </dev/null >/out/killed/out 2>&1 &
		i=0
		while ! grep -q "guest: writing" /out/killed/out && [ $i -lt 120 ]; do
			sleep 0.5
			i=$((i + 1))
		done
		sleep 3
		kill -9 $!
		cp disk.raw disk.qcow2 disk.vmdk killed.qcow2 /out/
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 500 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
}

# of NAME - its results; $output is what the guest said, without carriage returns
of() {
	R=$WORK/out/$1
	status=$(cat "$R/status")
	stderr=$(cat "$R/err")
	output=$(tr -d '\r' <"$R/out")
	[ "$status" = "$2" ] || fail "$1: status $status: $stderr $output"
}

# sums WHEN - the guest's sums of its disks
sums() { sed -n "s/^guest: $1 \([0-9a-f]*\) .*/\1/p" <<<"$output"; }

@test "Debian's kernel boots with an ordinary command line, and powers off: status 0" {
	of disks 0
	[[ $output == *"guest: 1 cpus, clock kvm-clock"* ]]
	[ -z "$stderr" ]
}

@test "disks in raw, qcow2 and VMDK: the guest reads what qemu-img reads" {
	of disks 0
	want=$(sha256 "$WORK/payload/raw")
	[ "$(sums before)" = "$want"$'\n'"$want"$'\n'"$want" ]
}

@test "and what it writes is there" {
	of disks 0
	cp "$WORK/payload/raw" want
	yes pattern | dd of=want bs=64k seek=8 count=8 iflag=fullblock conv=notrunc status=none
	[ "$(sums after | sort -u)" = "$(sha256 want)" ]
	for d in raw qcow2 vmdk; do assert_same_disk want "$WORK/out/disk.$d" raw; done
	assert_qemu_clean "$WORK/out/disk.qcow2"
}

@test "the random number generator works, interrupts are messages" {
	of disks 0
	[[ $output == *"guest: rng virtio_rng.0 1000"* ]]
	[[ $output == *"guest: msi"* ]]
}

@test "4 vCPUs; an ephemeral disk takes writes, the image keeps its bytes" {
	of ephemeral 0
	[[ $output == *"guest: 4 cpus"* ]]
	[ "$(sums before)" = "$(sha256 "$WORK/payload/raw")" ]
	cp "$WORK/payload/raw" want
	yes pattern | dd of=want bs=64k seek=8 count=8 iflag=fullblock conv=notrunc status=none
	[ "$(sums after)" = "$(sha256 want)" ]
	grep -q 'disk.vhdx: OK' "$WORK/out/ephemeral/unchanged"
}

@test "a reboot is status 3" {
	of reboot 3
	[[ $stderr == *reset* ]]
}

@test "a shell on the serial line answers; a panic resets, which is status 3 too" {
	of panic 3
	[[ $output == *"answer 42"* ]]
}

@test "--timeout while it boots: status 10" {
	of timeout 10
	[ "$(cat "$WORK/out/timeout/seconds")" -le 20 ]
}

@test "kill -9 of vmrun while the guest writes: the qcow2 disk is whole" {
	grep -q "guest: writing" "$WORK/out/killed/out"
	vmimg check -q "$WORK/out/killed.qcow2" || [ $? = 3 ] # leaks are allowed
	run qemu-img check "$WORK/out/killed.qcow2"
	[ "$status" = 0 ] || [ "$status" = 3 ]
	[ "$(allocated "$WORK/out/killed.qcow2")" -gt 400000 ]
}
