#!/usr/bin/env bats
# vmimg resize: sizes, the guard for partitions, the GPT's backup; against sfdisk, sgdisk and qemu-img.
load common

setup() {
	common_setup
	require sfdisk sgdisk qemu-img
}

# gpt_disk FILE SIZE PARTITION... - as sgdisk's -n arguments
gpt_disk() {
	local file=$1 n args=()
	truncate -s "$2" "$file"
	shift 2
	for n; do args+=(-n "$n"); done
	sgdisk -o -U 5ca1ab1e-0000-4000-8000-000000000001 "${args[@]}" "$file" >.sgdisk 2>&1 || fail "$(cat .sgdisk)"
}

assert_gpt() { # RAW-FILE
	sgdisk -v "$1" >.sgdisk 2>&1 || fail "$(cat .sgdisk)"
	grep -q '^No problems found' .sgdisk || fail "$(cat .sgdisk)"
	sfdisk --verify "$1" >.sfdisk 2>&1 || fail "$(cat .sfdisk)"
	! grep -qiE 'mismatch|corrupt|not on the end' .sfdisk || fail "$(cat .sfdisk)"
}

@test "a GPT disk grows and shrinks; sgdisk and sfdisk find no fault" {
	gpt_disk a.raw 64M 1:2048:+10M 5:40000:+5M
	sgdisk -p a.raw | grep -A9 '^Number' >before
	vmimg resize a.raw +16M
	[ "$(stat -c %s a.raw)" = 83886080 ]
	assert_gpt a.raw
	vmimg resize --shrink a.raw 40M
	assert_gpt a.raw
	# as small as it gets: to the sector, and not one less
	run vmimg resize --shrink --dry-run a.raw 1M
	assert_status 2
	local least
	least=$(sed -nE 's/.*smallest possible size is ([0-9]+).*/\1/p' <<<"$output")
	refused 2 vmimg resize --shrink a.raw $((least - 1))
	assert_gpt a.raw
	vmimg resize --shrink a.raw "$least"
	[ "$(stat -c %s a.raw)" = "$least" ]
	assert_gpt a.raw
	sgdisk -p a.raw | grep -A9 '^Number' >after
	assert_same_bytes before after
	# a few sectors at a time: old and new backup overlap
	local i
	for i in 512 5k 16k 17k; do
		vmimg resize a.raw +$i
		assert_gpt a.raw
	done
	sgdisk -p a.raw | grep -A9 '^Number' >after
	assert_same_bytes before after
	run vmimg resize --shrink a.raw -512
	assert_gpt a.raw
}

@test "qcow2, with JSON and a chain" {
	gpt_disk base.raw 32M 1:2048:+10M
	random_bytes 3 100000 | dd of=base.raw bs=1M seek=2 conv=notrunc status=none
	vmimg create -b base.raw -F raw a.qcow2
	run vmimg resize --json a.qcow2 1G
	assert_status 0
	assert_schema vmimg-resize
	[ "$(json .old_size)/$(json .new_size)/$(json .partition_table)/$(json .partitions_end)/$(json .table_moved)" = \
		33554432/1073741824/gpt/11534336/true ]
	assert_qemu_clean a.qcow2
	qemu-img convert -O raw a.qcow2 b.raw
	assert_gpt b.raw
	cmp <(tail -c +2097153 base.raw | head -c 9000000) <(tail -c +2097153 b.raw | head -c 9000000)
	vmimg resize --shrink a.qcow2 16M
	assert_qemu_clean a.qcow2
	qemu-img convert -O raw a.qcow2 b.raw
	[ "$(stat -c %s b.raw)" = 16777216 ]
	assert_gpt b.raw
	run vmimg resize --json --dry-run a.qcow2 +1M
	assert_schema vmimg-resize
	[ "$(json .dry_run)/$(json .new_size)" = true/17825792 ]
	run vmimg info --json a.qcow2
	[ "$(json .virtual_size)" = 16777216 ]
}

@test "+0 moves the GPT of a disk that something else made larger" {
	gpt_disk a.raw 20M 1:2048:+10M
	truncate -s 30M a.raw
	run sgdisk -v a.raw
	refute_output --partial "No problems"
	vmimg resize a.raw +0
	assert_gpt a.raw
	cp a.raw b.raw
	vmimg resize a.raw +0
	assert_same_bytes a.raw b.raw
}

@test "a damaged primary or backup GPT is made anew from the other one" {
	gpt_disk a.raw 20M 1:2048:+10M
	cp a.raw b.raw
	dd if=/dev/zero of=a.raw bs=512 seek=1 count=8 conv=notrunc status=none
	vmimg resize a.raw 25M
	assert_gpt a.raw
	sgdisk -p a.raw | grep '^ *1 *2048 *22527'
	truncate -s 18M b.raw
	vmimg resize b.raw 25M
	assert_gpt b.raw
	dd if=/dev/zero of=b.raw bs=512 seek=1 count=1 conv=notrunc status=none
	dd if=/dev/zero of=b.raw bs=512 seek=$((25 * 2048 - 1)) count=1 conv=notrunc status=none
	refused 8 vmimg resize b.raw 30M
	vmimg resize --force --keep-table b.raw 30M
	[ "$(stat -c %s b.raw)" = 31457280 ]
}

