#!/usr/bin/env bats
# vmbackup prune: what is not needed goes, what is needed stays, whoever else is at work.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
}

init() { vmbackup init --no-encryption; }

stored() { find repo/packs -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }

# kept NAME FILE - the newest snapshot of NAME is FILE, bit by bit
kept() { vmbackup restore "$1" - | cmp - "$2" || fail "$1 is not $2"; }

sound() {
	run vmbackup verify
	assert_success
	assert_output ''
}

# slow_backup NAME FILE BYTES - a backup of what is written to descriptor 8, which gets the first BYTES of FILE and is
# running when this returns; ended by `exec 8>&-; wait $slow`
slow_backup() {
	mkfifo "$1.fifo"
	vmbackup backup --vm "$1" - <"$1.fifo" 3>&- &
	slow=$!
	exec 8>"$1.fifo"
	head -c "$3" "$2" >&8
	local i
	for ((i = 0; i < 1200; i++)); do
		[ -z "$(find "/proc/$slow/fd" -lname '*/repo/config' 2>/dev/null)" ] || return 0
		sleep 0.02
	done
	fail "the slow backup does not begin"
}

@test "space is freed, and every snapshot that stays is as it was" {
	init
	random_bytes 1 12000000 >a.raw
	random_bytes 2 12000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	random_bytes 3 12000000 >a2.raw
	vmbackup backup --vm a a2.raw
	local before
	before=$(stored)
	run vmbackup prune --json --dry-run --keep-last 1
	assert_success
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .kept, .collection.removed_packs, .collection.snapshots] | join(" ")')" = '1 2 1 2' ]
	[ "$(stored)" = "$before" ]
	run vmbackup prune
	assert_success
	assert_output ''
	[ "$(stored)" = "$before" ]
	run vmbackup prune --json --keep-last 1
	assert_success
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .kept, .collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 2 1 0' ]
	[ "$(stored)" -le $((before * 68 / 100)) ]
	[ "$(stored)" = $((before - $(json .collection.removed_bytes))) ]
	sound
	kept a a2.raw
	kept b b.raw
	# All that is left
	vmbackup prune a@latest b@latest
	[ "$(stored)" = 0 ]
	sound
	vmbackup backup --vm a a.raw
	kept a a.raw
	sound
}

@test "--dry-run with --max-delete: what would go is shown, and that it is refused" {
	init
	local i
	for i in 1 2 3; do
		random_bytes "$i" 1000000 >a.raw
		vmbackup backup --vm a a.raw
	done
	run --separate-stderr vmbackup prune --dry-run --keep-last 1 --max-delete 1
	assert_status 1
	[ "${#lines[@]}" = 3 ] || fail "$output"
	[[ $output != *packs* ]]
	[[ $stderr == *"2 snapshots would be removed, more than --max-delete 1 allows: none will be"* ]]
	run --separate-stderr vmbackup prune --dry-run --json --keep-last 1 --max-delete 1
	assert_status 1
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .kept, .collection.removed_packs] | join(" ")')" = '2 1 0' ]
	run vmbackup prune --dry-run --keep-last 1 --max-delete 2
	assert_success
	assert_line --partial 'would remove about 2 of 3 packs'
	refused 1 vmbackup prune --keep-last 1 --max-delete 1
	[ "$(vmbackup list --json | jq length)" = 3 ]
}

@test "packs of which too much is unused are rewritten" {
	init
	random_bytes 4 16000000 >a.raw
	vmbackup backup --vm a a.raw
	cp a.raw b.raw
	random_bytes 5 4800000 | dd of=b.raw conv=notrunc status=none
	vmbackup backup --vm a b.raw
	vmbackup forget --keep-last 1
	# 30 % are unused
	run vmbackup prune --json --max-unused 40
	[ "$(json .collection.removed_packs)" = 0 ]
	run vmbackup prune --json --dry-run
	[ "$(json .collection.rewritten_packs)" = 1 ]
	run vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.rewritten_packs] | join(" ")')" = '1 1' ]
	[ "$(stored)" -le 17000000 ]
	sound
	kept a b.raw
	run vmbackup prune --json --max-unused 0
	[ "$(json .collection.removed_packs)" = 0 ]
}

@test "an encrypted repository, at random, against what should be there" {
	export VMKIT_PASSWORD_COMMAND='echo secret'
	vmbackup init --scrypt-log2n 10
	local round vm i seed=77
	random_image a.raw 9000000 1 20
	random_image b.raw 9000000 2 20
	for round in 1 2 3 4 5 6 7 8; do
		for vm in a b; do
			seed=$((seed * 1103515245 % 2147483647 + 12345))
			random_bytes $seed $((seed % 900000)) | dd of=$vm.raw bs=512 seek=$((seed % 15000)) conv=notrunc status=none
			vmbackup backup --vm $vm $vm.raw
			cp $vm.raw $vm.$round.was
		done
		[ $((round % 2)) = 0 ] || continue
		vmbackup prune --keep-last 2 --max-unused $((seed % 60))
		for vm in a b; do
			mapfile -t ids < <(vmbackup list --json $vm | jq -r '.[].id')
			[ ${#ids[@]} = 2 ]
			for i in 0 1; do vmbackup restore "$vm@${ids[i]}" - | cmp - $vm.$((round - 1 + i)).was; done
		done
	done
	run vmbackup verify
	assert_success
	[ "$(find repo/epochs -type f | wc -l)" = 1 ]
}

@test "beside a running backup: what it may need stays, and goes or stays as it turns out" {
	init
	random_bytes 6 8000000 >a.raw
	random_bytes 7 8000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	slow_backup s a.raw 3000000
	run vmbackup prune --json a@latest b@latest
	assert_success
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '0 2' ]
	# Who begins now counts nothing of it as there.
	run vmbackup backup --json --vm c b.raw
	[ "$(json .new_bytes)" = 8000000 ]
	run vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 2 ]
	tail -c +3000001 a.raw >&8
	exec 8>&-
	wait "$slow"
	[ "$(vmbackup show --json s | jq '.disks[0].new_bytes')" = 0 ]
	kept s a.raw
	sound
	run vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ]
	sound
	kept s a.raw
	kept c b.raw
	# What was let off counts as there again.
	run vmbackup backup --json --vm d a.raw
	[ "$(json .new_bytes)" = 0 ]
}

