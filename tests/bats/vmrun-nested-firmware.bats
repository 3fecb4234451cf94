#!/usr/bin/env bats
# vmrun DISK with GRUB and Debian's own kernel, by SeaBIOS and by OVMF: in one nested host with a real KVM, started once for all tests here.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio qemu-img grub-mkimage mke2fs lz4
	[ -e /usr/share/seabios/bios-256k.bin ] || fail "seabios is missing: run scripts/deps.sh"
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || fail "ovmf is missing: run scripts/deps.sh"
	[ -d /usr/lib/grub/x86_64-efi ] || fail "grub-efi-amd64-bin is missing: run scripts/deps.sh"
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun"
	mkdir -p root/boot/grub halt/boot/grub
	cp kernel root/boot/vmlinuz
	cp initrd root/boot/initrd.img
	cat >root/boot/grub/grub.cfg <<-'END'
		serial --unit=0 --speed=115200
		terminal_output serial
		echo GRUB starts Linux
		linux /boot/vmlinuz console=ttyS0 panic=-1 quiet nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on do=disks
		initrd /boot/initrd.img
		boot
	END
	printf '%s\n' 'serial --unit=0' 'terminal_output serial' 'echo GRUB halts' halt >halt/boot/grub/grub.cfg
	"$ROOT/tests/guest/grub-disk.sh" disk.raw root 40M
	"$ROOT/tests/guest/grub-disk.sh" halt.raw halt 4M
	rm -r root halt
	vmimg convert -q disk.raw disk.qcow2
	sha256 disk.raw >../sum
	for f in vmdk vhdx; do vmimg convert -q halt.raw "halt.$f"; done
	rm disk.raw halt.raw
	cp /usr/share/seabios/bios-256k.bin .
	efi_disks
	# The kernel without its wrapping: LZ4 behind the setup code; the last 4 bytes are its size
	python3 - <<-'END'
		import struct
		d = open("kernel", "rb").read()
		at = (d[0x1f1] + 1) * 512 + struct.unpack_from("<I", d, 0x248)[0]
		open("packed", "wb").write(d[at:at + struct.unpack_from("<I", d, 0x24c)[0] - 4])
	END
	lz4 -q -d packed vmlinux
	rm packed
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		start() { # NAME OPTIONS...
			mkdir -p /out/$1
			o=/out/$1
			shift
			bin/vmrun -t 200 "$@" >$o/out 2>$o/err </dev/null
			echo $? >$o/status
		}
		start vmdk --firmware bios-256k.bin -m 64M halt.vmdk
		start vhdx --firmware bios-256k.bin -m 64M -e -c 2 halt.vhdx
		start linux --firmware bios-256k.bin -m 192M -c 2 -e disk.qcow2
		start direct -m 192M -e --direct disk.qcow2
		ovmf="--firmware OVMF_CODE_4M.fd --firmware-vars /out/vars.fd -m 256M -e"
		start efi $ovmf -c 2 efi.qcow2
		cp /out/vars.fd /out/vars.1
		start efi-again $ovmf efi-halt.qcow2
		start pvh -m 192M -c 2 -k vmlinux -i initrd -a "do=hello quiet nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 500 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
}

# Two disks with GRUB on an EFI system partition, and the firmware
efi_disks() {
	mkdir -p esp
	printf '%s\n' 'serial --unit=0' 'terminal_output serial' 'echo GRUB halts' halt >esp/grub.cfg
	"$ROOT/tests/guest/efi-disk.sh" efi-halt.raw /usr/lib/grub/x86_64-efi esp 4M
	cp kernel esp/vmlinuz
	cp initrd esp/initrd.img
	cat >esp/grub.cfg <<-'END'
		serial --unit=0 --speed=115200
		terminal_output serial
		echo GRUB starts Linux
		linux /vmlinuz console=ttyS0 panic=-1 quiet nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on do=efi
		initrd /initrd.img
		boot
	END
	"$ROOT/tests/guest/efi-disk.sh" efi.raw /usr/lib/grub/x86_64-efi esp 24M
	for f in efi efi-halt; do vmimg convert -q $f.raw $f.qcow2; done
	rm -r efi.raw efi-halt.raw esp
	cp /usr/share/OVMF/OVMF_{CODE,VARS}_4M.fd .
}

of() {
	output=$(tr -d '\r' <"$WORK/out/$1/out")
	stderr=$(cat "$WORK/out/$1/err")
	[ "$(cat "$WORK/out/$1/status")" = 0 ] || fail "$1: status $(cat "$WORK/out/$1/status"): $stderr $output"
}

@test "GRUB on a VMDK and on a VHDX reads its configuration, and halts by ACPI: status 0" {
	for f in vmdk vhdx; do
		of "$f"
		[[ $output == *"GRUB halts"* ]]
	done
}

@test "GRUB on a qcow2 starts Debian's kernel, which finds both processors, the disk and the power switch" {
	of linux
	[[ $output == *"GRUB starts Linux"*"guest: 2 cpus, clock kvm-clock"*"guest: msi"* ]]
	[[ $output == *"guest: before $(cat "$WORK/sum")"* ]]
}

@test "--direct starts the kernel that GRUB would, out of the qcow2" {
	of direct
	[[ $output != *GRUB* && $output == *"guest: 1 cpus"*"guest: before $(cat "$WORK/sum")"* ]]
}

@test "Debian's vmlinux starts by PVH, with two processors" {
	of pvh
	[[ $output == *"guest: 2 cpus, clock kvm-clock"* ]]
}

@test "OVMF starts GRUB from a GPT disk, and that Linux with two processors, for which UEFI keeps a variable" {
	of efi
	[[ $output == *"GRUB starts Linux"*"guest: 2 cpus, clock kvm-clock"*"guest: efi 64, "[1-9]*" boot entries, kept: "* ]] || fail "$output"
	[ "$(wc -c <"$WORK/out/vars.1")" = "$(wc -c </usr/share/OVMF/OVMF_VARS_4M.fd)" ]
	python3 - "$WORK/out/vars.1" <<-'END'
		import sys
		d = open(sys.argv[1], "rb").read()
		for name in "BootOrder", "VmkitTest":
		    assert name.encode("utf-16-le") in d, name
		assert b"hello" in d
	END
}

@test "OVMF finds the variables that it left, and starts from them; a guest that halts by UEFI ends with status 0" {
	of efi-again
	[[ $output == *"GRUB halts"* ]]
	python3 - "$WORK/out/vars.fd" <<-'END'
		import sys
		assert "VmkitTest".encode("utf-16-le") in open(sys.argv[1], "rb").read()
	END
}
