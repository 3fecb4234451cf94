#!/usr/bin/env bats
# Parity: damaged sectors are healed when they are read and by verify --heal, never silently; what is beyond it is named.
load common
load vmbackup

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
	random_bytes 61 12000000 >a.raw
	vmbackup backup --vm web a.raw
	pack=$(biggest_pack)
	sum=$(sha256 "$pack")
	chmod u+w "$pack"
}

# burst OFFSET LENGTH - random bytes in the pack
burst() { random_bytes 99 "$2" | dd of="$pack" bs=64k iflag=fullblock oflag=seek_bytes seek="$1" conv=notrunc status=none; }
restored() {
	vmbackup restore --force web out.raw
	assert_same_bytes a.raw out.raw
}

@test "a restore heals what it reads, says so, and writes it back" {
	burst $((1000 * 4096)) 4096
	burst 40960 100000
	run --separate-stderr vmbackup restore web out.raw
	assert_success
	assert_same_bytes a.raw out.raw
	[[ $stderr == *"warning: packs/"*": damage was healed by parity: bytes 40960-"*", 4096000-4100095"* ]] || fail "$stderr"
	[ "$(sha256 "$pack")" = "$sum" ]
	run --separate-stderr vmbackup verify
	assert_success
	[ -z "$output$stderr" ]
	[ -z "$(find repo/tmp repo/bad -type f)" ]
}

@test "verify finds, verify --heal heals: header, frames, parity, table, footer, the end cut off" {
	local size at
	size=$(stat -c %s "$pack")
	cp -a repo clean
	for at in 0 4096 5000000 12100000 $((size / 4096 * 4096 - 4096)) $((size - 20)) cut; do
		rm -rf repo && cp -a clean repo
		chmod u+w "$pack"
		if [ $at = cut ]; then truncate -s $((size - 300000)) "$pack"; else burst $at 20; fi
		run vmbackup verify
		assert_status 8
		run --separate-stderr vmbackup verify --heal --json
		assert_success
		assert_schema vmbackup-verify
		[ "$(json '"\(.ok) \(.healed) \(.faults)"')" = 'true 1 0' ] || fail "$at: $output $stderr"
		[[ $stderr == *': damage was healed by parity:'* ]] || fail "$at: $stderr"
		run vmbackup verify
		assert_success
		[ -z "$(find repo/bad -type f)" ] || fail "still known as bad"
		cmp -n $((size - 200000)) "$pack" clean/"${pack#repo/}"
		restored
	done
}

@test "beyond what parity can heal: reported with its ranges, never wrong data, and stored again by the next backup" {
	burst 2000000 1500000
	run --separate-stderr vmbackup restore web out.raw
	assert_status 8
	assert_not_exists out.raw
	run vmbackup verify --heal
	assert_status 8
	assert_output --regexp 'snapshot web@[0-9a-f]{8} disk vda: bytes [0-9]+-[0-9]+ \([0-9]+ bytes\): '
	vmbackup backup --vm web --full a.raw
	restored
}

@test "a read-only repository is healed in memory" {
	burst 4096000 4096
	cp -a repo ro-copy
	chmod -R a-w,a+rX ro-copy
	run --separate-stderr as_nobody env PATH="$PATH" vmbackup -r ro-copy restore web - >/dev/null
	assert_success
	[[ $stderr == *'healed by parity: bytes 4096000-4100095; not written back: '* ]] || fail "$stderr"
	chmod -R u+w ro-copy
}

@test "a healer that was killed leaves nothing that a backup stumbles over" {
	burst 4096000 4096
	cp "$pack" "repo/tmp/0-heal+$(basename "$pack")"
	random_bytes 62 100000 >b.raw
	vmbackup backup --vm b b.raw
	[ -z "$(ls repo/tmp)" ]
	restored
}

