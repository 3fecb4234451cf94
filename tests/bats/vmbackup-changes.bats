#!/usr/bin/env bats
# vmbackup backup: what changed since an earlier snapshot is found without reading, and the tree is a full scan's all the
# same, bit for bit.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption --format-version 2 # without deltas a tree is a function of the disk
}

teardown() { [ ! -d xfs ] || ! mountpoint -q xfs || umount xfs; }

how() { vmbackup show --json "$1" | jq -r '.disks[0].change_source'; }
root() { vmbackup show --json "$1" | jq -r '.disks[0] | [.root, .data_bytes] | join(" ")'; }

# settle FILE... - files changed a moment ago are not trusted
settle() { sleep 3.1; }

# same_as_scan VM IMAGE... - a backup of VM finds what a full scan of the same images as VM-full finds
same_as_scan() {
	local vm=$1
	shift
	vmbackup backup --vm "$vm" "${opts[@]}" "$@"
	vmbackup backup --full --vm "$vm-full" "$@"
	[ "$(root "$vm")" = "$(root "$vm-full")" ] || fail "$(how "$vm"): $(root "$vm") is not $(root "$vm-full")"
}

xfs() {
	require_root
	require mkfs.xfs
	truncate -s 512M xfs.img
	mkfs.xfs -q -m reflink=1 xfs.img
	mkdir xfs
	mount -o loop xfs.img xfs || skip "no loop devices"
}

# scribble FILE SIZE SEED COUNT - writes of all kinds into a raw file: blocks, odd pieces, zeros, holes
scribble() {
	local file=$1 size=$2 state=$3 i off len
	for ((i = 0; i < $4; i++)); do
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		off=$((state % size))
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		len=$(((state >> 8) % 70000 + 1))
		((off + len <= size)) || len=$((size - off))
		case $((state >> 4 & 3)) in
		0) fallocate -p -o $off -l $len "$file" ;;
		1) head -c $len /dev/zero ;;
		*) random_bytes "$state" $len ;;
		esac | dd of="$file" bs=64k seek=$off oflag=seek_bytes conv=notrunc iflag=fullblock status=none
	done
}

@test "an overlay on what was backed up, and overlays on that" {
	require qemu-img qemu-io
	local opts=() size=41943040
	random_image base.raw $size 1 60
	settle
	vmbackup backup --vm m base.raw
	qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2
	qemu_writes a.qcow2 qcow2 $size 2 15
	same_as_scan m a.qcow2
	[ "$(how m)" = overlay ]
	[ "$(vmbackup backup --json --vm m a.qcow2 | jq .read_bytes)" -lt $((size / 2)) ]
	vmbackup restore m out.raw
	assert_same_disk a.qcow2 out.raw qcow2 raw
	# The newest snapshot is of another chain; an older one is the base of this.
	qemu_writes a.qcow2 qcow2 $size 3 15
	same_as_scan m a.qcow2
	[ "$(how m)" = overlay ]
	settle
	vmbackup backup --vm m a.qcow2
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
	qemu-img create -q -f qcow2 -o cluster_size=4k -b b.qcow2 -F qcow2 c.qcow2
	qemu_writes b.qcow2 qcow2 $size 4 5
	qemu_writes c.qcow2 qcow2 $size 5 5
	same_as_scan m c.qcow2
	[ "$(how m)" = overlay ]
	vmbackup restore --force m out.raw
	assert_same_disk c.qcow2 out.raw qcow2 raw
	# An overlay that nothing was written to reads nothing.
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 d.qcow2
	run vmbackup backup --json --vm m d.qcow2
	[ "$(json .read_bytes)" = 0 ]
	run vmbackup verify
	assert_success
}

@test "an overlay of another size, or on a base that changed, is scanned" {
	require qemu-img qemu-io
	local opts=() size=20971520
	random_image base.raw $size 6 60
	cp base.raw base2.raw
	settle
	vmbackup backup --vm m base.raw
	vmbackup backup --vm n base2.raw
	qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2 30M
	qemu_writes a.qcow2 qcow2 31457280 7 10
	same_as_scan m a.qcow2
	[ "$(how m)" = scan ]
	qemu-img create -q -f qcow2 -b base.raw -F raw b.qcow2
	scribble base.raw $size 8 1
	same_as_scan m b.qcow2
	[ "$(how m)" = scan ]
	# A layer between that hides the end of the base.
	qemu-img create -q -f qcow2 -b base2.raw -F raw short.qcow2 8M
	qemu-img create -q -f qcow2 -b short.qcow2 -F qcow2 long.qcow2 20M
	same_as_scan n long.qcow2
	[ "$(how n)" = scan ]
	refused 11 vmbackup backup --no-full --vm n long.qcow2
	refused 11 vmbackup backup --no-full --vm new long.qcow2
	refused 2 vmbackup backup --no-full --full --vm n long.qcow2
	[ "$(vmbackup list --json new)" = '[]' ]
	settle
	vmbackup backup --vm n long.qcow2
	vmbackup backup --no-full --vm n long.qcow2
	[ "$(how n)" = 'unchanged file' ]
	run vmbackup backup -v --full --vm n long.qcow2
	assert_output --partial 'disk vda: scan'
}

