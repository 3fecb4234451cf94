#!/usr/bin/env bats
# vmrun --direct: the kernel inside of a disk, on this machine's /dev/kvm with the guest of tests/guest in the place of Linux.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy mke2fs
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	mkdir -p root/boot/grub
	cp "$GUEST" root/boot/vmlinuz-6.1
	printf 'BZh the RAM disk' >root/boot/initrd.img-6.1
}

# disk - disk.raw, a file system with all of root/
disk() {
	rm -f disk.raw
	ext4_image disk.raw 8M root
}

# line OPTIONS... - the command line that arrived
line() { timeout 60 vmrun --direct -m 16M -t 50s -e "$@" disk.raw </dev/null; }

@test "GRUB as Debian writes it: kernel, RAM disk, command line; --append comes last" {
	cat >root/boot/grub/grub.cfg <<-'END'
		set default="0"
		if [ x"${feature_menuentry_id}" = xy ]; then
		  menuentry_id_option="--id"
		fi
		function gfxmode {
			set gfxpayload="${1}"
		}
		menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
			insmod gzio
			if [ x$grub_platform = xxen ]; then insmod xzio; fi
			echo	'Loading Linux 6.1 ...'
			linux	/boot/vmlinuz-6.1 root=UUID=1234 ro quiet $vt_handoff do=command "quoted=a"
			echo	'Loading initial ramdisk ...'
			initrd	/boot/initrd.img-6.1
		}
		submenu 'Advanced options' $menuentry_id_option 'x' {
			menuentry 'old' {
				linux	/boot/vmlinuz-5.9 root=UUID=1234
				initrd	/boot/initrd.img-5.9
			}
		}
	END
	disk
	[ "$(line)" = "root=UUID=1234 ro quiet do=command quoted=a console=ttyS0 panic=-1" ]
	[ "$(line -a 'more words')" = "root=UUID=1234 ro quiet do=command quoted=a console=ttyS0 panic=-1 more words" ]
	# Two RAM disks are one behind the other
	sed -i 's/do=command/do=initrd/; s,initrd.img-6.1,initrd.img-6.1 /boot/second,' root/boot/grub/grub.cfg
	echo -n second >root/boot/second
	disk
	[ "$(line | tr -d '\0')" = "BZh the RAM disksecond" ]
}

@test "another default, a partition of its own for /boot in a qcow2, XFS with entries of the Boot Loader Specification" {
	require qemu-img sgdisk mkfs.xfs
	mv root/boot boot
	printf '%s\n' 'set default="1"' "menuentry a {" "linux /vmlinuz-6.1 do=hello" "}" "menuentry b {" \
		"linux (\$root)/vmlinuz-6.1 do=command b" "}" >boot/grub/grub.cfg
	ext4_image boot.fs 4M boot
	truncate -s 16M parts.raw
	sgdisk -n 1:2048:+4M -n 2:0:+4M parts.raw >log
	dd if=boot.fs of=parts.raw bs=1M seek=1 conv=notrunc status=none
	qemu-img convert -f raw -O qcow2 parts.raw disk.raw
	[ "$(line)" = "do=command b console=ttyS0 panic=-1" ]
	require_root
	truncate -s 320M disk.raw.xfs
	mkfs.xfs -q disk.raw.xfs
	mkdir mnt
	mount -o loop disk.raw.xfs mnt
	mkdir -p mnt/loader/entries
	cp boot/vmlinuz-6.1 mnt/
	printf '%s\n' 'title old' 'linux /none' 'options do=hello' >mnt/loader/entries/a-6.9.conf
	printf '%s\n' 'title new' 'version 6.10' 'linux /vmlinuz-6.1' 'options do=command $kernelopts from bls' >mnt/loader/entries/a-6.10.conf
	umount mnt
	mv disk.raw.xfs disk.raw
	[ "$(line)" = "do=command from bls console=ttyS0 panic=-1" ]
}

@test "no configuration, a kernel that is not there or is none, damaged disks, wrong options" {
	disk
	refused 4 line
	[[ $stderr == *"names a kernel"* ]]
	printf '%s\n' 'menuentry a {' 'linux /boot/none' '}' >root/boot/grub/grub.cfg
	disk
	refused 4 line
	printf '%s\n' 'menuentry a {' 'linux /boot/grub' '}' >root/boot/grub/grub.cfg
	disk
	refused 9 line
	printf '%s\n' 'menuentry a {' 'linux /boot/grub/grub.cfg' '}' >root/boot/grub/grub.cfg
	disk
	refused 9 line
	for text in 'linux' 'linux ' 'menuentry {' '}}}}' 'linux $x' 'set default=99999999999999999999' 'initrd /x' 'linux ('; do
		printf '%s' "$text" >root/boot/grub/grub.cfg
		disk
		run --separate-stderr line
		[ "$status" = 4 ] || fail "$text: $status $stderr"
	done
	head -c 1000000 /dev/urandom >disk.raw
	refused 4 line -f raw
	refused 2 vmrun --direct --firmware x disk.raw
	refused 2 vmrun --direct -k x -d disk.raw
	refused 2 vmrun --direct disk.raw -- true
}
