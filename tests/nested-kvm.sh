#!/bin/bash
# tests/nested-kvm.sh WORKDIR PAYLOADDIR SCRIPT [SECONDS] - run SCRIPT in a guest that has a real /dev/kvm
#
# QEMU emulates a processor with AMD-V (-cpu max, no KVM of this machine is used), Debian's installed cloud kernel runs there
# with kvm-amd. PAYLOADDIR is copied to /t, SCRIPT runs there by busybox sh; what it leaves in /out is WORKDIR/out/ afterwards.
# Status: SCRIPT's; 124 when there was none in time (default 600 s). WORKDIR/serial.log has what was said. A script that has not
# ended a minute before that is stopped: what its processes and machines were at is said there, and what it left in /out is kept.
#
# QEMU 7.2 loses a wake-up of a processor that halts beside nested guests, about once in forty hosts: its thread then sleeps for
# ever. The host's kernel polls instead of halting, so that a QEMU which takes no processor time for half a minute can only be
# one that is lost. Once a host stood still that did take time, though every wait in its script had an end: so a process there
# says each second that it lives, and a host of which nothing is heard for two minutes is lost too. A lost host is started
# once more, with what it said so far in serial-lost.log; one that lives is not, whatever its script waits for.
#
# QEMU keeps 48 MB of translated code: a guest that starts where another one was writes over pages that code was translated from,
# which is slow for as long as it is kept. Five guests, one after the other, took 29 s with 512 MB, 19 s with 48, 33 s with 16.
#
# QEMU runs with qemubql.so of $VMKIT_TOOLS, where that is set: see tests/preload/qemubql.c. UEFI guests need it.
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
# look - what every process is at, and twice what KVM counts
look() {
	for p in /proc/[0-9]*; do
		[ -s $p/cmdline ] || continue
		echo "nested: ${p#/proc/} $(tr '\0' ' ' <$p/cmdline | cut -c 1-150)"
		for t in $p/task/*; do
			echo "  $(cat $t/comm) $(sed -n 's/^State:.//p' $t/status) $(cat $t/syscall) <- $(awk '{ printf "%s ", $2 }' $t/stack)"
		done
	done
	mount -t debugfs debug /sys/kernel/debug
	for n in 1 2; do
		for d in /sys/kernel/debug/kvm/[0-9]*; do
			(cd $d && echo "nested: $d $(grep . exits halt_exits irq_injections io_exits mmio_exits irq_exits signal_exits vcpu*/*timer* vcpu*/pid 2>/dev/null | tr '\n' ' ')")
		done
		sleep 2
	done
	for f in /out/*/out* /out/*/err*; do
		[ ! -s $f ] || echo "nested: $f: $(tail -c 200 $f)"
	done
}
cd /t
rm -f /tmp/.ended
(
	i=0
	while [ ! -e /tmp/.ended ] && [ $i -lt @SECONDS@ ]; do
		echo . >/dev/ttyS1
		sleep 1
		i=$((i + 1))
	done
	[ ! -e /tmp/.ended ] || exit
	echo "nested: the script does not end"
	look
	tar -C /out -cf - . | dd of=/dev/vda bs=64k conv=notrunc 2>/dev/null
	sync
	echo "nested: status 124"
	poweroff -f
) &
sh ./.script
s=$?
: >/tmp/.ended
echo "nested: $(cut -d' ' -f1 /proc/uptime) s, $(awk '/^cpu /{ print $5 / 100 }' /proc/stat) of them idle"
tar -C /out -cf - . | dd of=/dev/vda bs=64k conv=notrunc 2>/dev/null
sync
echo "nested: status $s"
poweroff -f
END
sed -i "s/@SECONDS@/$((limit > 90 ? limit - 60 : limit))/" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$work/initrd"
rm -rf "$root" "$work/out.tar"
truncate -s 64M "$work/out.tar"

# ticks PID - processor time it took so far; nothing once it has ended
ticks() { awk '$3 != "Z" { print $14 + $15 }' "/proc/$1/stat" 2>/dev/null; }

# Return: 1 when the host was lost
host() {
	local qemu end=$((SECONDS + limit)) last='' now idle=0 heard='' still=0 beats
	env ${VMKIT_TOOLS:+LD_PRELOAD="$VMKIT_TOOLS/qemubql.so"} qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-M q35 -accel tcg,thread=multi,tb-size=48 -cpu max -smp 1 -m 1536 -kernel "$kernel" -initrd "$work/initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on tsc=reliable idle=poll" \
		-drive "if=virtio,format=raw,file=$work/out.tar" -serial stdio -serial "file:$work/alive" </dev/null 2>"$work/qemu.err" >"$work/serial.log" &
	qemu=$!
	trap 'kill -KILL $qemu 2>/dev/null; exit 143' TERM INT HUP
	while now=$(ticks $qemu) && [ -n "$now" ] && [ "$SECONDS" -lt "$end" ]; do
		[ "$now" = "$last" ] && idle=$((idle + 1)) || idle=0
		last=$now
		beats=$(stat -c %s "$work/alive" 2>/dev/null || true)
		[ "$beats" = "$heard" ] && still=$((still + 1)) || still=0
		heard=$beats
		[ "$idle" -lt 30 ] && [ "$still" -lt 120 ] || break
		sleep 1
	done
	kill -KILL $qemu 2>/dev/null || true
	wait $qemu || true
	trap - TERM INT HUP
	[ "$idle" -lt 30 ] && [ "$still" -lt 120 ]
}
host || { mv "$work/serial.log" "$work/serial-lost.log"; echo "nested-kvm.sh: the host is lost; once more" >&2; host || true; }
mkdir -p "$work/out"
tar -C "$work/out" -xf "$work/out.tar" 2>/dev/null || true
status=$(tr -d '\r' <"$work/serial.log" | sed -n 's/^nested: status \([0-9]*\)$/\1/p' | tail -n 1)
exit "${status:-124}"