@test "--wait: until the others have ended; one prune at a time" {
	init
	random_bytes 8 3000000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup forget a@latest
	slow_backup s a.raw 100000
	run --separate-stderr vmbackup prune --wait=0.2
	assert_status 6
	vmbackup prune --wait --json >out 8>&- &
	local prune=$!
	wait_for collecting
	refused 6 vmbackup prune
	[ "$(stored)" -ge 3000000 ]
	exec 8>&-
	wait "$slow"
	wait $prune
	assert_schema vmbackup-prune out
	[ "$(jq .collection.removed_packs out)" = 1 ]
	[ "$(stored)" -lt 300000 ]
}

@test "beside a reader: a snapshot that is being restored can be read to its end" {
	init
	random_bytes 9 30000000 >a.raw
	vmbackup backup --vm a a.raw
	mkfifo out
	vmbackup restore a - >out &
	local reader=$!
	exec 7<out
	head -c 1000 <&7 >first
	vmbackup prune a@latest
	{ cat first && cat <&7; } | cmp - a.raw
	exec 7<&-
	wait $reader
	vmbackup prune
	[ "$(stored)" = 0 ]
}

@test "nothing is removed while it is not known what a snapshot needs" {
	init
	random_bytes 10 2000000 >a.raw
	random_bytes 11 2000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	vmbackup backup --vm a b.raw
	vmbackup forget a@latest "$(vmbackup list --json a | jq -r '.[0].id')"
	local before
	before=$(stored)
	truncate -s 10 repo/snapshots/0000000000000002
	run --separate-stderr vmbackup prune
	assert_status 8
	[[ $stderr == *--unreadable* ]]
	[ "$(stored)" = "$before" ]
	run vmbackup forget --unreadable
	assert_success
	vmbackup prune
	[ "$(stored)" = 0 ]
	# A page of a tree
	vmbackup backup --vm a a.raw
	find repo/packs -type f -delete
	run --separate-stderr vmbackup prune
	assert_status 8
	[[ $stderr == *"snapshot a@"* ]]
	vmbackup prune a@latest
}

@test "a pack that was lost unseen is not counted on" {
	init
	random_bytes 12 80000000 >a.raw
	vmbackup backup --vm a a.raw
	# The pages of the tree are in the other one, so all of the last snapshot looks as if it were there.
	find repo/packs -type f -size +60M -delete
	run --separate-stderr vmbackup backup --json --vm a a.raw
	[ "$(json .new_bytes)" -gt 60000000 ]
	kept a a.raw
}

# collecting - somebody holds the collector's lock, byte 2^62 of config
collecting() { grep -q "WRITE.*:$(stat -c %i repo/config) 4611686018427387904 " /proc/locks; }

@test "sessions and the prune lock end with their processes" {
	init
	random_bytes 13 3000000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup forget a@latest
	slow_backup s a.raw 100000
	vmbackup prune --wait 8>&- &
	local prune=$!
	wait_for collecting
	kill -KILL $prune "$slow"
	exec 8>&-
	wait $prune "$slow" || true
	run vmbackup prune --json
	assert_success
	[ "$(json .collection.pending_packs)" = 0 ]
	[ "$(stored)" = 0 ]
}

@test "what merged runs leave out of condemned packs can be read, and stays while a snapshot needs it" {
	init
	random_bytes 1 1500000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup forget a@latest
	slow_backup s a.raw 500000
	run vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	# Runs of one size are merged, by who knows what is condemned
	local i
	for i in {1..9}; do
		random_bytes $((i + 10)) 1500000 >x.raw
		vmbackup backup --vm x x.raw 8>&-
	done
	[ "$(find repo/index -type f | wc -l)" -lt 9 ]
	tail -c +500001 a.raw >&8
	exec 8>&-
	wait "$slow"
	[ "$(vmbackup show --json s | jq '.disks[0].new_bytes')" = 0 ]
	kept s@latest a.raw
	sound
	run vmbackup prune --json
	assert_success
	[ "$(json .collection.pending_packs)" = 0 ]
	kept s@latest a.raw
	kept x@latest x.raw
	sound
}

# bats test_tags=slow,release
@test "clients at random, killed and with wrong clocks: every snapshot is as it was" {
	[ -e "$VMKIT_TOOLS/clock.so" ] || fail "clock.so is missing: make tools"
	require python3
	mkdir clients
	run python3 "$ROOT/tests/vmbackup_thrash.py" "$VMKIT_BIN" "$VMKIT_TOOLS/clock.so" clients 10
	assert_success
}
