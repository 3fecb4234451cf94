# libvirt "hosts" for tests: folders with a session daemon each (no systemd, no D-Bus, no KVM), and a guest with its agent.
#
#	setup_file() { lv_init; lv_guest; lv_define one 64M; }	daemons start by themselves with the first connection
#	teardown_file() { lv_down; }
#
# As root everything runs as nobody: for root qemu:///session is the system's daemon. Socket paths must stay short.

LV_UID=65534

lv_init() {
	LV_BASE=$(elsewhere /tmp/lv.XXXXXX) || return 1
	export LV_BASE
	chmod 755 "$LV_BASE"
	[ "$(id -u)" != 0 ] || chown $LV_UID:$LV_UID "$LV_BASE"
}

lv_as() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=$LV_UID --regid=$LV_UID --clear-groups -- "$@"
	else
		"$@"
	fi
}

# lv_on HOST CMD... - CMD as if on that host
lv_on() {
	local h=$LV_BASE/$1
	shift
	lv_as mkdir -p "$h"/{run,conf/libvirt,cache,data} && lv_as chmod 700 "$h/run" || return 1
	lv_as env XDG_RUNTIME_DIR="$h/run" XDG_CONFIG_HOME="$h/conf" XDG_CACHE_HOME="$h/cache" XDG_DATA_HOME="$h/data" HOME="$h" TMPDIR="$h/cache" \
		LIBVIRT_DEFAULT_URI=qemu:///session "$@" 3>&-
}

lv_uri() { echo "qemu+unix:///session?socket=$LV_BASE/$1/run/libvirt/libvirt-sock"; }

# lv_down - machines off, daemons ended, folders gone
lv_down() {
	local d h n f
	[ -n "${LV_BASE:-}" ] || return 0
	for d in "$LV_BASE"/*/run/libvirt; do
		[ -d "$d" ] || continue
		h=$(basename "${d%/run/libvirt}")
		for n in $(lv_on "$h" timeout 20 virsh list --name 2>/dev/null); do
			lv_on "$h" timeout 20 virsh destroy "$n" >/dev/null 2>&1
		done
		for f in "$d"/libvirtd.pid "$d"/virtlogd.pid "${d%/libvirt}"/virtlogd.pid; do
			[ ! -f "$f" ] || kill "$(cat "$f")" 2>/dev/null
		done
	done
	rm -rf "$LV_BASE"
}

# lv_guest - $LV_BASE/{vmlinuz,initrd.gz}: Debian's kernel, busybox and the guest agent
lv_guest() {
	local root kernel version
	require busybox cpio modprobe qemu-ga
	kernel=$(find /boot -name 'vmlinuz-*' | sort -V | tail -n 1)
	[ -n "$kernel" ] || fail "no kernel in /boot: run scripts/deps.sh"
	version=${kernel#/boot/vmlinuz-}
	root=$(mktemp -d) || return 1
	mkdir -p "$root"/{bin,sbin,usr/sbin,dev,proc,sys,run,tmp,mnt,etc,var,lib/modules}
	cp "$(command -v busybox)" "$root/bin/"
	local a m l
	for a in sh mount umount cat ls sleep poweroff reboot insmod dd sync mkdir ln basename head env grep md5sum true false; do
		ln -s busybox "$root/bin/$a"
	done
	for m in virtio_pci virtio_blk virtio_console virtio_net virtio_balloon ext4 button evdev; do
		modprobe --show-depends -S "$version" "$m" 2>/dev/null | awk '/^insmod/ { print $2 }'
	done | awk '!seen[$0]++' | grep -v crc32c-intel | while read -r m; do
		cp "$m" "$root/lib/modules/" && basename "$m" >>"$root/modules"
	done
	cp "$(command -v qemu-ga)" "$root/usr/sbin/"
	ldd "$(command -v qemu-ga)" | grep -o '/[^ ]*' | while read -r l; do
		mkdir -p "$root$(dirname "$l")" && cp -L "$l" "$root$l"
	done
	printf '#!/bin/sh\nsync\ncase "$*" in *-r*) reboot -f ;; *) poweroff -f ;; esac\n' >"$root/sbin/shutdown"
	cat >"$root/init" <<'X'
#!/bin/sh
export PATH=/bin:/sbin:/usr/sbin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(cat /modules); do insmod "/lib/modules/$m" 2>/dev/null; done
mkdir -p /dev/virtio-ports
for p in /sys/class/virtio-ports/*; do ln -sf "/dev/$(basename "$p")" "/dev/virtio-ports/$(cat "$p/name")"; done
for e in /sys/class/input/event*; do
	grep -q 'Power Button' "$e/device/name" && (dd if="/dev/input/$(basename "$e")" bs=24 count=1 of=/dev/null 2>/dev/null && poweroff -f) &
done
[ ! -e /dev/vda ] || mount -t ext4 /dev/vda /mnt 2>/dev/null
grep -q noagent /proc/cmdline ||
	qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qga.pid &
echo GUEST-UP
exec sh </dev/console >/dev/console 2>&1
X
	chmod 755 "$root/init" "$root/sbin/shutdown"
	(cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$LV_BASE/initrd.gz"
	install -m 644 "$kernel" "$LV_BASE/vmlinuz"
	chmod 644 "$LV_BASE/initrd.gz"
	rm -rf "$root"
}

# lv_define HOST NAME [APPEND] - a machine with $LV_BASE/NAME.qcow2 (64 MiB, ext4) as its disk, defined, off
lv_define() {
	local disk=$LV_BASE/$2.qcow2
	truncate -s 64M "$LV_BASE/$2.raw" && mke2fs -q -t ext4 -F "$LV_BASE/$2.raw" &&
		qemu-img convert -O qcow2 "$LV_BASE/$2.raw" "$disk" && rm -f "$LV_BASE/$2.raw" || return 1
	[ "$(id -u)" != 0 ] || chown $LV_UID:$LV_UID "$disk"
	cat >"$LV_BASE/$2.xml" <<X
<domain type='qemu'><name>$2</name><memory unit='MiB'>192</memory><vcpu current='1'>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>$LV_BASE/vmlinuz</kernel><initrd>$LV_BASE/initrd.gz</initrd>
<cmdline>console=ttyS0 quiet ${3:-}</cmdline></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$disk'/><target dev='vda' bus='virtio'/></disk>
<serial type='pty'/><console type='pty'/><memballoon model='virtio'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>
X
	lv_on "$1" virsh define "$LV_BASE/$2.xml" >/dev/null
}

# lv_agent HOST NAME - until the guest agent answers; it takes 7 to 25 s
lv_agent() {
	local i
	for ((i = 0; i < 200; i++)); do
		! lv_on "$1" virsh qemu-agent-command "$2" '{"execute":"guest-ping"}' >/dev/null 2>&1 || return 0
		sleep 0.3
	done
	fail "the guest agent does not answer"
}