@test "how much parity: none, more, refused" {
	local with
	with=$(du -sb repo/packs | cut -f1)
	vmbackup -r none init --no-encryption --parity 0
	vmbackup -r none backup --vm web a.raw
	vmbackup -r much init --no-encryption --parity 50
	vmbackup -r much backup --vm web a.raw
	[ "$with" -gt 12400000 ]
	[ "$with" -lt 12700000 ]
	[ "$(du -sb none/packs | cut -f1)" -lt 12100000 ]
	pack=$(find much/packs -type f -size +1M)
	chmod u+w "$pack"
	burst 2000000 5500000
	run vmbackup -r much verify --heal
	assert_success
	vmbackup -r much restore web out.raw
	assert_same_bytes a.raw out.raw
	refused 2 vmbackup -r x init --no-encryption --parity 101
}

# the biggest pack is damaged beyond parity, and the other repository has another key
second() {
	echo two >key2
	VMKIT_PASSWORD_FILE=key2 vmbackup -r two init --scrypt-log2n=10
	vmbackup copy --to two --to-password-file key2
}

@test "repair: parity heals, and says so" {
	burst 4096000 4096
	run --separate-stderr vmbackup repair --json
	assert_success
	assert_schema vmbackup-repair
	[ "$(json '"\(.ok) \(.healed) \(.faults)"')" = 'true 1 0' ]
	[[ $stderr == *'healed by parity: bytes 4096000-4100095'* ]] || fail "$stderr"
	[ "$(sha256 "$pack")" = "$sum" ]
	run vmbackup repair
	assert_success
	assert_output ''
}

@test "repair: what is beyond parity comes from another repository" {
	second
	burst 2000000 1500000
	run vmbackup repair
	assert_status 8
	assert_output --partial 'disk vda: bytes '
	refused 4 vmbackup repair --from three
	run --separate-stderr vmbackup repair --json --from two --from-password-file key2
	assert_success
	assert_schema vmbackup-repair
	[ "$(json .damaged_snapshots)" = 0 ]
	[ "$(json .fetched_bytes)" -ge 1400000 ]
	[ "$(json .fetched_bytes)" -le 5000000 ]
	restored
	run vmbackup verify web
	assert_success
	# Without the run that names the new pack (a collector without room gives runs up) a reader finds it all the same.
	cp -a repo before
	find repo/index -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2- | xargs rm -f
	restored
	rm -rf repo && mv before repo
	# The damaged pack is of no use any more: the next prune rewrites it, and there is nothing left to report.
	run vmbackup verify
	assert_status 8
	vmbackup prune
	assert_not_exists "$pack"
	run vmbackup verify
	assert_success
	assert_output ''
	# So with one that is lost.
	rm -f "$(biggest_pack)"
	vmbackup repair --from two --from-password-file key2
	run vmbackup verify
	assert_status 8
	run vmbackup prune --json --dry-run
	[ "$(json .collection.removed_packs)" = 0 ] || fail "$output"
	run vmbackup prune --json
	assert_success
	[ "$(json .collection.removed_packs)" = 0 ] || fail "$output"
	run vmbackup verify
	assert_success
	assert_output ''
	[ -z "$(find repo/bad -type f)" ]
	restored
}

