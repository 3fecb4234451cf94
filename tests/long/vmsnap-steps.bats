# vmsnap killed before each system call that changes something, and each of them failing; ./check takes some of them.
# Half an hour: BATS_TEST_TIMEOUT=3600 bats tests/long/vmsnap-steps.bats

setup() {
	load ../bats/common
	common_setup
	require qemu-img qemu-io python3 mkfs.xfs
	require_root
	truncate -s 400M fs
	mkfs.xfs -q -m reflink=1 fs
	mkdir m
	mount -o loop fs m || skip "cannot mount XFS"
}

teardown() { ! mountpoint -q m 2>/dev/null || umount m; }

each() {
	local how
	for how in kill eio enospc full; do
		run python3 "$ROOT/tests/vmsnap_steps.py" "$VMKIT_TOOLS/inject.so" "$PWD/m/$1" "$1" $how "${VMSNAP_STEP:-1}"
		assert_success
	done
}

@test "external" { each external; }
@test "internal" { each internal; }
@test "reflink" { each reflink; }
@test "several disks at once" { each sets; }
