#!/usr/bin/env bats
# Chunks that are stored as what differs from older ones: what it saves, and that whoever prunes, verifies, copies or heals
# knows what they need.
load common
load vmbackup

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
}

# database FILE - 20 MB that compress a little, in a raw disk
database() {
	random_bytes 1 6000000 | base64 -w 120 >"$1"
	truncate -s 12M "$1"
	random_bytes 2 4000000 >>"$1"
}

# update FILE SEED COUNT - 40 bytes each in COUNT blocks
update() {
	local state=$2 i blocks=$(($(stat -c %s "$1") / 4096 - 3072))
	for ((i = 0; i < $3; i++)); do
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		printf 'row %08x changed in place, %020d' $state $i |
			dd of="$1" bs=1 seek=$((state % blocks * 4096 + 300)) conv=notrunc status=none
	done
}

stored() { json .stored_bytes; }

@test "blocks that change in place: a tenth of the room, restored and served bit by bit" {
	require qemu-img
	vmbackup init --no-encryption
	vmbackup -r old init --no-encryption --format-version 2
	local i plain delta
	database a.raw
	vmbackup backup --vm db a.raw
	vmbackup -r old backup --vm db a.raw
	for i in 1 2 3; do
		cp a.raw "before$i.raw"
		update a.raw $i 60
		run vmbackup backup --json --vm db a.raw
		assert_success
		delta=$(stored)
		[ "$(json .new_chunks)" -gt 20 ]
		run vmbackup -r old backup --json --vm db a.raw
		plain=$(stored)
		((delta * 10 < plain)) || fail "round $i: $delta bytes, $plain without deltas"
	done
	vmbackup restore db out.raw
	assert_same_bytes out.raw a.raw
	vmbackup -r old restore db - | cmp - a.raw
	mapfile -t ids < <(vmbackup list --json | jq -r '.[].id')
	for i in 1 2 3; do vmbackup restore "db@${ids[i - 1]}" - | cmp - "before$i.raw"; done
	# Small reads at odd places, and only what differs
	run vmimg compare "repo:$PWD/repo#db" a.raw
	assert_success
	vmbackup restore --differential "db@${ids[1]}" out.raw
	assert_same_bytes out.raw before2.raw
	run vmbackup diff "db@${ids[0]}" "db@${ids[3]}" --json
	assert_status 3
	[ "$(json '.disks[0].changed_bytes')" -lt 900000 ]
	run vmbackup verify
	assert_success
	assert_output ''
	run vmbackup verify db
	assert_success
	# A disk that did not change since costs nothing; nothing is looked up anew.
	run vmbackup backup --json --vm db a.raw
	[ "$(json .new_chunks)" = 0 ]
	[ "$(stored)" = 0 ]
	assert_clean
}

@test "prune keeps the bases of what stays; a copy and a second repository are whole without them" {
	vmbackup init --no-encryption
	database a.raw
	local i
	vmbackup backup --vm db a.raw
	for i in 1 2 3 4; do
		update a.raw $i 40
		vmbackup backup --vm db a.raw
	done
	vmbackup -r copy init --no-encryption
	vmbackup copy --to copy db@latest
	vmbackup -r copy restore db - | cmp - a.raw
	run vmbackup -r copy verify
	assert_success
	vmbackup prune --keep-last 1 --max-unused 0
	[ "$(vmbackup list --json | jq length)" = 1 ]
	vmbackup restore db - | cmp - a.raw
	run vmbackup verify
	assert_success
	assert_output ''
	# Packs of deltas are rewritten as others are.
	update a.raw 9 40
	vmbackup backup --vm db a.raw
	vmbackup prune --keep-last 1 --max-unused 0
	vmbackup restore db - | cmp - a.raw
	run vmbackup verify
	assert_success
	vmbackup copy --to copy
	vmbackup -r copy restore db - | cmp - a.raw
}

@test "a damaged base costs what needs it, which is said; never wrong bytes; the next backup stores it anew" {
	vmbackup init --no-encryption --parity 0
	database a.raw
	vmbackup backup --vm db a.raw
	local pack off
	pack=$(biggest_pack)
	update a.raw 5 60
	vmbackup backup --vm db a.raw
	for off in 500000 1500000 2500000; do flip "$pack" $off; done
	run vmbackup verify
	assert_status 8
	assert_line --partial 'disk vda: bytes'
	[ "$(vmbackup verify --json 2>/dev/null | jq .damaged_snapshots)" = 2 ]
	run_split vmbackup restore db out.raw
	assert_status 8
	assert_not_exists out.raw
	vmbackup backup --vm db a.raw
	vmbackup restore db - | cmp - a.raw
}

