#!/usr/bin/env bats
# vmrun --firmware uefi up to where a processor is needed; vmrun-nested-firmware.bats starts OVMF, GRUB and Linux.

load common

setup() {
	common_setup
	[ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || fail "ovmf is missing: run scripts/deps.sh"
	truncate -s 1M disk.raw
}

@test "the flash chip answers as QEMU's does, and holds the same bytes afterwards" {
	require qemu-system-x86_64 python3
	head -c 540672 /dev/urandom >ours
	cp ours qemus
	python3 - >commands <<-'END'
		import random
		random.seed(1)
		base, size = 0xffc00000, 540672
		def w(at, v): print("writeb %#x %#x" % (base + at, v))
		def r(at): print("readb %#x" % (base + at))
		for i in range(400):
		    at, what = random.randrange(size - 4096), random.randrange(8)
		    if what == 0:
		        w(at, 0x20); w(at, 0xd0)
		    elif what < 4:
		        for n in range(random.randrange(1, 20)):
		            w(at + n, random.choice((0x10, 0x40))); w(at + n, random.randrange(256))
		    elif what == 4:
		        n = random.randrange(1, 64)
		        at = at // 256 * 256 + random.randrange(256 - n)
		        w(at, 0xe8); r(at); w(at, n - 1)
		        for k in range(n):
		            w(at + k, random.randrange(256))
		        w(at, 0xd0)
		    elif what == 5:
		        w(at, 0x50); w(at, 0x70)
		    elif what == 6:
		        w(at, 0x60); w(at, random.choice((0x01, 0xd0)))
		    else:
		        w(at, 0x98)
		        for n in (0x10, 0x11, 0x12, 0x13, 0x14, 0x2a, 0x2c, 0x2d, 0x2f, 0x31, 0x32, 0x33):
		            r(n)
		        w(at, 0xff)
		    r(at)
		    if random.randrange(3):
		        w(at, 0xff); r(at); print("readl %#x" % (base + at)); r(random.randrange(size))
		w(0, 0xff)
	END
	"$VMKIT_TOOLS/flashdev" ours 0xffc00000 <commands >ours.out
	cp /usr/share/OVMF/OVMF_CODE_4M.fd code
	mkfifo in
	timeout 60 qemu-system-x86_64 -M pc,smm=off -S -accel tcg -qtest stdio -nodefaults -display none \
		-drive if=pflash,format=raw,file=code,readonly=on -drive if=pflash,format=raw,file=qemus <in >qemus.out 2>qemu.err 3>&- &
	pid=$!
	exec 9>in
	cat commands >&9
	for ((i = 0; i < 1200; i++)); do
		[ "$(grep -c ^OK qemus.out)" -lt "$(wc -l <commands)" ] || break
		sleep 0.05
	done
	exec 9>&-
	kill "$pid"
	wait "$pid" || true
	grep ^OK qemus.out >qemus.ok
	[ "$(wc -l <ours.out)" -gt 5000 ]
	cmp ours.out qemus.ok
	cmp ours qemus
}

@test "variables are made of what the firmware begins with, and kept; those of other firmware are refused, and so is a locked file" {
	run_split vmrun --kvm /nowhere --firmware uefi --firmware-vars v.fd disk.raw </dev/null
	assert_status 9
	[[ $stderr == *"no KVM"* ]]
	cmp v.fd /usr/share/OVMF/OVMF_VARS_4M.fd
	[ "$(stat -c %a v.fd)" = 600 ]
	printf x | dd of=v.fd bs=1 seek=5000 conv=notrunc status=none
	cp v.fd before
	run_split vmrun --kvm /nowhere --firmware uefi --firmware-vars v.fd disk.raw </dev/null
	assert_status 9
	cmp v.fd before
	# By its file's name, and with the variables beside it
	cp /usr/share/OVMF/OVMF_CODE.fd X_CODE.fd
	refused 4 vmrun --firmware X_CODE.fd --firmware-vars w.fd disk.raw
	cp /usr/share/OVMF/OVMF_VARS.fd X_VARS.fd
	run_split vmrun --kvm /nowhere --firmware X_CODE.fd --firmware-vars w.fd disk.raw </dev/null
	cmp w.fd X_VARS.fd
	refused 9 vmrun --kvm /nowhere --firmware uefi --firmware-vars w.fd disk.raw
	[[ $stderr == *"other firmware"* ]]
	for n in 0 4096 4097 540672 2097152; do
		rm -f n.fd
		truncate -s "$n" n.fd
		refused 9 vmrun --firmware uefi --firmware-vars n.fd disk.raw
	done
	refused 9 vmrun --firmware uefi --firmware-vars . disk.raw
	refused 2 vmrun --firmware uefi --firmware-vars - disk.raw
	python3 - <<-'END' 3>&-
		import fcntl, os, struct, subprocess
		fd = os.open("v.fd", os.O_RDWR)
		# As QEMU does: it writes, and nobody else may
		for at in (100, 101, 102, 103, 201, 203):
		    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, at, 1, 0))
		p = subprocess.run(["vmrun", "--firmware", "uefi", "--firmware-vars", "v.fd", "disk.raw"], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
		assert p.returncode == 6, p
	END
}

@test "what makes no sense with UEFI is refused" {
	refused 2 vmrun --firmware-vars v.fd disk.raw
	refused 2 vmrun --firmware bios --firmware-vars v.fd disk.raw
	refused 2 vmrun --direct --firmware-vars v.fd disk.raw
	refused 2 vmrun -k disk.raw --firmware-vars v.fd
	refused 2 vmrun --firmware uefi -m 32M disk.raw
	refused 2 vmrun --firmware uefi
	refused 4 vmrun --firmware nothing.fd disk.raw
	[ ! -e v.fd ]
}
