#!/usr/bin/env bats
# What is not read here: btrfs and NTFS by libguestfs's appliance. A launch takes half a minute without KVM: few tests, one
# launch each.
# bats file_tags=slow,release
load common

setup() {
	common_setup
	require mkfs.btrfs btrfs mkntfs ntfscp sfdisk jq
	BATS_TEST_TIMEOUT=400
}

library() { ldconfig -p | grep -q 'libguestfs\.so\.0'; }

# a_disk - d.vmdk: a btrfs with a system in the subvolume that Fedora has, an NTFS, both in partitions
a_disk() {
	require_root
	mkdir -p tree/root/etc tree/root/dir/sub tree/root/boot tree/root/bin
	printf 'ID=fedora\nPRETTY_NAME="Fedora Linux 40"\nVERSION_ID=40\n' >tree/root/etc/os-release
	echo host1 >tree/root/etc/hostname
	echo 'UUID=5ca1ab1e-0000-4000-8000-000000000003 / btrfs subvol=root 0 0' >tree/root/etc/fstab
	: >tree/root/boot/vmlinuz-6.9
	seq 1 300000 >tree/root/dir/numbers
	random_bytes 4 3000000 >tree/root/dir/sub/odd
	truncate -s 5000000 tree/root/dir/hole
	ln -s ../dir/numbers tree/root/etc/link
	ln tree/root/dir/numbers tree/root/dir/again
	chmod 711 tree/root/dir/numbers
	touch -d '2001-02-03 04:05:06.789' tree/root/dir/sub/odd
	truncate -s 120M b.raw
	mkfs.btrfs -q -U 5ca1ab1e-0000-4000-8000-000000000003 b.raw >/dev/null 2>&1
	mkdir m
	mount -o loop b.raw m || skip "this kernel has no btrfs"
	btrfs subvolume create m/root >/dev/null
	cp -a tree/root/. m/root/
	umount m
	truncate -s 40M n.raw
	mkntfs -q -F -L DATA n.raw >/dev/null 2>&1
	printf 'from windows\r\n' >file
	ntfscp -f n.raw file 'Mixed Case.txt' 2>/dev/null
	truncate -s 400M d.raw
	sfdisk -q d.raw <<<'label: gpt
size=300M, name=system
size=40M, name=data'
	dd if=b.raw of=d.raw bs=1M seek=1 conv=notrunc status=none
	dd if=n.raw of=d.raw bs=1M seek=301 conv=notrunc status=none
	vmimg convert d.raw d.vmdk
	rm d.raw
}

@test "without libguestfs, and told not to start it: the kinds are named, and what would read them" {
	truncate -s 40M n.raw
	mkntfs -q -F n.raw >/dev/null 2>&1
	refused 9 vmimg ls --no-appliance n.raw
	[[ $stderr == *"ntfs is not read here"* ]]
	run -0 vmimg inspect --no-appliance --json n.raw
	assert_schema vmimg-inspect
	[ "$(json '.partitions[0].filesystem.type')" = ntfs ]
	# Nothing but these verbs loads the library, and they only when it is needed.
	LD_DEBUG=files vmimg info n.raw 2>loaded >/dev/null
	run grep guestfs loaded
	assert_failure
	ext4_image e.raw 8M
	LD_DEBUG=files vmimg ls e.raw / 2>loaded >/dev/null
	run grep guestfs loaded
	assert_failure
	# A library that is none stands for one that is not there.
	mkdir lib && echo none >lib/libguestfs.so.0
	LD_LIBRARY_PATH=$PWD/lib refused 9 vmimg ls n.raw /
	[[ $stderr == *"ntfs: is read by libguestfs alone"*"hint: install libguestfs"* ]]
	assert_clean
}

@test "btrfs: the system in its subvolume, its files as they were; NTFS beside it: one launch" {
	library || skip "libguestfs is not here"
	a_disk
	mkdir out
	run_split vmimg get d.vmdk /dir /etc '2:/mixed case.TXT' out
	assert_status 0
	diff -r --no-dereference tree/root/dir out/dir
	diff -r --no-dereference tree/root/etc out/etc
	cmp file 'out/mixed case.TXT'
	[ "$(stat -c '%a %y' out/dir/sub/odd)" = "$(stat -c '%a %y' tree/root/dir/sub/odd)" ]
	[ "$(stat -c %a out/dir/numbers)" = 711 ]
	[ "$(stat -c %h out/dir/numbers)" = 2 ]
	[ "$(readlink out/etc/link)" = ../dir/numbers ]
	run find /tmp -maxdepth 1 -name 'vmimg-??????' -newer file
	assert_output ""
}

@test "inspect finds what the superblocks do not say: the system on btrfs" {
	library || skip "libguestfs is not here"
	a_disk
	run_split vmimg inspect --json d.vmdk
	assert_status 0
	assert_schema vmimg-inspect
	[ "$(json '.systems | length')" = 1 ]
	[ "$(json '.systems[0] | [.partition, .id, .version, .hostname, .kernels[0]] | join(" ")')" = "1 fedora 40 host1 6.9" ]
	[ "$(json '[.partitions[].filesystem.type] | join(" ")')" = "btrfs ntfs" ]
}
