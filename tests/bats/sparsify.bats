#!/usr/bin/env bats
# vmimg sparsify: free maps of ext, FAT, NTFS and swap; in place and as a copy; dirty file systems refused.
load common

setup() {
	common_setup
	require sfdisk mke2fs e2fsck debugfs mkfs.fat fsck.fat mkntfs ntfsfix mkswap qemu-img
}

# fill FILE OFFSET LENGTH - random bytes, as a file system's deleted files leave them
fill() { random_bytes 77 "$3" | dd of="$1" bs=64k seek="$2" oflag=seek_bytes conv=notrunc status=none; }

# files DIR - some files to keep
files() {
	mkdir -p "$1/sub"
	random_bytes 5 700000 >"$1/big"
	echo hello >"$1/sub/small"
	random_bytes 6 100 >"$1/odd"
}

# ext_free FILE - free bytes as dumpe2fs counts them
ext_free() { dumpe2fs -h "$1" 2>/dev/null | awk '/^Free blocks:/ { f = $3 } /^Block size:/ { b = $3 } END { print f * b }'; }

@test "ext2, ext3, ext4, with all block sizes: what was deleted goes, what is there stays" {
	files keep
	local how
	for how in "-t ext2 -b 1024" "-t ext3 -b 2048" "-t ext4 -b 4096" "-t ext4 -O bigalloc -C 16384" "-t ext4 -O ^metadata_csum,^64bit -g 1024 -b 1024"; do
		rm -f a.raw
		fill a.raw 0 25165824
		# shellcheck disable=SC2086 # options
		mke2fs -q -F $how -E nodiscard,lazy_itable_init=0,root_owner=0:0 -d keep a.raw
		cp a.raw b.raw
		run vmimg sparsify --json a.raw
		assert_status 0
		assert_schema vmimg-sparsify
		[ "$(json '.partitions[0].filesystem')" = ext ]
		[ "$(json .free_bytes)" -le "$(ext_free b.raw)" ]
		# what is lost are pieces smaller than 4 KiB
		[ "$(json .free_bytes)" -ge $(($(ext_free b.raw) - 300000)) ]
		[ "$(json .actual_size_after)" -lt "$(json '.actual_size_before - 15000000')" ]
		e2fsck -fn a.raw >.fsck 2>&1 || fail "$how: $(cat .fsck)"
		debugfs -R "dump /big out" a.raw 2>/dev/null
		assert_same_bytes out keep/big
		vmimg sparsify b.raw c.qcow2
		e2fsck -fn a.raw >.fsck 2>&1
		qemu-img convert -O raw c.qcow2 d.raw
		e2fsck -fn d.raw >.fsck 2>&1 || fail "$how: $(cat .fsck)"
		assert_same_disk a.raw d.raw raw raw
		[ "$(stat -c %s c.qcow2)" -lt 12000000 ]
		rm -f c.qcow2
	done
}

@test "FAT12, FAT16, FAT32: free clusters are zero, used ones as before" {
	local how size free
	for how in "12 2M" "16 12M" "32 40M"; do
		size=$(numfmt --from=iec "${how#* }")
		rm -f a.raw
		fill a.raw 0 "$size"
		mkfs.fat -F "${how% *}" -s 1 -i 12345678 a.raw >/dev/null 2>&1
		cp a.raw b.raw
		run vmimg sparsify --json a.raw
		assert_status 0
		[ "$(json '.partitions[0].filesystem')" = fat ]
		free=$(json .free_bytes)
		[ "$free" -gt $((size * 9 / 10)) ]
		fsck.fat -n a.raw >.fsck 2>&1 || fail "$(cat .fsck)"
		[ "$(allocated a.raw)" -le $((size - free + 65536)) ]
		cmp -n 8192 a.raw b.raw
	done
	# clusters in use: mark some in both tables of a FAT16 with clusters of 4 KiB
	rm a.raw
	fill a.raw 0 33554432
	mkfs.fat -F 16 -s 8 -r 512 -R 8 a.raw >/dev/null 2>&1
	vmimg sparsify --dry-run --json a.raw >before
	python3 - a.raw <<-'END'
		import struct, sys
		f = open(sys.argv[1], 'r+b')
		b = f.read(512)
		fat = struct.unpack_from('<H', b, 22)[0] * 512
		for n in (0, 1):
		    f.seek(8 * 512 + n * fat + 2 * 100); f.write(struct.pack('<3H', 101, 102, 0xffff))
		data = 8 * 512 + 2 * fat + 512 * 32
		f.seek(data + 98 * 4096); f.write(b'K' * 3 * 4096)
		print(data + 98 * 4096)
	END
	vmimg sparsify a.raw
	[ "$(tr -cd K <a.raw | wc -c)" -ge 12288 ]
	[ "$(jq .free_bytes before)" -gt 0 ]
	patch_bytes a.raw 37 01
	refused 9 vmimg sparsify a.raw
}

