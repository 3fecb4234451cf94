#!/usr/bin/env bats
# vmimg put: files into ext3 and ext4, against e2fsck and debugfs; killed at every call, the file is whole or as it was.
load common

setup() {
	common_setup
	require mke2fs e2fsck debugfs qemu-img
}

# fsck_clean FILE - nothing to mend, nothing to replay
fsck_clean() { e2fsck -fn "$1" >.fsck 2>&1 || fail "$1: $(cat .fsck)"; }

# inside FILE PATH - a file's bytes by debugfs
inside() { debugfs -R "cat $2" "$1" 2>/dev/null; }

make_tree() {
	mkdir -p t/etc t/many
	(cd t/many && seq -f 'name%.0f' 300 | xargs touch)
	echo old >t/etc/hostname
	ln t/etc/hostname t/etc/second
	echo new >n
	random_bytes 8 3000001 >big
	truncate -s 20M sparse
	echo here | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
	: >empty
	chmod 4750 big
	touch -d 2001-02-03T04:05:06Z big
}

@test "new files and replaced ones, on every kind of ext with a journal; e2fsck finds nothing to mend" {
	make_tree
	local how
	for how in "-t ext4" "-t ext3 -b 1024" "-t ext4 -O ^metadata_csum,^64bit -b 2048" "-t ext4 -O bigalloc -C 16384" "-t ext4 -O inline_data -I 256" \
		"-t ext4 -O fast_commit" "-t ext4 -I 128 -b 1024"; do
		rm -f a.raw
		# shellcheck disable=SC2086 # options
		mke2fs -q -F $how -d t a.raw 48M
		e2fsck -fyD a.raw >/dev/null 2>&1 || true # indexed folders
		vmimg put a.raw n big sparse empty /many
		fsck_clean a.raw
		vmimg put --force --mode 0640 --owner 1000:70000 a.raw n /etc/hostname
		vmimg put a.raw - 0:/etc/from-pipe <big
		fsck_clean a.raw
		for f in n big sparse empty; do
			inside a.raw /many/$f | cmp - $f || fail "$how: $f"
		done
		inside a.raw /etc/from-pipe | cmp - big
		[ "$(inside a.raw /etc/hostname)" = new ]
		[ "$(inside a.raw /etc/second)" = old ]
		[[ $(debugfs -R "stat /etc/hostname" a.raw 2>/dev/null) == *"Mode:  0640"*"User:  1000   Group: 70000"* ]]
		[[ $(debugfs -R "stat /etc/second" a.raw 2>/dev/null) == *"Links: 1 "* ]]
		run debugfs -R "stat /many/big" a.raw
		[[ $output == *"Mode:  0750"* && $output == *"mtime: "*" 2001"* ]]
		[ "$(debugfs -R "stat /many/sparse" a.raw 2>/dev/null | sed -n 's/.*Blockcount: *//p')" -lt 200 ]
	done
}

@test "partitions, formats, a folder by its mount; what is in the way, full, dirty or locked" {
	make_tree
	printf 'ID=x\n' >t/etc/os-release
	printf 'LABEL=root / ext4 ro 0 1\nLABEL=srv /srv ext4 ro 0 1\n' >t/etc/fstab
	mkdir t/srv
	mke2fs -q -t ext4 -F -L root -d t root.fs 32M
	mke2fs -q -t ext4 -F -L srv srv.fs 16M
	truncate -s 64M d.raw
	printf 'size=32M\nsize=16M\n' | sfdisk -q d.raw
	dd if=root.fs of=d.raw bs=1M seek=1 conv=notrunc status=none
	dd if=srv.fs of=d.raw bs=1M seek=33 conv=notrunc status=none
	local f
	for f in qcow2 vmdk vhdx; do
		vmimg convert d.raw d.$f
		vmimg put d.$f big /srv/ 2>.err || fail "$f: $(cat .err)"
		vmimg put --force d.$f n /etc/hostname
		qemu-img convert -O raw d.$f back.raw
		dd if=back.raw of=r.fs bs=1M skip=1 count=32 status=none
		dd if=back.raw of=s.fs bs=1M skip=33 count=16 status=none
		fsck_clean r.fs
		fsck_clean s.fs
		inside s.fs /big | cmp - big
		[ "$(inside r.fs /etc/hostname)" = new ]
		[ $f = vmdk ] || qemu-img check -q d.$f
	done
	cp d.raw before.raw
	refused 5 vmimg put d.raw n /etc/hostname
	cp n many
	refused 5 vmimg put --force d.raw many /
	refused 4 vmimg put d.raw n big /nothing
	refused 4 vmimg put d.raw n /no/such
	refused 4 vmimg put d.raw missing /etc/
	refused 2 vmimg put d.raw - /etc/
	refused 2 vmimg put --mode 8 d.raw n /etc/
	refused 2 vmimg put --owner root d.raw n /etc/
	random_bytes 1 30000000 >huge
	refused 13 vmimg put d.raw huge /srv/
	# 30000000 bytes in blocks of 1 KiB; free as dumpe2fs has it
	[[ $stderr == *"needs 30000128 bytes"*"$(dumpe2fs -h srv.fs 2>/dev/null | awk '/^Free blocks:/ { n = $3 } /^Block size:/ { b = $3 } END { print n * b }') bytes are free"* ]] ||
		fail "$stderr"
	run vmimg put --dry-run d.raw big /srv/
	assert_status 0
	# none of it has written a byte
	assert_same_bytes d.raw before.raw
	mke2fs -q -t ext2 -F e2.fs 4M
	refused 9 vmimg put e2.fs n /
	[[ $stderr == *"no journal"* ]]
	cp root.fs dirty.fs
	debugfs -w -R "feature needs_recovery" dirty.fs >/dev/null 2>&1
	refused 9 vmimg put dirty.fs n /
	[[ $stderr == *"not unmounted cleanly"* ]]
	truncate -s 4M fat.fs && mkfs.fat fat.fs >/dev/null
	refused 9 vmimg put fat.fs n /
}

