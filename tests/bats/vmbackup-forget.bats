#!/usr/bin/env bats
# vmbackup forget: which snapshots go, and why; what stays.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
	random_image a.raw 300000 1 3
}

# backups N VM - so many snapshots of a machine
backups() {
	local i
	for ((i = 0; i < $1; i++)); do vmbackup backup --vm "$2" a.raw; done
}

# backup_at TIME VM [OPTION]... - a snapshot that says it was made then
backup_at() {
	local at
	at=$(date -u -d "$1" +%s)
	shift
	LD_PRELOAD=$VMKIT_TOOLS/clock.so TEST_TIME=$at vmbackup backup --vm "$@" a.raw
}

seqs() { vmbackup list --json | jq -r 'map(.seq) | join(",")'; }

@test "by number, per machine; the other machines stay" {
	backups 4 web
	backups 2 db
	run vmbackup forget --dry-run --keep-last 2
	assert_success
	[ "${#lines[@]}" = 6 ]
	assert_line --index 0 --regexp '^would remove web@[0-9a-f]{8} [-0-9]{10} [:0-9]{8}: no rule keeps it$'
	assert_line --index 3 --regexp '^keep web@.*: last, newest$'
	assert_line --index 4 --regexp '^keep db@.*: last$'
	[ "$(seqs)" = 1,2,3,4,5,6 ]
	run vmbackup forget --keep-last 1 --vm web
	assert_success
	assert_output ''
	[ "$(seqs)" = 4,5,6 ]
	run vmbackup forget --json --keep-last 1
	assert_success
	assert_schema vmbackup-forget
	[ "$(json '[.kept, .removed, .dry_run] | join(" ")')" = '2 1 false' ]
	[ "$(json '.snapshots | map(select(.keep | not) | .seq) | join(",")')" = 5 ]
	[ "$(seqs)" = 4,6 ]
	run vmbackup verify
	assert_success
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
}

# bats test_tags=release
@test "by the calendar in UTC, in the order of the repository, with the reason for each" {
	[ -e "$VMKIT_TOOLS/clock.so" ] || fail "clock.so is missing: make tools"
	export TZ=Pacific/Kiritimati # 14 hours ahead
	backup_at '2025-12-31 22:00Z' web
	backup_at '2026-01-01 01:00Z' web
	backup_at '2026-01-10 12:00Z' web --tag golden
	backup_at '2026-02-01 10:00Z' web
	backup_at '2026-02-01 11:00Z' web
	backup_at '2026-02-02 10:00Z' web
	backup_at '2036-01-01 00:00Z' web
	backup_at '2026-02-03 10:00Z' web
	cat >want <<-END
		1 true monthly,yearly
		2 false no rule keeps it
		3 true monthly,tag
		4 false no rule keeps it
		5 true weekly
		6 true daily
		7 true dated in the future
		8 true last,daily,weekly,monthly,yearly,newest
	END
	LD_PRELOAD=$VMKIT_TOOLS/clock.so TEST_TIME=$(date -d '2026-02-03 12:00Z' +%s) vmbackup forget --json \
		--keep-last 1 --keep-daily 2 --keep-weekly 2 --keep-monthly 3 --keep-yearly 2 --keep-tag golden >out
	assert_schema vmbackup-forget out
	jq -r '.snapshots[] | "\(.seq) \(.keep) \(.reasons | join(","))"' out | diff want -
	[ "$(seqs)" = 1,3,5,6,7,8 ]
	# Nothing new happened: a year later as well, nothing but what the rules say goes, and never the newest.
	LD_PRELOAD=$VMKIT_TOOLS/clock.so TEST_TIME=$(date -d '2027-02-03 12:00Z' +%s) vmbackup forget --keep-within 7d
	[ "$(seqs)" = 7,8 ]
}

@test "by name; a name that could mean another snapshot is refused" {
	backups 3 web
	backups 1 deadbeef
	local second
	second=$(vmbackup list --json web | jq -r '.[1].id')
	refused 2 vmbackup forget web
	refused 2 vmbackup forget deadbeef
	refused 2 vmbackup forget "web@$(date +%Y-%m-%d)"
	refused 2 vmbackup forget "${second:0:3}"
	refused 4 vmbackup forget web@00000000
	refused 4 vmbackup forget "web@$second" nobody@latest
	refused 2 vmbackup forget --keep-last 1 "web@$second"
	refused 2 vmbackup forget --vm web "web@$second"
	[ "$(seqs)" = 1,2,3,4 ]
	run vmbackup forget -v "web@${second:0:8}" deadbeef@latest
	assert_success
	assert_line --index 0 --regexp "^remove web@${second:0:8} .*: named$"
	[ "$(seqs)" = 1,3 ]
}

@test "what is refused" {
	backups 3 web
	refused 2 vmbackup forget
	refused 2 vmbackup forget --vm web
	refused 2 vmbackup forget --dry-run
	refused 4 vmbackup forget --vm nobody --keep-last 1
	refused 1 vmbackup forget --keep-last 1 --max-delete 1
	run --separate-stderr vmbackup forget --dry-run --keep-last 1 --max-delete 1
	assert_status 1
	[ "${#lines[@]}" = 3 ]
	[ "$(seqs)" = 1,2,3 ]
	vmbackup forget --keep-last 1 --max-delete 2
	[ "$(seqs)" = 3 ]
}

@test "a number is never used again" {
	backups 3 web
	vmbackup forget web@latest
	[ "$(seqs)" = 1,2 ]
	backups 1 web
	[ "$(seqs)" = 1,2,4 ]
	vmbackup forget web@latest
	vmbackup forget web@latest
	vmbackup forget web@latest
	[ "$(seqs)" = '' ]
	backups 1 web
	[ "$(seqs)" = 5 ]
}

@test "a manifest that cannot be read stays, and is told of" {
	backups 3 web
	truncate -s 100 repo/snapshots/0000000000000001
	run --separate-stderr vmbackup forget --json --keep-last 1
	assert_status 3
	[ "$(json '[.kept, .removed, .unreadable] | join(" ")')" = '1 1 1' ]
	assert_file_exist repo/snapshots/0000000000000001
	assert_file_not_exist repo/snapshots/0000000000000002
}

@test "--expect-at-least: an older state of the repository is not taken for the present one" {
	backups 2 web
	cp -a repo older
	backups 1 db
	run vmbackup --expect-at-least 3 list
	assert_success
	vmbackup backup --expect-at-least 3 --vm web a.raw
	# What was put back knows of two.
	rm -r repo
	mv older repo
	refused 8 vmbackup --expect-at-least 4 list
	[[ $stderr == *"rolled back"*" 2,"* ]]
	refused 8 vmbackup --expect-at-least 3 restore web out.raw
	assert_not_exists out.raw
	# A name is no snapshot, and another's name does not fit.
	cp repo/snapshots/0000000000000002 repo/snapshots/0000000000000009
	refused 8 vmbackup --expect-at-least 4 list
	rm repo/snapshots/*
	refused 8 vmbackup --expect-at-least 1 list
}