@test "4096-byte sectors and entries of other sizes" {
	python3 - a.raw <<-'END'
		import struct, sys, zlib
		ss, sectors, n, each = 4096, 5120, 8, 256
		part = bytes(range(1, 17)) + bytes(16) + struct.pack('<QQ', 100, 1000) + bytes(each - 48)
		entries = part + bytes((n - 1) * each)
		def header(my, other, at):
		    h = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, my, other, 6, sectors - 3,
		                    bytes(16), at, n, each, zlib.crc32(entries))
		    return h[:16] + struct.pack('<I', zlib.crc32(h)) + h[20:]
		mbr = bytes(446) + struct.pack('<B3sB3sII', 0, b'', 0xee, b'', 1, sectors - 1) + bytes(48) + b'\x55\xaa'
		with open(sys.argv[1], 'wb') as f:
		    f.truncate(ss * sectors)
		    for at, data in ((0, mbr), (1, header(1, sectors - 1, 2)), (2, entries), (sectors - 2, entries),
		                     (sectors - 1, header(sectors - 1, 1, sectors - 2))):
		        f.seek(at * ss); f.write(data)
	END
	run vmimg resize --json a.raw 40M
	[ "$(json .partition_table)/$(json .partitions_end)/$(json .table_moved)" = gpt/4100096/true ]
	python3 - a.raw <<-'END'
		import struct, sys, zlib
		d, ss = open(sys.argv[1], 'rb').read(), 4096
		sectors = len(d) // ss
		for my, other in ((1, sectors - 1), (sectors - 1, 1)):
		    h = d[my * ss:my * ss + 92]
		    assert zlib.crc32(h[:16] + bytes(4) + h[20:]) == struct.unpack_from('<I', h, 16)[0]
		    assert struct.unpack_from('<QQQQ', h, 24) == (my, other, 6, sectors - 3)
		    at, n, each, crc = struct.unpack_from('<QIII', h, 72)
		    assert zlib.crc32(d[at * ss:at * ss + n * each]) == crc
		assert struct.unpack_from('<I', d, 458)[0] == sectors - 1
	END
	refused 2 vmimg resize --shrink a.raw 4100096
	vmimg resize --shrink a.raw $((4100096 + 8192))
}

@test "MBR with logical partitions guards the end" {
	truncate -s 64M a.raw
	printf '%s\n' 2048,2048,83 ,2048,83 ,2048,83 ,40960,5 ,10240,83 ,8192,82 | sfdisk -q a.raw
	local end
	end=$(sfdisk -J a.raw | jq '[.partitiontable.partitions[] | .start + .size] | max * 512')
	refused 2 vmimg resize --shrink a.raw $((end - 512))
	[[ $stderr == *"partition 4 ends"*"smallest possible size is $end"* ]]
	vmimg resize --shrink a.raw "$end"
	sfdisk --verify -q a.raw
	vmimg resize a.raw 64M
	vmimg resize --shrink --force a.raw 1M
	[ "$(stat -c %s a.raw)" = 1048576 ]
	# a chain that goes in circles
	truncate -s 4M b.raw
	printf '%s\n' 2048,4096,5 | sfdisk -q b.raw
	patch_bytes b.raw $((2048 * 512 + 510)) 55aa
	patch_bytes b.raw $((2048 * 512 + 446 + 16)) 00000000050000000000000000040000
	refused 8 vmimg resize b.raw 8M
	[[ $stderr == *"chain of logical partitions"* ]]
}

@test "a disk without partitions loses no data unless forced" {
	truncate -s 10M a.raw
	printf x | dd of=a.raw bs=1 seek=5000000 conv=notrunc status=none
	refused 2 vmimg resize a.raw 6M
	[[ $stderr == *--shrink* ]]
	vmimg resize --shrink a.raw 6M
	refused 2 vmimg resize --shrink a.raw 5000000
	[[ $stderr == *"offset 5000000"* ]]
	vmimg resize --shrink a.raw 5000001
	vmimg resize --shrink --force a.raw -1
	[ "$(stat -c %s a.raw)" = 5000000 ]
	vmimg create a.qcow2 1M
	refused 2 vmimg resize a.qcow2 1000001
	refused 2 vmimg resize --shrink a.qcow2 -2M
	refused 2 vmimg resize a.qcow2 +9E
	refused 2 vmimg resize a.qcow2 -x
	refused 2 vmimg resize a.qcow2
	refused 4 vmimg resize nothing.raw 1M
}