@test "with parity a damaged base is healed while it is read; a lost pack of deltas comes back from another repository" {
	vmbackup init --no-encryption
	database a.raw
	vmbackup backup --vm db a.raw
	flip "$(biggest_pack)" 500000
	cp a.raw before.raw
	update a.raw 6 60
	vmbackup backup --vm db a.raw
	vmbackup restore db - | cmp - a.raw
	vmbackup -r copy init --no-encryption
	vmbackup copy --to copy
	local pack i
	update a.raw 7 60
	vmbackup backup --vm db a.raw
	vmbackup copy --to copy
	# The newest pack: deltas of the last backup, and its pages. They are made again on the snapshot before, as the backup did.
	pack=$(find repo/packs -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
	cp "$pack" kept
	rm -f "$pack"
	vmbackup repair --from copy
	vmbackup restore db - | cmp - a.raw
	vmbackup prune
	run vmbackup verify
	assert_success
	assert_output ''
	# Put back it does no harm.
	mkdir -p "$(dirname "$pack")"
	cp kept "$pack"
	run vmbackup verify
	assert_success
	# The snapshot before is gone: what the pages said of deltas is lost with them.
	update a.raw 8 60
	vmbackup backup --vm db a.raw
	vmbackup copy --to copy
	local newest
	newest=$(vmbackup list --json | jq -r '.[-1].id')
	for i in $(vmbackup list --json | jq -r '.[:-1][].id'); do vmbackup forget "db@$i"; done
	rm -f "$(find repo/packs -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)"
	run vmbackup repair --from copy
	assert_status 8
	run vmbackup verify
	assert_status 8
	vmbackup -r copy restore "db@$newest" - | cmp - a.raw
	vmbackup backup --vm db a.raw
	vmbackup restore db - | cmp - a.raw
}

@test "a copy makes deltas of its own, in one run and from run to run; both restore bit by bit" {
	local i id sum=0 copied=0
	export VMKIT_PASSWORD_FILE=$PWD/key
	echo secret >key
	vmbackup init --scrypt-log2n 10
	vmbackup -r copy init --scrypt-log2n 10
	vmbackup -r old init --no-encryption --format-version 2
	database a.raw
	for i in 0 1 2 3; do
		[ $i = 0 ] || update a.raw $i 60
		cp a.raw "state$i.raw"
		run vmbackup backup --json --vm db a.raw
		[ $i = 0 ] || sum=$((sum + $(stored)))
		# The first alone, then two, then the last
		[ $i = 1 ] && continue
		run vmbackup copy --json --to copy
		assert_success
		[ $i = 0 ] || copied=$((copied + $(stored)))
	done
	((copied < 2 * sum)) || fail "$copied bytes in the copy, $sum here"
	i=0
	for id in $(vmbackup list --json | jq -r '.[].id'); do
		vmbackup -r copy restore "db@$id" - | cmp - "state$i.raw"
		i=$((i + 1))
	done
	run vmbackup -r copy verify
	assert_success
	assert_output ''
	vmbackup copy --to old
	vmbackup -r old restore db - | cmp - a.raw
	# What the copy needs stays there when the older ones go, here and there.
	vmbackup -r copy prune --keep-last 1 --max-unused 0
	vmbackup -r copy restore db - | cmp - a.raw
	run vmbackup -r copy verify
	assert_success
	# A first copy of what is deltas here; and back
	vmbackup -r again init --scrypt-log2n 10
	vmbackup -r copy copy --to again
	vmbackup -r again restore db - | cmp - a.raw
	run vmbackup -r again verify
	assert_success
}

@test "content that has nothing to do with the old one is stored as chunks; a size that changes" {
	vmbackup init --no-encryption
	local i
	random_bytes 1 12000000 >a.raw
	vmbackup backup --vm db a.raw
	for i in 2 3 4 5; do
		random_bytes $i 9000000 | dd of=a.raw bs=64k seek=4096 oflag=seek_bytes conv=notrunc status=none
		printf x | dd of=a.raw bs=1 seek=10000000 conv=notrunc status=none
		truncate -s "$((12000000 + i * 100000))" a.raw
		vmbackup backup --vm db a.raw
		vmbackup restore db - | cmp - a.raw
	done
	run vmbackup verify
	assert_success
}

@test "killed while deltas are stored: the next run is whole" {
	vmbackup init --scrypt-log2n 10 --no-encryption
	database a.raw
	vmbackup backup --vm db a.raw
	update a.raw 8 100
	local n
	for n in 3 6 9 12 15 18 21 24 27 30; do
		LD_PRELOAD=$(preload inject.so) INJECT_AT=$n INJECT_HOW=kill vmbackup backup --vm db a.raw 2>/dev/null || true
	done
	vmbackup backup --vm db a.raw
	vmbackup restore db - | cmp - a.raw
	run vmbackup verify
	assert_success
}
