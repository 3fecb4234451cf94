#!/usr/bin/env bats
# vmimg convert: content, sparseness, determinism, targets, failures. qemu-img is the oracle.
load common

setup() {
	common_setup
	require qemu-img
}

@test "raw to qcow2 and back, odd sizes, both directions against qemu-img" {
	local size
	for size in 513 512 65536 65537 1049088 9999999; do
		random_image a.raw $size $size 8
		vmimg convert --force a.raw a.qcow2
		assert_qemu_clean a.qcow2
		assert_same_disk a.raw a.qcow2 raw qcow2
		vmimg convert --force -f qcow2 a.qcow2 b.raw
		assert_same_disk a.raw b.raw raw raw
		qemu-img convert -f raw -O qcow2 a.raw q.qcow2
		vmimg convert --force q.qcow2 c.raw
		assert_same_disk a.raw c.raw raw raw
		rm -f ./*.raw ./*.qcow2
	done
}

@test "disks smaller than a sector" {
	local size
	for size in 1 511; do
		random_bytes 1 $size >a.raw
		vmimg convert --force a.raw a.qcow2
		assert_qemu_clean a.qcow2
		assert_same_disk a.raw a.qcow2 raw qcow2
		vmimg convert --force a.raw b.raw
		assert_same_bytes a.raw b.raw
	done
}

@test "an empty disk of no bytes" {
	: >a.raw
	vmimg convert a.raw a.qcow2
	assert_qemu_clean a.qcow2
	vmimg convert a.qcow2 b.raw
	[ "$(stat -c %s b.raw)" = 0 ]
}

@test "compressed: zlib and zstd, with levels" {
	random_image a.raw 20000256 7 60
	local how
	for how in -c -czlib -czstd -czlib:1 -czlib:9 -czstd:1 -czstd:19 --compress=zstd; do
		vmimg convert --force $how a.raw a.qcow2
		assert_qemu_clean a.qcow2
		assert_same_disk a.raw a.qcow2 raw qcow2
		vmimg convert --force a.qcow2 b.raw
		assert_same_disk a.raw b.raw raw raw
	done
	refused 2 vmimg convert -clzma a.raw c.qcow2
	refused 2 vmimg convert -czstd:x a.raw c.qcow2
	qemu-img convert -c -O qcow2 a.raw q.qcow2
	vmimg convert --force q.qcow2 b.raw
	assert_same_disk a.raw b.raw raw raw
}

@test "what qemu-io wrote is read" {
	qemu-img create -q -f qcow2 a.qcow2 40M
	qemu_writes a.qcow2 qcow2 $((40 << 20)) 3 200
	vmimg convert a.qcow2 a.raw
	assert_same_disk a.qcow2 a.raw qcow2 raw
	vmimg convert -o cluster_size=4k,refcount_bits=8 a.raw b.qcow2
	assert_qemu_clean b.qcow2
	assert_same_disk a.qcow2 b.qcow2
}

@test "the same bytes at any number of threads" {
	random_image a.raw 33554432 11 120
	local n how
	for how in "" -czlib -czstd "-o cluster_size=512"; do
		for n in 1 2 8; do
			# shellcheck disable=SC2086
			vmimg convert $how --threads $n a.raw $n.qcow2
		done
		assert_same_bytes 1.qcow2 2.qcow2
		assert_same_bytes 1.qcow2 8.qcow2
		rm -f ./*.qcow2
	done
}

@test "holes are kept, written zeros become holes" {
	truncate -s 64M a.raw
	printf data | dd of=a.raw bs=1M seek=20 conv=notrunc status=none
	dd if=/dev/zero of=a.raw bs=1M seek=30 count=8 conv=notrunc status=none
	vmimg convert a.raw b.raw
	assert_same_bytes a.raw b.raw
	[ "$(allocated b.raw)" -le 65536 ]
	vmimg convert a.raw a.qcow2
	[ "$(stat -c %s a.qcow2)" -le $((6 * 65536)) ]
}

@test "3000 scattered blocks of a large disk" {
	truncate -s 16G a.raw
	python3 - <<-'END'
		import os
		fd = os.open("a.raw", os.O_RDWR)
		for i in range(3000):
		    os.pwrite(fd, bytes([i % 255 + 1]) * 4096, (i * 5003 % 4000000) * 4096)
	END
	vmimg convert a.raw a.qcow2
	vmimg convert a.qcow2 b.raw
	vmimg compare a.raw b.raw
	[ "$(allocated b.raw)" -le $((3000 * 4096 * 2)) ]
	assert_same_disk a.raw a.qcow2 raw qcow2
}

@test "an empty disk of a terabyte" {
	truncate -s 1T a.raw
	vmimg convert a.raw a.qcow2
	[ "$(stat -c %s a.qcow2)" -le 1048576 ]
	vmimg convert a.qcow2 b.raw
	[ "$(stat -c %s b.raw)" = 1099511627776 ]
	[ "$(allocated b.raw)" = 0 ]
}

@test "--digest is the digest of the disk as a raw file" {
	random_image a.raw 5000192 5
	run vmimg convert --digest sha256 a.raw a.qcow2
	assert_output "$(sha256 a.raw)  a.raw"
	run vmimg convert --digest sha256 a.qcow2 b.raw
	assert_output "$(sha256 a.raw)  a.qcow2"
	run_split vmimg convert --digest sha1 --threads 1 a.qcow2 -
	[ "$stderr" = "$(sha1sum <a.raw | cut -d' ' -f1)  a.qcow2" ]
	refused 2 vmimg convert --digest crc32 a.raw c.qcow2
	assert_file_not_exist c.qcow2
}

@test "--json holds against its schema" {
	random_image a.raw 5000192 5
	run vmimg convert --json --digest sha256 --verify a.raw a.qcow2
	assert_schema vmimg-convert
	[ "$(json .virtual_size)" = 5000192 ]
	[ "$(json .digest.value)" = "$(sha256 a.raw)" ]
	[ "$(json .file_size)" = "$(stat -c %s a.qcow2)" ]
	[ "$(json .verified)" = true ]
	run vmimg convert --json --dry-run a.raw b.qcow2
	assert_schema vmimg-convert
	assert_file_not_exist b.qcow2
	run vmimg convert --json a.raw -
	assert_status 2
}

@test "--dry-run writes nothing and refuses what would be refused" {
	random_image a.raw 1000000 5
	run vmimg convert --dry-run a.raw b.qcow2
	assert_success
	assert_output --partial "would write b.qcow2: qcow2"
	assert_file_not_exist b.qcow2
	cp a.raw b.qcow2
	refused 5 vmimg convert --dry-run a.raw b.qcow2
	vmimg convert --dry-run --force a.raw b.qcow2
	assert_same_bytes a.raw b.qcow2
	assert_clean
}

@test "an existing target stays without --force" {
	random_image a.raw 1000000 5
	echo mine >b.qcow2
	refused 5 vmimg convert a.raw b.qcow2
	[ "$(cat b.qcow2)" = mine ]
	vmimg convert --force a.raw b.qcow2
	assert_same_disk a.raw b.qcow2 raw qcow2
	assert_clean
}

@test "the source is never the target, by any name" {
	random_image a.raw 1000000 5
	cp a.raw copy
	ln a.raw hard
	ln -s a.raw soft
	refused 2 vmimg convert --force a.raw a.raw
	refused 2 vmimg convert --force -O qcow2 a.raw hard
	refused 2 vmimg convert --force -O qcow2 a.raw soft
	assert_same_bytes a.raw copy
	qemu-img create -q -f qcow2 -b a.raw -F raw over.qcow2
	refused 2 vmimg convert --force over.qcow2 a.raw
	assert_same_bytes a.raw copy
}

@test "a target that QEMU has open is busy" {
	require qemu-io
	random_image a.raw 1000000 5
	qemu-img create -q -f qcow2 b.qcow2 1M
	mkfifo gate
	qemu-io -f qcow2 b.qcow2 <gate >qemu-io.out 3>&- &
	exec 9>gate
	echo "read 0 512" >&9
	while ! grep -qs ops qemu-io.out; do sleep 0.05; done
	refused 6 vmimg convert --force a.raw b.qcow2
	exec 9>&-
	wait $!
	vmimg convert --force a.raw b.qcow2
}

@test "pipes: raw in, raw out, and both" {
	random_image a.raw 3000001 5
	cat a.raw | vmimg convert -f raw - b.raw
	assert_same_bytes a.raw b.raw
	cat a.raw | vmimg convert -f raw - - | cmp - a.raw
	vmimg convert a.raw - | cmp - a.raw
	vmimg convert a.raw - >c.raw
	assert_same_bytes a.raw c.raw
	printf before >d.raw
	vmimg convert a.raw - >>d.raw
	cmp <(printf before; cat a.raw) d.raw
	: | vmimg convert -f raw - empty.raw
	[ "$(stat -c %s empty.raw)" = 0 ]
}

@test "pipes: zeros at the end, sparse" {
	truncate -s 8M a.raw
	printf x | dd of=a.raw bs=1M seek=1 conv=notrunc status=none
	cat a.raw | vmimg convert -f raw - b.raw
	assert_same_bytes a.raw b.raw
	[ "$(allocated b.raw)" -le 65536 ]
	vmimg convert a.raw - >c.raw
	[ "$(allocated c.raw)" -le 65536 ]
}

@test "pipes: other formats go through a file without a name" {
	random_image a.raw 3000320 5
	cat a.raw | vmimg convert -f raw -O qcow2 - b.qcow2
	assert_same_disk a.raw b.qcow2 raw qcow2
	vmimg convert -O qcow2 -c a.raw - | cat >c.qcow2
	assert_same_disk a.raw c.qcow2 raw qcow2
	cat a.raw | vmimg convert -f raw -O qcow2 - - | vmimg convert - - | cmp - a.raw
	cat a.raw | vmimg convert --verify -f raw - d.raw
	assert_same_bytes a.raw d.raw
	assert_clean
}

@test "a reader that goes away ends it quietly" {
	truncate -s 1G a.raw
	set +e
	vmimg convert a.raw - 2>err | head -c 100000 >/dev/null
	local status=${PIPESTATUS[0]}
	set -e
	[ "$status" = 141 ]
	[ ! -s err ]
}

@test "standard output that is full" {
	[ -c /dev/full ] || skip "no /dev/full"
	random_image a.raw 3000320 5
	run bash -c 'vmimg convert a.raw - >/dev/full'
	assert_status 13
}

@test "a full disk leaves nothing" {
	require_root
	mkdir small
	mount -t tmpfs -o size=2M none small || skip "cannot mount"
	random_bytes 1 8000000 >a.raw
	run vmimg convert a.raw small/a.qcow2
	local code=$status left
	left=$(ls -A small)
	umount small
	[ "$code" = 13 ]
	[ -z "$left" ]
}

@test "a killed convert leaves nothing under the name, nor beside it" {
	random_bytes 1 3000000 >a.raw
	local signal
	for signal in KILL TERM INT; do
		vmimg convert --rate-limit 1M a.raw b.qcow2 3>&- &
		local pid=$!
		wait_for hears $pid
		sleep 0.3
		kill -$signal $pid
		run wait $pid
		[ "$status" -gt 128 ]
		assert_file_not_exist b.qcow2
	done
	assert_clean
}

@test "a damaged source leaves nothing" {
	random_bytes 1 3000000 >a.raw
	vmimg convert a.raw a.qcow2
	truncate -s 1000000 a.qcow2
	refused 8 vmimg convert a.qcow2 b.raw
	assert_file_not_exist b.raw
	refused 4 vmimg convert nothing.qcow2 b.raw
	head -c 100000 a.qcow2 >short.qcow2
	refused 8 vmimg convert short.qcow2 b.raw
	assert_file_not_exist b.raw
	assert_clean
}

@test "chains are flattened; -B stores only what differs" {
	require qemu-io
	random_image base.raw 20000768 9 60
	vmimg convert base.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
	qemu_writes over.qcow2 qcow2 20000768 21 60
	vmimg convert over.qcow2 flat.raw
	assert_same_disk over.qcow2 flat.raw qcow2 raw
	local source
	for source in over.qcow2 flat.raw; do
		vmimg convert --force --verify -B base.qcow2 -F qcow2 $source thin.qcow2
		assert_qemu_clean thin.qcow2
		assert_same_disk over.qcow2 thin.qcow2
		run qemu-img info --output=json thin.qcow2
		[ "$(json '."backing-filename"')" = base.qcow2 ]
		cp thin.qcow2 "thin-${source%.*}.qcow2"
	done
	# The same content over its own base: nothing to store.
	vmimg convert --force -B base.qcow2 -F qcow2 base.raw same.qcow2
	[ "$(stat -c %s same.qcow2)" -le $((5 * 65536)) ]
	run vmimg convert --force --digest sha256 -B base.qcow2 -F qcow2 over.qcow2 thin.qcow2
	assert_output "$(sha256 flat.raw)  over.qcow2"
	assert_same_disk over.qcow2 thin.qcow2
	# A base that is shorter, and one that is longer.
	vmimg create short.qcow2 1M
	vmimg convert --force -B short.qcow2 flat.raw thin.qcow2
	assert_same_disk flat.raw thin.qcow2 raw qcow2
	truncate -s 40M long.raw
	random_bytes 4 30000000 | dd of=long.raw conv=notrunc status=none
	vmimg convert --force -B long.raw -F raw flat.raw thin.qcow2
	assert_same_disk flat.raw thin.qcow2 raw qcow2
}

@test "--snapshot reads an internal snapshot" {
	qemu-img create -q -f qcow2 a.qcow2 8M
	qemu_writes a.qcow2 qcow2 8388608 3 30
	vmimg convert a.qcow2 then.raw
	qemu-img snapshot -c first a.qcow2
	qemu_writes a.qcow2 qcow2 8388608 4 30
	vmimg convert --snapshot first a.qcow2 b.raw
	assert_same_bytes then.raw b.raw
}

@test "block device targets: --force, room, what was there before" {
	require_root
	truncate -s 8M backing
	random_bytes 3 8388608 | dd of=backing conv=notrunc status=none
	local dev
	dev=$(losetup --show -f backing) || skip "no loop device"
	truncate -s 4M a.raw
	random_bytes 4 100000 | dd of=a.raw bs=4k seek=100 conv=notrunc status=none
	run vmimg convert a.raw "$dev"
	local plain=$status
	run vmimg convert --force --verify a.raw "$dev"
	local forced=$status
	truncate -s 20M large.raw
	run vmimg convert --force large.raw "$dev"
	local large=$status
	run vmimg convert --force -O qcow2 --verify a.raw "$dev"
	local qcow2=$status
	losetup -d "$dev"
	[ "$plain" = 5 ]
	[ "$forced" = 0 ]
	[ "$large" = 13 ]
	[ "$qcow2" = 0 ]
	assert_same_disk a.raw backing raw qcow2
}

@test "block device target: raw content, zeros included" {
	require_root
	random_bytes 3 4194304 >backing
	local dev
	dev=$(losetup --show -f backing) || skip "no loop device"
	truncate -s 4M a.raw
	random_bytes 4 100000 | dd of=a.raw bs=4k seek=100 conv=notrunc status=none
	vmimg convert --force --verify a.raw "$dev"
	losetup -d "$dev"
	assert_same_bytes a.raw backing
}

@test "reflinks where the file system has them" {
	require_root
	require mkfs.xfs
	truncate -s 400M fs
	mkfs.xfs -q -m reflink=1 fs
	mkdir m
	mount -o loop fs m || skip "cannot mount XFS"
	random_bytes 4 30000000 >m/a.raw
	run vmimg convert --json --no-sync m/a.raw m/a.qcow2
	local cloned
	cloned=$(json .cloned_bytes)
	run vmimg compare m/a.raw m/a.qcow2
	local equal=$status
	run vmimg convert --json --no-sync m/a.qcow2 m/b.raw
	local back
	back=$(json .cloned_bytes)
	run cmp -n 30000000 m/a.raw m/b.raw
	local same=$status
	umount m
	[ "$cloned" -ge 29900000 ]
	[ "$back" -ge 29900000 ]
	[ "$equal" = 0 ]
	[ "$same" = 0 ]
}

@test "usage: formats, options, suffixes" {
	random_image a.raw 100000 5
	refused 2 vmimg convert a.raw target
	refused 2 vmimg convert a.raw target.doc
	refused 2 vmimg convert -O vmdx a.raw b
	refused 2 vmimg convert -o nonsense=1 a.raw b.qcow2
	refused 2 vmimg convert -o cluster_size=3000 a.raw b.qcow2
	refused 2 vmimg convert -o cluster_size=4k -o cluster_size=8k a.raw b.qcow2
	refused 2 vmimg convert -F raw a.raw b.qcow2
	refused 9 vmimg convert -c a.raw b.raw
	refused 9 vmimg convert -B a.raw -F raw a.raw b.raw
	refused 4 vmimg convert a.raw nowhere/b.raw
	refused 2 vmimg convert a.raw
	run find . -name 'b*' -o -name 'target*' -o -name nowhere
	assert_output ""
}

@test "a data file: beside the image, counted, kept, replaced by --force, gone after a failure" {
	mkdir sub
	random_image a.raw $((3 << 20))
	vmimg convert -o data_file=d.raw a.raw sub/a.qcow2
	assert_exists sub/d.raw
	(cd sub && assert_same_disk ../a.raw a.qcow2 raw qcow2) # for QEMU it lies in the current folder
	[ "$(vmimg measure --json -O qcow2 -o data_file=d.raw a.raw | jq .required)" = \
		"$(stat -c %s sub/a.qcow2 sub/d.raw | paste -sd+ | bc)" ]
	[ "$(vmimg measure --json -O qcow2 -o data_file=d.raw a.raw | jq .fully_allocated)" = \
		"$(stat -c %s sub/a.qcow2 sub/d.raw | paste -sd+ | bc)" ]
	refused 5 vmimg convert -o data_file=d.raw a.raw sub/b.qcow2
	assert_not_exists sub/b.qcow2
	random_image b.raw $((3 << 20)) 2
	vmimg convert --force -o data_file=d.raw b.raw sub/a.qcow2
	(cd sub && assert_same_disk ../b.raw a.qcow2 raw qcow2)
	vmimg compare b.raw sub/a.qcow2
	# The data file has its name already when the image cannot get its own: neither of the two stays
	sanitized && return
	INJECT_AT=$(INJECT_TRACE=1 LD_PRELOAD=$VMKIT_TOOLS/inject.so vmimg convert --threads=1 -o data_file=e.raw a.raw \
		sub/e.qcow2 2>&1 | awk '$2 == "linkat" { n = $1 } END { print n }')
	rm sub/e.qcow2 sub/e.raw
	INJECT_AT=$INJECT_AT INJECT_HOW=eio LD_PRELOAD=$VMKIT_TOOLS/inject.so run vmimg convert --threads=1 \
		-o data_file=e.raw a.raw sub/e.qcow2
	assert_status 1
	assert_equal "$(ls sub)" $'a.qcow2\nd.raw'
}
