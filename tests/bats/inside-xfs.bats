#!/usr/bin/env bats
# vmimg inspect, ls, cat, get on XFS and on logical volumes of LVM2, against the kernel's own XFS and a volume group made by lvm.
load common
# bats file_tags=slow

setup() {
	common_setup
	require mkfs.xfs mke2fs zstd
}

teardown() {
	chmod -R u+w . 2>/dev/null || true
	[ ! -d mnt ] || umount mnt 2>/dev/null || true
}

# fill DIR - folders of each shape XFS has, files in one piece, in many, and with holes, links short and long
fill() {
	local i
	mkdir -p "$1"/{short,block,leaf,node,etc,empty}
	for i in 1 2 3; do echo $i >"$1/short/f$i"; done
	(cd "$1/block" && seq -f 'name-%.0f' 60 | xargs touch)
	(cd "$1/leaf" && seq -f 'a rather long name of a file, number %.0f' 200 | tr '\n' '\0' | xargs -0 touch)
	(cd "$1/node" && seq -f 'a rather long name of a file, number %.0f' 1500 | tr '\n' '\0' | xargs -0 touch)
	random_bytes 3 3000001 >"$1/big"
	truncate -s 5G "$1/sparse"
	echo x | dd of="$1/sparse" bs=1 seek=4G conv=notrunc status=none
	fallocate -l 1M "$1/unwritten"
	echo y | dd of="$1/unwritten" bs=1 seek=500000 conv=notrunc status=none
	# so many pieces that they need a tree
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for i in range(700):
    os.pwrite(fd, b"%4096d" % i, i * 8192)' "$1/pieces"
	ln -s short/f1 "$1/link"
	ln -s "$(printf 'x/%.0s' {1..400})" "$1/long-link"
	ln "$1/short/f1" "$1/hard"
	mknod "$1/null" c 1 3
	chmod 640 "$1/big"
	chown 1000:2000 "$1/big"
	touch -d 2001-02-03T04:05:06.789Z "$1/big"
	touch -d 2100-02-03T04:05:06Z "$1/etc"
	printf 'ID=rocky\nVERSION_ID=9\nPRETTY_NAME="Rocky Linux 9"\n' >"$1/etc/os-release"
	echo host1 >"$1/etc/hostname"
}

@test "XFS: every shape of folder, file and link, as the kernel sees it" {
	require_root
	local how
	for how in "-m bigtime=1 -b size=4096" "-m bigtime=0 -b size=1024 -n size=8192 -i size=512"; do
		rm -rf x.raw want got* && mkdir -p mnt
		truncate -s 320M x.raw
		# shellcheck disable=SC2086 # options
		mkfs.xfs -q -f $how -L data x.raw 2>/dev/null
		mount -o loop x.raw mnt || skip "cannot mount XFS here"
		fill mnt
		(cd mnt && find . -mindepth 1 -printf '%P\0' | LC_ALL=C sort -z) >want.names
		(cd mnt && find . -mindepth 1 ! -name sparse -printf '%M %n %U %G %TY-%Tm-%TdT%TH:%TM:%.2TSZ %P\n' | LC_ALL=C sort) >want.long
		mkdir want && cp -a --sparse=always mnt/. want/
		umount mnt
		vmimg ls -R -0 x.raw / | LC_ALL=C sort -z | cmp - want.names
		TZ=UTC vmimg ls -R -l x.raw / | grep -v ' sparse$' |
			sed -E 's/^(\S+) +(\S+) +(\S+) +(\S+) +\S+ (\S+) (.*)$/\1 \2 \3 \4 \5 \6/; s/ -> .*//' | LC_ALL=C sort >got.long
		diff want.long got.long
		vmimg get x.raw / got || [ $? = 3 ]
		rm -f want/null
		diff -r --no-dereference --exclude=sparse want got
		cmp <(head -c 1M want/sparse) <(head -c 1M got/sparse)
		[ "$(tail -c +4294967297 got/sparse | head -c 1)" = x ]
		[ "$(stat -c %s got/sparse)" = 5368709120 ]
		[ "$(allocated got/sparse)" -lt 1000000 ]
		[ "$(stat -c '%a %Y' got/big)" = "640 $(stat -c %Y want/big)" ]
		[ "$(vmimg cat x.raw /link)" = 1 ]
		cmp <(vmimg cat x.raw /pieces) want/pieces
	done
	# inspect and the whole disk's name
	run_split vmimg inspect --json x.raw
	assert_schema vmimg-inspect
	[ "$(json '.systems[0] | [.id, .version, .hostname] | join(" ")')" = "rocky 9 host1" ]
	[ "$(json '.partitions[0].filesystem | .type + " " + .label')" = "xfs data" ]
	refused 9 vmimg put x.raw want.names /etc/
}

