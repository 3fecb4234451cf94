#!/usr/bin/env bats
# vmrun --kernel with an ELF file, by PVH, on this machine's /dev/kvm; vmrun-nested-firmware.bats does it with Debian's vmlinux.

load common

setup() {
	common_setup
	require gcc ld
	gcc -c -o pvh.o "$ROOT/tests/guest/pvh.S"
	ld -m elf_x86_64 -Ttext 0x200000 -e _start --build-id=none -o kernel pvh.o
}

require_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }

@test "an ELF kernel starts at its PVH entry, with command line and RAM disk" {
	require_kvm
	(printf BZh; random_bytes 3 20000 | base64) >initrd
	run_split timeout 60 vmrun -k kernel -m 32M -t 50s -a "of mine" </dev/null
	assert_status 0
	[ "$output" = "console=ttyS0 panic=-1 of mine" ]
	timeout 60 vmrun -k kernel -i initrd -m 4G -t 50s </dev/null >out
	tail -n +2 out | cmp - initrd
	refused 2 vmrun -k kernel -m 32M -a "$(printf %2100d 1)"
	[[ $stderr == *2047* ]]
}

@test "ELF files that are no kernel, cut off or damaged: a sentence" {
	refused 9 vmrun -k /bin/true
	[[ $stderr == *"PVH"* ]]
	refused 2 vmrun -k kernel -m 2M
	[[ $stderr == *"--memory"* ]]
	size=$(stat -c %s kernel)
	for n in 10 64 200 4200; do
		head -c "$n" kernel >short.elf
		refused 8 vmrun -k short.elf
	done
	cp kernel low
	patch_bytes low $((64 + 56 + 24)) 0010000000000000 # the second part's physical address
	patch_bytes low $((64 + 24)) 0010000000000000
	refused 9 vmrun -k low
	for ((i = 0; i < 40; i++)); do
		cp kernel bad
		patch_bytes bad $((16 + i * 8)) ffffffffffffff7f
		status=0
		timeout 20 vmrun -k bad -m 32M -t 1s </dev/null >/dev/null 2>err || status=$?
		case $status in
		0 | 1 | 2 | 3 | 8 | 9 | 10) ;;
		*) fail "at $((16 + i * 8)): status $status: $(cat err)" ;;
		esac
		[ "$(wc -l <err)" -le 2 ] || fail "$(cat err)"
	done
	[ "$size" -gt 4200 ]
}