@test "repair: lost packs, pages with them, and a snapshot that the other one does not have" {
	second
	random_bytes 63 2000000 >b.raw
	vmbackup backup --vm other b.raw
	rm -rf repo/packs/*
	run --separate-stderr vmbackup repair --from two --from-password-file key2
	assert_status 8
	[[ $stderr == *'other@'*'disk vda: the other repository does not have it'* ]] || fail "$stderr"
	restored
	run vmbackup restore other x.raw
	assert_failure
	assert_not_exists x.raw
	# and a damaged other one is no source
	pack=$(find two/packs -type f -size +1M)
	chmod u+w "$pack"
	rm -rf repo/packs/*
	burst 2000000 1500000
	run vmbackup repair --from two --from-password-file key2
	assert_status 8
	run vmbackup restore web y.raw
	assert_failure
	assert_not_exists y.raw
}

@test "sectors that cannot be read are healed; more of them than parity has leave the pack as it is" {
	library=$(preload badsector.so)
	bad_sectors() { LD_PRELOAD=$library BAD_PATH=/packs/ BAD_FROM=$1 BAD_TO=$2 "${@:3}"; }
	# More at the front than one column can give back, and one elsewhere that can be
	run --separate-stderr bad_sectors 2000000 5000000 vmbackup restore web out.raw
	assert_status 8
	[ "$(sha256 "$pack")" = "$sum" ] || fail "the pack was written: $stderr"
	run --separate-stderr bad_sectors 2000000 5000000 vmbackup verify --heal
	assert_status 8
	[ "$(sha256 "$pack")" = "$sum" ] || fail "the pack was written: $stderr"
	# What the disk gives again is no longer on record as damaged.
	[ -n "$(ls repo/bad)" ]
	run vmbackup verify --quick
	assert_status 8
	run vmbackup verify
	assert_success
	[ -z "$(ls repo/bad)" ]
	# What is healed whole is written anew, where the disk may take it
	run --separate-stderr bad_sectors 2000000 2050000 vmbackup restore web out.raw
	assert_success
	assert_same_bytes a.raw out.raw
	[[ $stderr == *": damage was healed by parity: bytes 1998848-2052095"* ]] || fail "$stderr"
	[ "$(sha256 "$pack")" = "$sum" ]
}

@test "repair: not from itself, but from a mirror" {
	second
	cp -a repo mirror
	ln -s repo link
	burst 2000000 1500000
	refused 2 vmbackup repair --from repo
	refused 2 vmbackup repair --from link
	run vmbackup repair --from mirror
	assert_success
	restored
}

# another_run - a machine "other" of which nothing is kept; $run is the index run of its pack alone, $gone the pack
another_run() {
	library=$(preload badsector.so)
	random_bytes 77 3000000 >other.raw
	touch marker
	vmbackup backup --vm other other.raw
	run=$(find repo/index -type f -newer marker)
	gone=$(find repo/packs -type f -newer marker)
	[ -f "$run" ] && [ -f "$gone" ]
	vmbackup forget other@latest
}

@test "prune: an index run with a sector that cannot be read is made again, and names nothing that is gone" {
	another_run
	run_split env LD_PRELOAD="$library" BAD_PATH=/index/"$(basename "$run")" BAD_FROM=128 BAD_TO=2176 vmbackup prune
	assert_status 0
	assert_not_exists "$run"
	run vmbackup verify
	assert_success
	vmbackup restore web - | cmp - a.raw
}

@test "an index run whose first sector cannot be read: all goes on, and prune leaves none that names what is gone" {
	another_run
	local verb
	for verb in 'restore web out.raw' 'list' 'verify --quick' 'backup --vm web a.raw' 'prune'; do
		# shellcheck disable=SC2086 # words
		run_split env LD_PRELOAD="$library" BAD_PATH=/index/"$(basename "$run")" BAD_FROM=0 BAD_TO=512 vmbackup $verb
		assert_status 0
	done
	assert_same_bytes a.raw out.raw
	assert_not_exists "$gone"
	assert_not_exists "$run"
	run vmbackup verify
	assert_success
	run vmbackup backup --json --vm other other.raw
	[ "$(json .new_bytes)" = 3000000 ]
	vmbackup restore other - | cmp - other.raw
}

@test "prune: a condemned pack whose table the disk does not give stays until it can be looked into" {
	another_run
	local size
	size=$(stat -c %s "$gone")
	run_split env LD_PRELOAD="$library" BAD_PATH=/"$(basename "$gone")" BAD_FROM=4096 BAD_TO="$size" vmbackup prune
	assert_status 0
	assert_exists "$gone"
	run_split vmbackup prune
	assert_status 0
	assert_not_exists "$gone"
	run vmbackup verify
	assert_success
}