@test "XFS version 4, made from a list by mkfs.xfs" {
	random_bytes 3 300001 >big
	printf 'hello\n' >small
	local ftype
	for ftype in 0 1; do
		{
			printf 'boot\n0 0\nd--755 0 0\nbig ---640 7 8 big\nlink l--777 0 0 short/f1\nlong l--777 0 0 %s\n' "$(printf 'x/%.0s' {1..400})"
			printf 'short d--755 0 0\nf1 ---644 0 0 small\n$\n'
			printf 'node d--755 0 0\n'
			seq -f 'a-rather-long-name-of-a-file-number-%.0f ---644 0 0 small' 300
			printf '$\n$\n'
		} >proto
		rm -rf x.raw got
		truncate -s 320M x.raw
		mkfs.xfs -q -f -m crc=0 -n ftype=$ftype -b size=1024 -p proto x.raw
		vmimg get x.raw / got
		cmp big got/big
		[ "$(readlink got/link)" = short/f1 ]
		[ "$(readlink got/long)" = "$(printf 'x/%.0s' {1..400})" ]
		[ "$(find got/node -type f | wc -l)" = 300 ]
		[ "$(cat got/node/* | sort -u)" = hello ]
		[[ $(vmimg ls -l x.raw /big) == "-rw-r-----   1     7     8       300001 "* ]]
	done
}

@test "LVM: volumes by name, segments apart, fstab's two ways to name them, and what is damaged" {
	local vg=$ROOT/tests/data/lvm-pv.raw.zst # made by lvm: root of 8 MiB and 2 MiB elsewhere, home of 4 MiB
	zstd -q -d "$vg" -o pv.raw
	mkdir -p r/{etc,home} h
	printf 'ID=debian\n' >r/etc/os-release
	printf '/dev/mapper/my--vg-root / ext4 ro 0 1\n/dev/my-vg/home /home ext4 ro 0 2\n' >r/etc/fstab
	random_bytes 5 8500000 >r/big
	echo mine >h/file
	mke2fs -q -t ext4 -O ^has_journal -F -d r root.fs 10M
	mke2fs -q -t ext4 -F -b 1024 -d h home.fs 4M
	dd if=root.fs of=pv.raw bs=1M seek=1 count=8 conv=notrunc status=none
	dd if=root.fs of=pv.raw bs=1M skip=8 seek=13 conv=notrunc status=none
	dd if=home.fs of=pv.raw bs=1M seek=9 conv=notrunc status=none
	truncate -s 32M d.raw
	echo 'start=2048, type=8e' | sfdisk -q d.raw
	dd if=pv.raw of=d.raw bs=1M seek=1 conv=notrunc status=none
	run_split vmimg inspect --json d.raw
	assert_status 0
	assert_schema vmimg-inspect
	[ "$(json '[.partitions[] | .name // "-"] | sort | join(" ")')" = "- my-vg/home my-vg/root" ]
	[ "$(json '[.partitions[].filesystem.type] | sort | join(" ")')" = "LVM2_member ext4 ext4" ]
	[ "$(json '.systems[0].volume')" = my-vg/root ]
	[ "$(json '[.systems[0].mounts[] | .directory + "=" + .volume] | join(" ")')" = "/=my-vg/root /home=my-vg/home" ]
	vmimg cat d.raw /big | cmp - r/big
	[ "$(vmimg cat d.raw /home/file)" = mine ]
	[ "$(vmimg cat d.raw my-vg/home:/file)" = mine ]
	run vmimg inspect d.raw
	[[ $output == *"my-vg/root"* ]]
	vmimg put d.raw r/etc/fstab my-vg/home:/
	dd if=d.raw of=home.fs bs=1M skip=10 count=4 status=none
	e2fsck -fn home.fs || fail "put on a logical volume"
	debugfs -R "cat /fstab" home.fs 2>/dev/null | cmp - r/etc/fstab
	# damaged metadata: the rest of the disk is still shown
	cp d.raw bad.raw
	LC_ALL=C sed -i 's/extent_size/extent_sizf/' bad.raw
	run_split vmimg inspect --json bad.raw
	assert_status 0
	[ "$(json '.partitions | length')" = 1 ]
	[[ $stderr == *damaged* ]]
	LC_ALL=C sed -i 's/"striped"/"xtriped"/' d.raw
	run_split vmimg inspect --json d.raw
	assert_status 0
	[ "$(json '.partitions | length')" = 1 ]
	[[ $stderr == *"not linear"* ]]
}