@test "folders that are encrypted, fold case, or may not change; files that may not be replaced" {
	make_tree
	mke2fs -q -t ext4 -F -O encrypt,casefold -d t a.raw 32M
	local flag
	# EXT4_ENCRYPT_FL, EXT4_CASEFOLD_FL, EXT2_IMMUTABLE_FL, EXT2_APPEND_FL; with extents
	for flag in 0x80800 0x40080000 0x80010 0x80020; do
		cp a.raw b.raw
		debugfs -w -R "set_inode_field /many flags $flag" b.raw 2>/dev/null
		cp b.raw before.raw
		refused 9 vmimg put b.raw n /many/
		[[ $stderr == *"the folder is "* ]]
		refused 9 vmimg put --dry-run b.raw n /many/NAME1
		refused 9 vmimg put --force b.raw n /many/name1
		assert_same_bytes b.raw before.raw
		vmimg put b.raw n /etc/ # next to it
	done
	for flag in 0x80010 0x80020; do
		cp a.raw b.raw
		debugfs -w -R "set_inode_field /etc/hostname flags $flag" b.raw 2>/dev/null
		refused 9 vmimg put --force b.raw n /etc/hostname
		[ "$(inside b.raw /etc/hostname)" = old ]
	done
}

@test "what libext2fs finds is told in words" {
	make_tree
	mke2fs -q -t ext4 -F -O ^metadata_csum -d t a.raw 16M
	debugfs -w -R "set_inode_field /etc flags 0" a.raw 2>/dev/null # extents, read as block numbers
	refused 8 vmimg ls a.raw /etc
	[[ $stderr == *"of the ext file system: "[A-Z]* && $stderr != *"Unknown code"* ]] || fail "$stderr"
}

# replay FILE N - as the machine would at its next start: every other time the kernel, else e2fsck
replay() {
	if [ $(($2 % 2)) = 0 ] && [ "$(id -u)" = 0 ] && mkdir -p mnt && mount -o loop "$1" mnt 2>/dev/null; then
		umount mnt
	else
		e2fsck -p "$1" >.replay 2>&1 || [ $? = 1 ] || fail "call $2: $(cat .replay)"
	fi
}

# bats test_tags=release
@test "killed at every call: the file is whole or as it was, and the journal mends the rest" {
	make_tree
	mke2fs -q -t ext4 -F -b 4096 -d t base.raw 16M
	cp base.raw a.raw
	LD_PRELOAD=$VMKIT_TOOLS/inject.so INJECT_COUNT=count vmimg put --force a.raw big /etc/hostname
	fsck_clean a.raw
	local n total old=0 new=0
	total=$(cat count)
	[ "$total" -gt 10 ]
	for ((n = 1; n <= total; n++)); do
		cp base.raw a.raw
		LD_PRELOAD=$VMKIT_TOOLS/inject.so INJECT_AT=$n INJECT_HOW=kill run vmimg put --force a.raw big /etc/hostname
		assert_status 137
		replay a.raw $n
		fsck_clean a.raw
		inside a.raw /etc/hostname >got
		if cmp -s got t/etc/hostname; then old=$((old + 1)); else
			cmp got big || fail "call $n of $total: neither old nor new"
			new=$((new + 1))
		fi
	done
	# both happen: the transaction counts from one call on
	[ $old -gt 5 ] && [ $new -gt 5 ] || fail "$old old, $new new"
	# a fault that is no kill: said, and nothing is lost
	rm base.raw
	mke2fs -q -t ext4 -F -b 1024 -d t base.raw 12M
	for ((n = 1; n <= total; n += 3)); do
		cp base.raw a.raw
		LD_PRELOAD=$VMKIT_TOOLS/inject.so INJECT_AT=$n INJECT_HOW=eio run vmimg put --force a.raw big /etc/hostname
		[ "$status" != 0 ] || continue
		replay a.raw $n
		fsck_clean a.raw
	done
}
