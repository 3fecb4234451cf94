#!/bin/bash
# tests/nested-kvm.sh WORKDIR PAYLOADDIR SCRIPT [SECONDS] - run SCRIPT in a guest that has a real /dev/kvm
#
# QEMU emulates a processor with AMD-V (-cpu max, no KVM of this machine is used), Debian's installed cloud kernel runs there
# with kvm-amd. PAYLOADDIR is copied to /t, SCRIPT runs there by busybox sh; what it leaves in /out is WORKDIR/out/ afterwards.
# Status: SCRIPT's; 124 when there was none in time (default 600 s). WORKDIR/serial.log has what was said.
#
# QEMU 7.2 loses a wake-up of a processor that halts beside nested guests, about once in forty hosts: its thread then sleeps for
# ever. The host's kernel polls instead of halting, so that a QEMU which takes no processor time for half a minute can only be
# one that is lost; such a host is started once more, with what it said so far in serial-lost.log.
set -euo pipefail
work=$1 payload=$2 script=$3 limit=${4:-600}
mkdir -p "$work"
work=$(realpath "$work")
kernel=$(find /boot -name 'vmlinuz-*-cloud-amd64' | sort -V | tail -n 1)
[ -n "$kernel" ] || { echo "nested-kvm.sh: no linux-image-cloud-amd64 is installed" >&2; exit 77; }
version=${kernel#/boot/vmlinuz-}
root=$work/root
rm -rf "$root"
mkdir -p "$root"/{bin,mod,dev,proc,sys,tmp,t,out}
cp /bin/busybox "$root/bin/"
for m in kvm-amd virtio_pci virtio_blk; do
	/sbin/modprobe -S "$version" --show-depends "$m"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r f; do
	cp "$f" "$root/mod/"
	basename "$f" >>"$root/mod/order"
done
cp -a "$payload"/. "$root/t/"
cp "$script" "$root/t/.script"
cat >"$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
while read -r m; do insmod "/mod/$m" || echo "nested: insmod $m failed"; done </mod/order
[ -c /dev/kvm ] || { echo "nested: no /dev/kvm"; echo "nested: status 125"; poweroff -f; }
cd /t
sh ./.script
s=$?
tar -C /out -cf - . | dd of=/dev/vda bs=64k conv=notrunc 2>/dev/null
sync
echo "nested: status $s"
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$work/initrd"
rm -rf "$root" "$work/out.tar"
truncate -s 64M "$work/out.tar"

# ticks PID - processor time it took so far; nothing once it has ended
ticks() { awk '$3 != "Z" { print $14 + $15 }' "/proc/$1/stat" 2>/dev/null; }

# Return: 1 when the host was lost
host() {
	local qemu end=$((SECONDS + limit)) last='' now idle=0
	qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-M q35 -accel tcg,thread=multi,tb-size=512 -cpu max -smp 1 -m 1536 -kernel "$kernel" -initrd "$work/initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on tsc=reliable idle=poll" \
		-drive "if=virtio,format=raw,file=$work/out.tar" -serial stdio </dev/null 2>"$work/qemu.err" >"$work/serial.log" &
	qemu=$!
	trap 'kill -KILL $qemu 2>/dev/null; exit 143' TERM INT HUP
	while now=$(ticks $qemu) && [ -n "$now" ] && [ "$SECONDS" -lt "$end" ]; do
		[ "$now" = "$last" ] && idle=$((idle + 1)) || idle=0
		last=$now
		[ "$idle" -lt 30 ] || break
		sleep 1
	done
	kill -KILL $qemu 2>/dev/null || true
	wait $qemu || true
	trap - TERM INT HUP
	[ "$idle" -lt 30 ]
}
host || { mv "$work/serial.log" "$work/serial-lost.log"; echo "nested-kvm.sh: QEMU lost a wake-up; once more" >&2; host || true; }
mkdir -p "$work/out"
tar -C "$work/out" -xf "$work/out.tar" 2>/dev/null || true
status=$(tr -d '\r' <"$work/serial.log" | sed -n 's/^nested: status \([0-9]*\)$/\1/p' | tail -n 1)
exit "${status:-124}"