# bats test_tags=slow
@test "a reflink clone of a raw file: random rounds" {
	xfs
	local opts=(--keep-clone) size=50001920 i
	random_image xfs/a.raw $size 9 80
	same_as_scan m xfs/a.raw
	[ "$(how m)" = scan ]
	for i in 1 2 3 4; do
		scribble xfs/a.raw $size $((i + 20)) $((i * i + 2))
		same_as_scan m xfs/a.raw
		[ "$(how m)" = 'reflink clone' ]
		vmbackup restore --force m out.raw
		assert_same_bytes out.raw xfs/a.raw
		[ "$(find xfs -name '.a.raw.vmkit-*' | wc -l)" = 1 ]
	done
	run vmbackup show --json m
	assert_schema vmbackup-show
	# One block: what is read is about a chunk or two.
	random_bytes 77 4096 | dd of=xfs/a.raw bs=4k seek=3000 conv=notrunc status=none
	run vmbackup backup --json --keep-clone --vm m xfs/a.raw
	[ "$(json .read_bytes)" -le 1048576 ] || fail "$output"
	[ "$(json .data_bytes)" = "$(vmbackup show --json m-full | jq '.disks[0].data_bytes')" ] || same_as_scan m xfs/a.raw
	# Nothing: not even that. The clone goes from snapshot to snapshot.
	settle
	vmbackup backup --keep-clone --vm m xfs/a.raw
	vmbackup backup --keep-clone --vm m xfs/a.raw
	[ "$(how m)" = 'unchanged file' ]
	scribble xfs/a.raw $size 40 3
	same_as_scan m xfs/a.raw
	[ "$(how m)" = 'reflink clone' ]
	run vmbackup verify
	assert_success
}

@test "a reflink clone of a qcow2 file, plain and compressed" {
	xfs
	require qemu-img qemu-io
	local opts=(--keep-clone) size=33554432 i
	random_image a.raw $size 10 40
	qemu-img convert -c -O qcow2 a.raw xfs/a.qcow2
	same_as_scan m xfs/a.qcow2
	for i in 1 2 3; do
		qemu_writes xfs/a.qcow2 qcow2 $size $((i + 50)) 12
		same_as_scan m xfs/a.qcow2
		[ "$(how m)" = 'reflink clone' ]
		vmbackup restore --force m out.raw
		assert_same_disk xfs/a.qcow2 out.raw qcow2 raw
	done
	[ "$(vmbackup backup --dry-run --json --vm m xfs/a.qcow2 | jq .read_bytes)" -lt $((size / 4)) ]
}

@test "a clone in doubt is no clone" {
	xfs
	local opts=(--keep-clone) size=20000768
	random_image xfs/a.raw $size 11 60
	vmbackup backup --keep-clone --vm m xfs/a.raw
	local clone
	clone=$(find xfs -name '.a.raw.vmkit-*')
	# Somebody wrote to it.
	chmod u+w "$clone"
	scribble "$clone" $size 12 1
	scribble xfs/a.raw $size 13 2
	same_as_scan m xfs/a.raw
	[ "$(how m)" = scan ]
	# It is gone.
	rm xfs/.a.raw.vmkit-*
	scribble xfs/a.raw $size 14 2
	same_as_scan m xfs/a.raw
	[ "$(how m)" = scan ]
	# The disk has grown.
	truncate -s 25000960 xfs/a.raw
	same_as_scan m xfs/a.raw
	[ "$(how m)" = scan ]
	# No clone where there is no reflink, and none of a dry run; the backup goes on.
	random_image b.raw 5000000 15 10
	run vmbackup backup -v --keep-clone --vm other b.raw
	assert_success
	assert_output --partial 'no clone is kept'
	random_image xfs/c.raw 5000000 15 10
	vmbackup backup --dry-run --keep-clone --vm third xfs/c.raw
	[ -z "$(find xfs . -xdev -name '.[bc].raw.vmkit-*')" ]
	# One file after all: the snapshot failed, and its clone with it.
	run vmbackup backup --keep-clone --vm fourth xfs/c.raw missing.raw
	assert_status 4
	[ -z "$(find xfs -name '.c.raw.vmkit-*')" ]
}
