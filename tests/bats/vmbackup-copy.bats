#!/usr/bin/env bats
# vmbackup copy: another repository with another key gives back the same disks, and gets nothing twice.
load common
load vmbackup

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo VMKIT_PASSWORD_FILE=$PWD/key
	echo first >key
	echo second >key2
	vmbackup init --scrypt-log2n=10 --parity 0
	VMKIT_PASSWORD_FILE=key2 vmbackup -r two init --scrypt-log2n=10 --parity 0
}

# two VERB... - on the other repository, with its own passphrase
two() { VMKIT_PASSWORD_FILE=$PWD/key2 vmbackup -r "$PWD/two" "$@"; }
copy() { vmbackup copy --to two --to-password-file key2 "$@"; }
# what a snapshot says of itself that a copy keeps
facts() { jq -S '.[] | del(.seq) | del(.disks[]["root", "new_bytes", "stored_bytes"])'; }

@test "every snapshot, under another key, with all that is known of it" {
	random_image a.raw 30000512 1 40
	random_image b.raw 5000000 2 10
	vmbackup backup --vm web --tag weekly --tag 'two words' root=a.raw data=b.raw
	random_bytes 3 200000 | dd of=a.raw bs=4096 seek=2000 conv=notrunc status=none
	cp a.raw a2.raw
	vmbackup backup --vm web root=a.raw data=b.raw
	vmbackup backup --vm db - <b.raw
	run --separate-stderr copy --json
	assert_success
	assert_schema vmbackup-copy
	[ "$(json '"\(.copied) \(.present) \(.failed)"')" = '3 0 0' ]
	diff <(vmbackup list --json | facts) <(two list --json | facts)
	# another repository: other ids of everything
	! diff -q <(vmbackup show --json web | jq .disks[0].root) <(two show --json web | jq .disks[0].root)
	two restore web:root out.raw
	assert_same_bytes a2.raw out.raw
	two restore db out.raw --force
	assert_same_bytes b.raw out.raw
	run two verify
	assert_success
	assert_output ''
	# the first one's passphrase is not the other's
	VMKIT_PASSWORD_FILE=key refused 12 vmbackup -r two list
	refused 12 vmbackup copy --to two
}

@test "again: nothing is done, then only what came since" {
	local before
	random_bytes 4 20000000 >a.raw
	vmbackup backup --vm m a.raw
	copy
	before=$(find two -type f | sort)
	run copy
	assert_success
	assert_output ''
	[ "$(find two -type f | sort)" = "$before" ]
	random_bytes 5 65536 | dd of=a.raw bs=64k seek=100 conv=notrunc status=none
	vmbackup backup --vm m a.raw
	run copy -n
	assert_output --regexp '^m@[0-9a-f]{8}$'
	run copy --json
	assert_schema vmbackup-copy
	[ "$(json '"\(.copied) \(.present)"')" = '1 1' ]
	# one region of two is read, and of it no more stored than changed
	[ "$(json .read_bytes)" -le 16777216 ]
	[ "$(json .new_bytes)" -ge 65536 ]
	[ "$(json .new_bytes)" -le 700000 ]
	two restore m out.raw
	assert_same_bytes a.raw out.raw
}

@test "what the other repository has from elsewhere is not stored again" {
	random_bytes 6 10000000 >a.raw
	cp a.raw b.raw
	vmbackup backup --vm m a.raw
	two backup --vm other b.raw
	run copy --json
	[ "$(json .new_bytes)" = 0 ]
	[ "$(json .stored_bytes)" = 0 ]
	[ "$(json .read_bytes)" = 10000000 ]
	# and the other way: a backup made there finds what the copy brought
	run two backup --json --vm m --full a.raw
	[ "$(json .new_bytes)" = 0 ]
}

@test "one machine, named snapshots, an older one after a newer one" {
	local i ids
	for i in 1 2 3; do
		random_bytes $i 100000 >$i.raw
		vmbackup backup --vm m $i.raw
		sleep 1
	done
	vmbackup backup --vm n 1.raw
	mapfile -t ids < <(vmbackup list --json | jq -r '.[].id')
	copy "m@${ids[1]}" "${ids[1]}"
	[ "$(two list --json | jq -r 'map(.id) | join(",")')" = "${ids[1]}" ]
	run --separate-stderr copy "${ids[0]}"
	assert_success
	[[ $stderr == *'m@latest there is now the snapshot of '* ]] || fail "$stderr"
	copy --vm m
	[ "$(two list --json | jq -r 'map(.vm) | join(",")')" = m,m,m ]
	two restore "m@${ids[0]}" out.raw
	assert_same_bytes 1.raw out.raw
	two restore "m" out.raw --force
	assert_same_bytes 3.raw out.raw
	refused 4 copy --vm nobody
	refused 4 copy m@00000000
	refused 2 copy --vm m n
	refused 2 vmbackup copy
	refused 4 vmbackup copy --to nothing
}

@test "a damaged snapshot is left out, the others are copied" {
	local pack
	random_bytes 7 3000000 >a.raw
	random_bytes 8 3000000 >b.raw
	vmbackup backup --vm a a.raw
	pack=$(biggest_pack)
	flip "$pack" "$(payload "$pack" 1)"
	vmbackup backup --vm b b.raw
	run --separate-stderr copy --json
	assert_status 8
	assert_schema vmbackup-copy
	[ "$(json '.snapshots | map(.status) | join(",")')" = failed,copied ]
	two restore b out.raw
	assert_same_bytes b.raw out.raw
	run two verify
	assert_success
	# the other side's damage: what it lost is read and stored again
	vmbackup backup --vm a a.raw
	random_bytes 9 50000 | dd of=b.raw bs=4096 conv=notrunc status=none
	vmbackup backup --vm b b.raw
	pack=$(find two/packs -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
	flip "$pack" "$(payload "$pack" 2)"
	run two verify
	assert_status 8
	copy
	two restore b out.raw --force
	assert_same_bytes b.raw out.raw
	two restore a out.raw --force
	assert_same_bytes a.raw out.raw
}

@test "killed at any moment, it goes on where it was" {
	random_bytes 10 40000000 >a.raw
	vmbackup backup --vm m a.raw
	local stored
	for stored in 1 4000000 12000000; do
		killed_at two $stored copy --to two --to-password-file key2 --rate-limit 5M
		run two verify
		assert_success
	done
	copy
	two restore m out.raw
	assert_same_bytes a.raw out.raw
	[ "$(du -sm two | cut -f1)" -lt 50 ] || fail "$(find two -type f -size +1k -printf "%p %s\n")"
}

@test "several copies at once bring each snapshot once" {
	local i pids=()
	for i in 1 2 3; do
		random_bytes $i 3000000 >$i.raw
		vmbackup backup --vm m$i $i.raw
	done
	for i in 1 2 3; do
		copy &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	[ "$(two list --json | jq -r 'map(.vm) | sort | join(",")')" = m1,m2,m3 ]
	run two verify
	assert_success
}

@test "a repository is not copied into itself, whatever it is called" {
	random_bytes 11 100000 >a.raw
	vmbackup backup --vm m a.raw
	ln -s repo link
	cp -a repo mirror
	local to
	for to in repo link "dir:$PWD/repo/../repo" mirror; do
		refused 2 vmbackup copy --to "$to"
	done
	[[ $stderr == *mirror* ]]
	refused 2 vmbackup copy --dry-run --to link
	[ "$(vmbackup list --json | jq length)" = 1 ]
}
