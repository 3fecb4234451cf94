#!/usr/bin/env bats
# check --repair of images that are damaged at random: nothing that could be read is lost, and what it says is true.
# tests/repair_random.py has the rules.
# bats file_tags=slow,release
load common

setup() {
	common_setup
	require qemu-img python3
	random_bytes 5 50000 >piece
	truncate -s 6M a.raw
	for at in 0 1048576 1118576 3145728 5242880; do
		dd if=piece of=a.raw bs=64k seek=$at oflag=seek_bytes conv=notrunc status=none
	done
	yes 'text that compresses' | head -c 100000 | dd of=a.raw bs=1M seek=4 conv=notrunc status=none
}

# survive OPTIONS FORMAT SEEDS [QEMU-FORMAT]
survive() {
	# shellcheck disable=SC2086 # options
	vmimg convert --force -O "$2" $1 a.raw i.img
	run python3 "$ROOT/tests/repair_random.py" "$VMKIT_BIN/vmimg" i.img a.raw "$2" "$3" ${4:+"$4"}
	assert_status 0
	echo "# $output" >&3
}

@test "qcow2" {
	survive "" qcow2 40 qcow2
	survive "-c -o cluster_size=4k" qcow2 20 qcow2
}

# QEMU does not look at the bitmaps of dynamic disks, so it is no judge there.
@test "VHD" {
	survive "" vhd 30
	survive "-o subformat=fixed" vhd 10
}

@test "VHDX" {
	survive "" vhdx 30 vhdx
	survive "-o logical_sector_size=4096" vhdx 10
}

@test "VDI" {
	survive "" vdi 40 vdi
}

@test "VMDK" {
	survive "" vmdk 60 vmdk
	survive "-o subformat=streamOptimized" vmdk 40 vmdk
}