@test "NTFS: \$Bitmap, and a dirty volume is refused" {
	fill a.raw 0 16777216
	mkntfs -Q -F -q -c 4096 -p 0 -s 512 a.raw >/dev/null 2>&1
	cp a.raw b.raw
	run vmimg sparsify --json a.raw
	assert_status 0
	[ "$(json '.partitions[0].filesystem')" = ntfs ]
	[ "$(json .free_bytes)" -gt 8000000 ]
	[ "$(json .free_bytes)" = "$(ntfsinfo -m b.raw | awk '/Free Clusters:/ { print $3 * 4096 }')" ]
	ntfsfix -n a.raw >.fsck 2>&1 || fail "$(cat .fsck)"
	assert_same_bytes <(ntfscat b.raw "\$UpCase") <(ntfscat a.raw "\$UpCase")
	vmimg sparsify b.raw c.raw
	assert_same_disk a.raw c.raw raw raw
	ntfsfix b.raw >.fsck 2>&1 # marks it, so that Windows checks it
	refused 9 vmimg sparsify b.raw
	[[ $stderr == *dirty* ]]
}

# xfs_free FILE - free blocks of the trees as xfs_db counts them, in bytes; without the few that each group keeps for itself
xfs_free() {
	xfs_db -f -c 'freesp -s' -c 'sb 0' -c 'p blocksize' -c 'p agcount' "$1" |
		awk '/^total free blocks/ { f = $4 } /^blocksize/ { b = $3 } END { print f * b }'
}

# xfs_same A B - the same files, as the kernel sees them
xfs_same() {
	mkdir -p m n
	mount -o loop,ro "$1" m && mount -o loop,ro,norecovery,nouuid "$2" n || fail "cannot mount"
	run diff -r m n
	umount m n
	assert_success
}

# bats test_tags=slow,release
@test "XFS: free extents of every group, trees of several levels, logs that have gone round" {
	require mkfs.xfs xfs_db xfs_repair
	local how i free
	for how in "-b size=1024 -l size=4m" "-d agcount=1 -l size=6m" "-l version=2,su=64k,size=15m -m rmapbt=1,reflink=1 -s size=4096"; do
		rm -f x.raw
		fill x.raw 0 67108864
		# shellcheck disable=SC2086 # options
		mkfs.xfs -q -K --unsupported -f $how x.raw 2>/dev/null
		if [ "$(id -u)" = 0 ]; then
			mkdir -p m
			for i in 1 2 3; do
				mount -o loop x.raw m || skip "cannot mount"
				mkdir m/d$i
				(cd m/d$i && seq -f e%g 1500 | xargs touch && random_bytes $i 4000000 | split -b 5000 -a 4 - f) || true
				sync -f m
				# What is in use while the file system is mounted is not known.
				[ $i != 2 ] || cp --sparse=always x.raw dirty.raw
				find m/d$i -name 'f*[acegikmoqsuwy]' -delete
				find m/d$i -name 'e*[13579]' -delete
				umount m
			done
			refused 9 vmimg sparsify dirty.raw
			[[ $stderr == *"was not unmounted"* ]]
		fi
		cp x.raw y.raw
		free=$(xfs_free x.raw)
		run vmimg sparsify --json y.raw
		assert_status 0
		assert_schema vmimg-sparsify
		[ "$(json '.partitions[0].filesystem')" = xfs ]
		# Pieces below 4 KiB, and what a group keeps aside, are not worth counting.
		[ "$(json .free_bytes)" -le "$free" ]
		[ "$(json .free_bytes)" -ge $((free - free / 4)) ]
		xfs_repair -n -o force_geometry -f y.raw >.repair 2>&1 || fail "$how: $(cat .repair)"
		[ "$(id -u)" != 0 ] || xfs_same x.raw y.raw
	done
}

@test "XFS: version 4, a log elsewhere, what contradicts itself" {
	require mkfs.xfs xfs_db
	truncate -s 32M x.raw
	mkfs.xfs -q --unsupported -f -m crc=0 x.raw 2>/dev/null
	run vmimg sparsify --json x.raw
	assert_status 0
	[ "$(json .free_bytes)" -gt 20000000 ]
	mkfs.xfs -q --unsupported -f x.raw 2>/dev/null
	vmimg sparsify x.raw
	local at
	# magic and length of a group, root and levels of its tree, its count; magic, count, neighbour of the root; sizes
	for at in 513 526 531 543 567 16384+1; do
		cp x.raw y.raw
		case $at in 16384+1) at=$(($(xfs_db -f -c 'agf 0' -c 'p bnoroot' x.raw | awk '{ print $3 }') * 4096 + 1)) ;; esac
		patch_bytes y.raw $at 77
		cp y.raw z.raw
		refused 8 vmimg sparsify y.raw
		assert_same_bytes y.raw z.raw
	done
	cp x.raw y.raw
	patch_bytes y.raw 48 0000000000000000
	refused 9 vmimg sparsify y.raw
	[[ $stderr == *"on another device"* ]]
	cp x.raw y.raw
	patch_bytes y.raw 126 01
	refused 9 vmimg sparsify y.raw
	cp x.raw y.raw
	patch_bytes y.raw 216 80000000
	refused 9 vmimg sparsify y.raw
}

