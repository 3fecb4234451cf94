#!/usr/bin/env bats
# vmrun DISK on this machine's /dev/kvm: SeaBIOS starts a boot sector of ours; vmrun-nested-firmware.bats has GRUB and Linux.

load common

setup() {
	common_setup
	require gcc ld
	[ -e /usr/share/seabios/bios-256k.bin ] || fail "seabios is missing: run scripts/deps.sh"
}

require_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }

# started OPTIONS... - what came by the serial line, in $output
started() {
	run_split timeout -k 5 100 vmrun -m 32M -t 90s "$@" </dev/null
	assert_status 0
	[ -z "$stderr" ]
	[[ $output == *SeaBIOS*"oot sector"*"second sector"*"and the scree"* ]] || fail "$output"
}

@test "a disk's boot sector runs, reads the disk by the BIOS and writes to its screen: raw, qcow2, VMDK, VHDX" {
	require_kvm
	require qemu-img
	"$ROOT/tests/guest/boot-disk.sh" disk.raw
	run_split timeout -k 5 100 vmrun ./disk.raw -c 2 -m 32M -t 90s </dev/null # no option in front
	assert_status 0
	[[ $output == *"second sector"* ]]
	for f in qcow2 vmdk vhdx; do
		qemu-img convert -f raw -O "$f" disk.raw "disk.$f"
		started --ephemeral "disk.$f"
	done
	started --read-only -d disk.qcow2
}

@test "a disk that cannot be started: the BIOS says so, and the machine ends" {
	require_kvm
	truncate -s 1M empty.raw
	run_split timeout -k 5 100 vmrun -m 32M -t 90s empty.raw </dev/null
	assert_status 3
	[[ $output == *"No bootable device"* ]]
}

@test "no such disk, no BIOS, what is no BIOS, what needs a kernel" {
	refused 4 vmrun nothing.qcow2
	truncate -s 1M disk.raw
	refused 2 vmrun -m 64M
	refused 2 vmrun disk.raw -- true
	refused 2 vmrun disk.raw --append quiet
	refused 4 vmrun --firmware nothing.bin disk.raw
	for n in 0 1000 65536 131073 33554432; do
		truncate -s "$n" bios.bin
		refused 9 vmrun --firmware bios.bin disk.raw
	done
	refused 2 vmrun --firmware . disk.raw
	require_kvm
	# 128 KiB of zeros are a program for a processor
	truncate -s 131072 bios.bin
	status=0
	timeout 60 vmrun -t 1s -m 4M --firmware bios.bin disk.raw </dev/null >/dev/null 2>err || status=$?
	[ "$status" != 0 ] && [ "$status" -le 10 ] || fail "status $status: $(cat err)"
	[ "$(wc -l <err)" -le 2 ]
}
