#!/usr/bin/env bats
# vmbackup key, stats and unlock.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo VMKIT_PASSWORD_FILE=$PWD/one
	echo 'first one' >one
	echo 'second one' >two
	vmbackup init --scrypt-log2n 10
	random_image a.raw 5000000 1 10
	vmbackup backup --vm web a.raw
}

objects() { (cd repo && find packs index snapshots config -type f -exec sha256sum {} + | sort); }

current() { vmbackup key list --json | jq -r '.[] | select(.current) | .id'; }

@test "several keys open the repository; no data is rewritten" {
	objects >before
	run vmbackup key add --json --new-password-file two --scrypt-log2n 10
	assert_success
	assert_schema vmbackup-key
	local second
	second=$(json '.[0].id')
	run vmbackup key list --json
	assert_schema vmbackup-key
	[ "$(json 'map([.current, .generated, .damaged]) | sort | tostring')" = \
		'[[false,false,false],[true,false,false]]' ]
	run vmbackup key list
	[ "${#lines[@]}" = 3 ]
	assert_line --regexp '^[0-9a-f]{8} +passphrase +in use$'
	VMKIT_PASSWORD_FILE=$PWD/two vmbackup restore web - | cmp - a.raw
	[ "$(VMKIT_PASSWORD_FILE=$PWD/two current)" = "$second" ]
	# A random one, for machines
	vmbackup key add --new-key random.key
	[ "$(stat -c %a random.key)" = 600 ]
	VMKIT_PASSWORD_FILE=$PWD/random.key vmbackup restore web - | cmp - a.raw
	refused 5 vmbackup key add --new-key random.key
	# The second and the random one go.
	vmbackup key remove "${second:0:8}"
	VMKIT_PASSWORD_FILE=$PWD/two refused 12 vmbackup list
	vmbackup key remove "$(vmbackup key list --json | jq -r '.[] | select(.generated) | .id')"
	VMKIT_PASSWORD_FILE=$PWD/random.key refused 12 vmbackup list
	[ "$(vmbackup key list --json | jq length)" = 1 ]
	objects | diff before -
}

@test "a key is changed; the last one is not removed" {
	local first
	first=$(current)
	refused 2 vmbackup key remove "$first"
	[[ $stderr == *"last one"* ]]
	vmbackup key change --new-password-file two --scrypt-log2n 10
	refused 12 vmbackup list
	VMKIT_PASSWORD_FILE=$PWD/two vmbackup restore web - | cmp - a.raw
	export VMKIT_PASSWORD_FILE=$PWD/two
	[ "$(current)" != "$first" ]
	[ "$(vmbackup key list --json | jq length)" = 1 ]
	vmbackup key change --new-key random.key
	VMKIT_PASSWORD_FILE=$PWD/random.key vmbackup list >/dev/null
	refused 12 vmbackup list
}

@test "what is refused" {
	refused 2 vmbackup key
	refused 2 vmbackup key lsit
	[[ $stderr == *"list"* ]]
	refused 2 vmbackup key remove
	refused 2 vmbackup key list more
	refused 2 vmbackup key list --new-key x
	refused 2 vmbackup key add --new-key x --new-password-file two
	refused 4 vmbackup key remove 0000
	refused 4 vmbackup key remove ''
	refused 4 vmbackup key add --new-password-file missing
	: >empty
	refused 12 vmbackup key add --new-password-file empty
	refused 12 setsid -w vmbackup key add
	VMKIT_PASSWORD_FILE=$PWD/two refused 12 vmbackup key list
	VMKIT_PASSWORD_FILE=$PWD/two refused 12 vmbackup key add --new-key x
	assert_not_exists x
	vmbackup -r plain init --no-encryption
	refused 2 vmbackup -r plain key list
	for _ in 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do vmbackup key add --new-password-file two --scrypt-log2n 10; done
	refused 1 vmbackup key add --new-password-file two --scrypt-log2n 10
	[ "$(vmbackup key list --json | jq length)" = 16 ]
}

@test "stats: sums of what the snapshots say, and of what is there" {
	random_bytes 5 3000000 >b.raw
	cp b.raw c.raw
	vmbackup backup --vm db b.raw
	# What repeats in one disk is found or not, by where its key cuts it: one run in eleven
	repeated=$(vmbackup stats --json | jq '.data_bytes - .unique_bytes')
	vmbackup backup --vm db2 c.raw
	run vmbackup stats --json
	assert_success
	assert_schema vmbackup-stats
	[ "$(json '[.snapshots, .encrypted, (.machines | map(.vm) | join(","))] | join(" ")')" = '3 true db,db2,web' ]
	[ "$(json .virtual_bytes)" = 11000000 ]
	[ "$(json '.data_bytes - .unique_bytes')" = $((repeated + 3000000)) ]
	[ "$(json .pack_bytes)" = "$(find repo/packs -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')" ]
	[ "$(json '.machines[1] | [.new_bytes, .data_bytes] | join(" ")')" = '0 3000000' ]
	[ "$(json '.deduplication > 1.2 and .total > 1')" = true ]
	run vmbackup stats
	assert_success
	assert_line --regexp '^snapshots +3 of 3 machines, 10\.[0-9] MiB with'
	assert_line --regexp '^db2 +1 '
	vmbackup -r empty init --scrypt-log2n 10
	run vmbackup -r empty stats --json
	assert_schema vmbackup-stats
	[ "$(json '[.snapshots, .packs, .deduplication] | join(" ")')" = '0 0 0' ]
}

@test "unlock: nothing is locked; who is at work is not disturbed" {
	run vmbackup unlock
	assert_success
	assert_output 'no process uses the repository: nothing is locked'
	mkfifo out
	vmbackup restore web - >out 3>&- &
	local reader=$!
	exec 7<out
	head -c 1000 <&7 >first
	run vmbackup unlock --json
	assert_success
	assert_schema vmbackup-unlock
	[ "$(json '[.in_use, .prune_running] | join(" ")')" = 'true false' ]
	kill -KILL $reader
	exec 7<&-
	wait $reader || true
	run vmbackup unlock --json
	[ "$(json .in_use)" = false ]
}
