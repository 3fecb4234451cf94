#!/usr/bin/env bats
# vmbackup backup --keep-bitmap: QEMU's own record of what it wrote tells the next backup what changed; a record in doubt tells
# nothing. The bitmaps are made by qemu-img, and kept by qemu-io and the QEMU storage daemon.
load common

setup() {
	common_setup
	require qemu-img qemu-io qemu-storage-daemon
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption --format-version 2
	random_image a.raw 30000128 1 60
	truncate -s 40M a.raw
	qemu-img convert -O qcow2 a.raw a.qcow2
}

how() { vmbackup show --json m | jq -r '.disks[0].change_source'; }
root() { vmbackup show --json "$1" | jq -r '.disks[0] | [.root, .data_bytes] | join(" ")'; }
bitmaps() { qemu-img info --output=json a.qcow2 | jq -r '[.["format-specific"].data.bitmaps[]?.name] | length'; }
bitmap() { qemu-img info --output=json a.qcow2 | jq -r '.["format-specific"].data.bitmaps[0].name'; }
write() { qemu-io -f qcow2 -c "write -P $1 $2 $3" a.qcow2 >/dev/null; }

# backup HOW [OPTION...] - it says so, and is what a full scan of the image is
backup() {
	vmbackup backup --vm m --keep-bitmap "${@:2}" a.qcow2
	[ "$(how)" = "$1" ] || fail "$(how) instead of $1"
	vmbackup backup --full --vm full a.qcow2
	[ "$(root m)" = "$(root full)" ] || fail "$1: not what a full scan finds"
}

@test "what QEMU wrote is read, and no more; one bitmap is left" {
	backup scan
	[ "$(bitmaps)" = 1 ]
	assert_qemu_clean a.qcow2
	local i read first
	first=$(bitmap)
	for i in 1 2 3; do
		qemu_writes a.qcow2 qcow2 41943040 "$i" 8
		backup 'dirty bitmap'
		[ "$(bitmaps)" = 1 ]
		assert_qemu_clean a.qcow2
	done
	[ "$(bitmap)" != "$first" ]
	write 7 5M 64k
	run vmbackup backup --json --vm m --keep-bitmap a.qcow2
	read=$(json .read_bytes)
	((read < 16000000)) || fail "$read bytes were read"
	vmbackup restore m out.raw
	assert_same_disk out.raw a.qcow2 raw qcow2
	# Nothing written: the bitmap stays, whether or not the file looks as it did.
	first=$(bitmap)
	touch a.qcow2
	vmbackup backup --vm m --keep-bitmap a.qcow2
	[ "$(how)" = 'dirty bitmap' ]
	[ "$(bitmap)" = "$first" ]
	vmimg compare a.qcow2 repo:repo#m
	assert_clean
}

@test "the storage daemon writes through NBD, also over resized and compressed images" {
	backup scan
	qemu-storage-daemon --blockdev driver=file,node-name=f,filename=a.qcow2 --blockdev driver=qcow2,node-name=q,file=f \
		--nbd-server addr.type=unix,addr.path="$PWD/s" --export type=nbd,id=e,node-name=q,name=q,writable=on 3>&- &
	local daemon=$! i
	for ((i = 0; i < 1200; i++)); do
		[ ! -S s ] || break
		sleep 0.05
	done
	qemu-io -f raw -c 'write -P 9 1M 100k' -c 'write -z 20M 1M' "nbd+unix:///q?socket=$PWD/s" >/dev/null
	kill $daemon
	wait $daemon
	backup 'dirty bitmap'
	qemu-img resize -q a.qcow2 48M
	write 3 45M 64k
	backup scan
	write 4 46M 64k
	backup 'dirty bitmap'
}

@test "a bitmap in doubt tells nothing: cleared, disabled, removed, not saved, bypassed" {
	backup scan
	local name
	# Cleared, then written elsewhere
	write 1 3M 64k
	name=$(bitmap)
	qemu-img bitmap --clear a.qcow2 "$name"
	write 2 9M 64k
	run vmbackup -v backup --vm m --keep-bitmap a.qcow2
	assert_output --partial 'was cleared since'
	[ "$(how)" = scan ]
	vmimg compare a.qcow2 repo:repo#m
	# Disabled for a while
	name=$(bitmap)
	qemu-img bitmap --disable a.qcow2 "$name"
	write 3 4M 64k
	run vmbackup -v backup --vm m a.qcow2
	assert_output --partial 'has flags'
	[ "$(how)" = scan ]
	vmimg compare a.qcow2 repo:repo#m
	backup scan
	qemu-img bitmap --remove a.qcow2 "$(bitmap)"
	write 4 6M 64k
	backup scan
	# QEMU killed: in use
	mkfifo fifo
	qemu-io -f qcow2 a.qcow2 <fifo >/dev/null 3>&- &
	local holder=$!
	exec 8>fifo
	echo 'write -P 5 7M 64k' >&8
	echo 'flush' >&8
	wait_for locked a.qcow2
	sleep 0.7
	kill -KILL $holder
	wait $holder || true
	exec 8>&-
	run vmbackup -v backup --vm m a.qcow2
	assert_output --partial 'not saved by its last writer'
	[ "$(how)" = scan ]
	vmimg compare a.qcow2 repo:repo#m
	# Written by us, who keep no bitmaps
	backup scan
	vmsnap create a.qcow2 one
	write 6 8M 64k
	vmsnap revert a.qcow2 one
	backup scan
}

@test "an overlay whose base changes; other formats; a machine in use" {
	qemu-img convert -O qcow2 a.raw base.qcow2
	rm a.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
	touch -d '1 hour ago' base.qcow2
	sleep 3.1
	backup scan
	write 1 3M 64k
	backup 'dirty bitmap'
	qemu-io -f qcow2 -c 'write -P 9 12M 64k' base.qcow2 >/dev/null
	write 2 4M 64k
	backup scan
	run_split vmbackup backup --vm raw --keep-bitmap a.raw
	assert_status 0
	[[ $stderr == *'only qcow2 files have them'* ]]
	vmbackup restore raw - | cmp - a.raw
}
