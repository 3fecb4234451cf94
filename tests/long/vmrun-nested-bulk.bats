#!/usr/bin/env bats
# A command's streams, byte for byte, 1 GiB of them (VMKIT_TEST_BULK=64M: so many). Everything is a line of its own: what is lost, doubled
# or moved shows. Where the guest's host is emulated too that takes some twenty minutes (64M: 76 s), so ./check does not run it:
# VMKIT_BIN=$PWD/build/bin bats tests/long/vmrun-nested-bulk.bats
# bats file_tags=slow,release

load ../bats/common

@test "cat in a guest, as many bytes as are asked for" {
	require qemu-system-x86_64 busybox cpio numfmt
	bytes=$(numfmt --from=iec "${VMKIT_TEST_BULK:-1G}")
	mkdir -p work/payload
	"$ROOT/tests/guest/linux-payload.sh" work/payload "$VMKIT_BIN/vmrun"
	cat >work/script <<-END
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64 /out
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		fast="nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		mkfifo /tmp/copy
		sha256sum </tmp/copy >/out/in &
		date +%s >/out/times
		{ seq 1000000000 9999999999 | head -c $bytes | tee /tmp/copy |
			bin/vmrun -k kernel --root rootfs --modules modules -a "\$fast" -- cat 2>/out/err
			echo \$? >/out/status; } | sha256sum >/out/out
		wait
		date +%s >>/out/times
	END
	"$ROOT/tests/nested-kvm.sh" work work/payload work/script 7000 || fail "$(tail -n 30 work/serial.log)"
	[ "$(cat work/out/status)" = 0 ] || fail "$(cat work/out/err)"
	assert_same_bytes work/out/in work/out/out
	echo "# $bytes bytes in $(xargs <work/out/times | awk '{ print $2 - $1 }') s" >&3
}
