#!/bin/bash
# tests/guest/linux-payload.sh DIR PROGRAM... - for tests/nested-kvm.sh: DIR gets PROGRAMs in bin/ with the libraries they need, and
# Linux guests for them: kernel (Debian's), initrd (busybox, virtio modules, an init that does what do=WORD says), rootfs/ and
# modules/ for commands
set -euo pipefail
dir=$1
shift
mkdir -p "$dir"/{bin,lib,libexec/vmkit,modules,rootfs/bin}
dir=$(realpath "$dir")
for program; do
	cp "$program" "$dir/bin/"
	init=$(dirname "$program")/../libexec/vmkit/vmrun-init
	[ ! -e "$init" ] || cp "$init" "$dir/libexec/vmkit/"
	ldd "$program" | grep -o '/[^ ]*' | while read -r library; do cp -L "$library" "$dir/lib/"; done
done
# Loaded while they run
cp -L "$(/sbin/ldconfig -p | awk '/libcrypto\.so\.3 .*x86-64/ { print $NF; exit }')" "$dir/lib/"
kernel=$(find /boot -name 'vmlinuz-*-cloud-amd64' | sort -V | tail -n 1)
cp "$kernel" "$dir/kernel"
root=$dir/initrd.root
mkdir -p "$root"/{bin,mod,dev,proc,sys,tmp}
cp /bin/busybox "$root/bin/"
for m in virtio_pci virtio_blk virtio_rng efivarfs virtiofs; do
	/sbin/modprobe -S "${kernel#/boot/vmlinuz-}" --show-depends "$m"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r f; do
	cp "$f" "$root/mod/"
	basename "$f" >>"$root/mod/order"
done
cat >"$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r m; do insmod "/mod/$m" || echo "guest: insmod $m failed"; done </mod/order
echo "guest: $(nproc) cpus, clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
what=$(sed -n 's/.*do=\([^ ]*\).*/\1/p' /proc/cmdline)
case $what in
disks) # their sums, then a pattern into the second half of each, and the sums again
	for d in /dev/vd?; do
		echo "guest: before $(sha256sum $d)"
		yes pattern | dd of=$d bs=64k seek=8 count=8 iflag=fullblock conv=notrunc,fsync 2>/dev/null
		echo 3 >/proc/sys/vm/drop_caches
		echo "guest: after $(sha256sum $d)"
	done
	echo "guest: rng $(cat /sys/class/misc/hw_random/rng_current) $(head -c 1000 /dev/hwrng | wc -c)"
	grep -q 'PCI-MSI.*virtio0-req' /proc/interrupts && echo "guest: msi"
	;;
readonly)
	echo "guest: readonly $(cat /sys/block/vda/ro)"
	;;
efi) # what the firmware keeps: a variable is made where there is none
	mount -t efivarfs efivarfs /sys/firmware/efi/efivars
	v=/sys/firmware/efi/efivars/VmkitTest-01234567-89ab-cdef-0123-456789abcdef
	echo "guest: efi $(cat /sys/firmware/efi/fw_platform_size), $(ls /sys/firmware/efi/efivars | grep -c ^Boot0) boot entries, kept: $(tail -c 5 $v 2>/dev/null)"
	printf '\7\0\0\0hello' >$v
	;;
reboot) reboot -f ;;
writes) # until it is killed
	echo "guest: writing"
	i=0
	while :; do
		dd if=/dev/urandom of=/dev/vda bs=32k seek=$((i * 7 % 256)) count=1 conv=notrunc,fsync 2>/dev/null
		i=$((i + 1))
	done
	;;
shell) exec sh </dev/ttyS0 ;;
esac
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$dir/initrd"
rm -rf "$root"
# For commands: the modules as they lie in /lib/modules, and a root of busybox alone
modules=/lib/modules/${kernel#/boot/vmlinuz-}
cp "$modules/modules.dep" "$dir/modules/"
(cd "$modules" && cp --parents kernel/drivers/virtio/*.ko kernel/drivers/char/virtio_console.ko \
	kernel/drivers/char/hw_random/*.ko kernel/drivers/block/virtio_blk.ko kernel/drivers/net/virtio_net.ko \
	kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko \
	kernel/fs/fuse/{fuse,virtiofs}.ko kernel/fs/overlayfs/overlay.ko \
	kernel/net/vmw_vsock/{vsock,vmw_vsock_virtio_transport{,_common}}.ko "$dir/modules/")
cp /bin/busybox "$dir/rootfs/bin/"
for applet in sh cat sort echo sleep true false wc sha256sum head yes env pwd id ls kill dd; do
	ln -s busybox "$dir/rootfs/bin/$applet"
done