@test "a partitioned disk: each by itself, chosen ones, swap, what is unknown stays" {
	truncate -s 48M a.raw
	printf '%s\n' 2048,16384,S ,16384,L ,16384,L ,16384,L | sfdisk -q -X gpt a.raw
	fill a.raw 1048576 33554432
	mkdir keep && echo x >keep/x
	truncate -s 8M ext.raw swap.raw
	fill ext.raw 0 8388608
	fill swap.raw 0 8388608
	mke2fs -q -F -t ext4 -E nodiscard -d keep ext.raw
	chmod 600 swap.raw
	mkswap -U 5ca1ab1e-0000-4000-8000-000000000001 swap.raw >/dev/null
	dd if=swap.raw of=a.raw bs=1M seek=1 conv=notrunc status=none
	dd if=ext.raw of=a.raw bs=1M seek=9 conv=notrunc status=none
	cp a.raw b.raw
	run vmimg sparsify --dry-run a.raw
	assert_line --regexp '^ +1 +8.00 MiB +swap +'
	assert_line --regexp '^ +2 +8.00 MiB +ext +'
	assert_line --regexp '^ +3 +8.00 MiB +unknown +0 B$'
	assert_same_bytes a.raw b.raw
	vmimg sparsify --partition 1 a.raw
	cmp -i 9437184 a.raw b.raw
	cmp -n 4096 -i 1048576 a.raw b.raw
	vmimg sparsify a.raw
	cmp -i $((17 * 1048576)) a.raw b.raw
	dd if=a.raw of=e.raw bs=1M skip=9 count=8 status=none
	e2fsck -fn e.raw >.fsck 2>&1 || fail "$(cat .fsck)"
	sfdisk --verify -q a.raw
	# qcow2 in place, with a backing file too
	vmimg convert -o cluster_size=4k b.raw b.qcow2
	vmimg create -b b.qcow2 over.qcow2
	vmimg sparsify over.qcow2
	assert_qemu_clean over.qcow2
	vmimg sparsify b.qcow2
	assert_qemu_clean b.qcow2
	assert_same_disk a.raw b.qcow2 raw qcow2
	refused 4 vmimg sparsify --partition 9 b.raw
	refused 2 vmimg sparsify --partition x b.raw
	refused 2 vmimg sparsify -O qcow2 b.raw
	# a machine that sleeps in its swap space
	printf 'S1SUSPEND\0' | dd of=b.raw bs=1 seek=$((1048576 + 4086)) conv=notrunc status=none
	refused 9 vmimg sparsify b.raw
	[[ $stderr == *"partition 1"*suspended* ]]
	vmimg sparsify --partition 2 b.raw
}

@test "ext file systems that were not unmounted, or that lie" {
	truncate -s 8M a.raw
	mke2fs -q -F -t ext4 a.raw
	cp a.raw clean.raw
	debugfs -w -R 'feature needs_recovery' a.raw >/dev/null 2>&1
	refused 9 vmimg sparsify a.raw
	[[ $stderr == *"not unmounted"*e2fsck* ]]
	cp clean.raw a.raw
	patch_bytes a.raw $((1024 + 58)) 0000
	refused 9 vmimg sparsify a.raw
	cp clean.raw a.raw
	patch_bytes a.raw $((1024 + 4)) ffffff7f
	refused 8 vmimg sparsify a.raw
	cp clean.raw a.raw
	patch_bytes a.raw $((1024 + 32)) 01000000
	run vmimg sparsify a.raw
	[ "$status" = 8 ] || [ "$status" = 9 ]
	# a first block far inside: libext2fs would write bitmaps behind the end of its memory
	mke2fs -q -F -t ext4 -O ^metadata_csum a.raw
	patch_bytes a.raw $((1024 + 20)) 401f0000
	refused 8 vmimg sparsify a.raw
	[[ $stderr == *"begins at its block 8000"* ]]
	# partitions over each other
	truncate -s 4M p.raw
	printf '%s\n' 2048,2048,83 | sfdisk -q p.raw
	dd if=p.raw of=p.raw bs=1 skip=446 seek=462 count=16 conv=notrunc status=none
	refused 8 vmimg sparsify p.raw
	# a format that cannot give back in place
	vmimg convert clean.raw a.vhd
	refused 9 vmimg sparsify a.vhd
	[[ $stderr == *TARGET* ]]
	vmimg sparsify -O raw a.vhd - >out.raw
	assert_same_disk clean.raw out.raw raw raw
	refused 5 vmimg sparsify clean.raw out.raw
	refused 2 vmimg sparsify --force clean.raw clean.raw
	assert_clean
}
