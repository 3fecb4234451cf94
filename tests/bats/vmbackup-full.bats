#!/usr/bin/env bats
# vmbackup on a full disk: space can be freed there with no space at all, and nothing is lost.
load common

setup() {
	common_setup
	require_root
	unshare -m true 2>/dev/null || skip "mounting is not allowed here"
	export VMKIT_REPOSITORY=$PWD/disk/repo
	mkdir disk
}

teardown() {
	umount "$BATS_TEST_TMPDIR/disk" 2>/dev/null || true
}

# disk MEGABYTES - a file system of that size with an empty repository
disk() {
	mount -t tmpfs -o "size=${1}m" none disk
	vmbackup init --no-encryption
}

# fill - not a byte is left
fill() {
	dd if=/dev/zero of=disk/fill bs=4096 status=none 2>/dev/null || true
	dd if=/dev/zero of=disk/fill2 bs=1 count=1 status=none 2>/dev/null && fail "the disk is not full"
	[ "$(stat -f -c %a disk)" = 0 ]
}
left() { stat -f -c '%a * %S' disk | bc; }
sound() {
	run vmbackup verify
	assert_success
	assert_output ''
}

@test "forget, prune and unlock with not a byte left: what is not needed goes" {
	disk 60
	random_bytes 1 8000000 >a.raw
	random_bytes 2 8000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	fill
	random_bytes 3 100000 >c.raw
	refused 13 vmbackup backup --vm c c.raw
	run --separate-stderr vmbackup unlock
	assert_success
	run --separate-stderr vmbackup forget b@latest
	assert_success
	[ "$(vmbackup list --json | jq length)" = 1 ]
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(left)" -gt 8000000 ]
	sound
	vmbackup restore a - | cmp - a.raw
	# What was given up for room is there again.
	[ "$(find disk/repo/index -type f | wc -l)" = 1 ]
	run vmbackup backup --json --vm a a.raw
	assert_success
	[ "$(json .new_bytes)" = 0 ]
}

@test "what a backup left that ran out of space goes" {
	disk 40
	random_bytes 3 4000000 >a.raw
	random_bytes 4 90000000 >big.raw
	vmbackup backup --vm a a.raw
	random_bytes 5 4000000 | dd of=a.raw bs=1M seek=1 conv=notrunc status=none
	refused 13 vmbackup backup --vm big big.raw
	fill
	run --separate-stderr vmbackup unlock
	assert_success
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(left)" -gt 25000000 ] || fail "$(left) bytes are free: $(find disk -type f -size +1000 -ls)"
	[ "$(find disk/repo/tmp -type f | wc -l)" = 0 ]
	sound
}

@test "packs of a run that was killed before it wrote an index go, though the index has no room for them" {
	disk 105
	random_bytes 6 4000000 >a.raw
	random_bytes 7 110000000 >big.raw
	vmbackup backup --vm a a.raw
	# One thread: with more, the next pack may take the room that the parity and the table of a full one need, and none is whole.
	refused 13 vmbackup backup --threads 1 --vm big big.raw
	[ "$(find disk/repo/packs -type f | wc -l)" = 2 ] || fail "$(left) bytes are free: $(find disk/repo -type f -size +1000 -ls)"
	[ "$(find disk/repo/index -type f | wc -l)" = 1 ]
	fill
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(left)" -gt 100000000 ]
	[ "$(find disk/repo/packs -type f | wc -l)" = 1 ]
	sound
	vmbackup restore a - | cmp - a.raw
}

@test "half a pack stays when a damaged snapshot may need it" {
	disk 30
	random_bytes 8 20000000 >a.raw
	vmbackup backup --vm a a.raw
	local pack
	pack=$(find disk/repo/packs -type f)
	mv "$pack" pack
	# Stored again, but for the end
	dd if=/dev/zero of=disk/some bs=1M count=14 status=none
	run --separate-stderr vmbackup backup --vm b a.raw
	assert_status 13
	[ "$(find disk/repo/tmp -type f | wc -l)" = 1 ]
	fill
	run --separate-stderr vmbackup prune
	assert_status 8
	# It may just have fitted.
	[ "$(find disk/repo/tmp disk/repo/packs -type f -size +1000 | wc -l)" = 1 ]
	rm disk/some disk/fill
	vmbackup backup --vm a a.raw
	vmbackup restore a@latest - | cmp - a.raw
	vmbackup restore "$(vmbackup list --json | jq -r '.[0].id')" - | cmp - a.raw
}

@test "packs that must be rewritten make room for each other; without any room it is said" {
	disk 400
	local i
	for i in 1 2 3 4; do random_bytes $((20 + i)) 40000000 >a$i.raw; vmbackup backup --vm a$i a$i.raw; done
	for i in 1 2 3 4; do
		head -c 20000000 a$i.raw >h$i.raw
		vmbackup backup --vm h$i h$i.raw
		vmbackup forget a$i@latest
	done
	# 22 MiB are enough for one of the four
	fill
	run --separate-stderr vmbackup prune
	assert_status 13
	[[ $stderr == *"4 packs are to be rewritten"*no\ room* ]]
	truncate -s -28M disk/fill
	run --separate-stderr vmbackup prune --json
	assert_success
	[ "$(json .collection.rewritten_packs)" = 4 ] || fail "$output"
	[ "$(left)" -gt 70000000 ]
	sound
	for i in 1 2 3 4; do vmbackup restore h$i - | cmp - h$i.raw; done
}

@test "another process may be at work meanwhile" {
	disk 60
	random_bytes 9 8000000 >a.raw
	random_bytes 10 8000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	mkfifo out
	vmbackup restore a - >out &
	local reader=$!
	exec 7<out
	head -c 1000 <&7 >first
	fill
	# The reader holds the index that could be given up.
	refused 13 vmbackup forget b@latest
	truncate -s -8k disk/fill
	vmbackup forget b@latest
	run --separate-stderr vmbackup prune --json
	assert_success
	[ "$(json .collection.pending_packs)" = 1 ]
	{ cat first && cat <&7; } | cmp - a.raw
	exec 7<&-
	wait $reader
	run --separate-stderr vmbackup prune --json
	assert_success
	[ "$(left)" -gt 8000000 ]
	sound
}
