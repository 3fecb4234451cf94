#!/usr/bin/env bats
# Damage: flipped bytes, lost and cut files, killed runs, full disks. Nothing wrong is ever restored, every fault is named,
# the next backup of the same data heals.
load common
load vmbackup

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption --parity 0
}

@test "a flipped byte: found with its ranges, healed by the next backup" {
	local pack
	random_bytes 41 20000000 >a.raw
	vmbackup backup --vm web a.raw
	cp -a a.raw same.raw
	vmbackup backup --vm other same.raw
	# in a payload: a blob table is not needed to restore, so a flip there is a fault that costs no data
	pack=$(biggest_pack)
	flip "$pack" "$(payload "$pack" 9)"
	run vmbackup verify
	assert_status 8
	assert_output --regexp 'snapshot web@[0-9a-f]{8} disk vda: bytes [0-9]+-[0-9]+ \([0-9]+ bytes\): '
	assert_output --regexp 'snapshot other@[0-9a-f]{8} disk vda: bytes '
	run vmbackup verify --json
	assert_status 8
	output=${output%%$'\n''{"error"'*}
	assert_schema vmbackup-verify
	[ "$(json .ok)" = false ]
	[ "$(json .damaged_snapshots)" = 2 ]
	run --separate-stderr vmbackup restore web out.raw
	assert_status 8
	assert_not_exists out.raw
	run vmbackup verify --quick web
	assert_status 8

	run vmbackup backup --json --vm web a.raw
	assert_success
	[ "$(json .new_bytes)" -gt 0 ]
	[ "$(json .new_bytes)" -le 4000000 ]
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
	vmbackup restore other out2.raw
	assert_same_bytes a.raw out2.raw
	run vmbackup verify web
	assert_success
}

@test "a flipped byte in a frame's blob table: verify says so, and the data is right" {
	local pack
	random_bytes 41 5000000 >a.raw
	vmbackup backup --vm web a.raw
	pack=$(biggest_pack)
	flip "$pack" $(($(frame "$pack" 2) + 40))
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
	run vmbackup verify
	assert_status 8
	assert_output --regexp 'packs/[0-9a-f/]+: frame at [0-9]+: blob table: '
	run vmbackup verify --quick
	assert_status 8
}

@test "an unchanged file whose backup is damaged is read again" {
	local pack
	random_bytes 42 8000000 >a.raw
	sleep 3.2
	vmbackup backup --vm web a.raw
	run vmbackup backup --json --vm web a.raw
	[ "$(json .read_bytes)" = 0 ]
	pack=$(biggest_pack)
	flip "$pack" "$(payload "$pack" 3)"
	run vmbackup verify
	assert_status 8
	run vmbackup backup --json --vm web a.raw
	[ "$(json .new_bytes)" -gt 0 ]
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
	run vmbackup backup --json --vm web a.raw
	[ "$(json .read_bytes)" = 0 ]
}

@test "flips everywhere: right data or an error, never wrong data" {
	random_image a.raw 3000000 43 40
	vmbackup backup --vm web a.raw
	local pack size off i
	pack=$(biggest_pack)
	size=$(stat -c %s "$pack")
	cp -a repo clean
	for ((i = 0; i < 12; i++)); do
		off=$((size * i / 12 + i))
		rm -rf repo && cp -a clean repo
		flip "$pack" $off
		rm -f out.raw
		run vmbackup restore web out.raw
		if [ "$status" = 0 ]; then
			assert_same_bytes a.raw out.raw
		else
			[ "$status" = 8 ] || [ "$status" = 4 ] || fail "offset $off: status $status: $output"
			assert_not_exists out.raw
		fi
		run vmbackup verify
		assert_status 8
	done
}

@test "lost objects: a pack, an index run, a manifest" {
	random_image a.raw 9000000 44 40
	vmbackup backup --vm web a.raw
	cp -a repo clean
	rm -f "$(biggest_pack)"
	run vmbackup verify
	assert_status 8
	run vmbackup restore web out.raw
	assert_failure
	assert_not_exists out.raw
	vmbackup backup --vm web --full a.raw
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw

	rm -rf repo out.raw && cp -a clean repo
	rm -f repo/index/*
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw

	rm -rf repo && cp -a clean repo
	local m
	m=$(find repo/snapshots -type f)
	flip "$m" $(($(stat -c %s "$m") / 2))
	run --separate-stderr vmbackup list
	assert_status 3
	run vmbackup verify
	assert_status 8
	assert_output --partial snapshots/0000000000000001
	vmbackup backup --vm web a.raw
	vmbackup restore web@latest again.raw
	assert_same_bytes a.raw again.raw
}

@test "killed at any moment: old snapshots stay, the next run works and uses what was stored" {
	random_bytes 45 4000000 >old.raw
	vmbackup backup --vm old old.raw
	random_bytes 46 60000000 >a.raw
	local stored pid
	for stored in 0 1 100000 3000000 8000000 12000000; do
		killed_at repo $stored backup --vm web --rate-limit 5M a.raw
		run vmbackup verify
		assert_success
	done
	run vmbackup backup --json --vm web a.raw
	assert_success
	[ "$(json .new_bytes)" -lt 60000000 ] || fail "nothing was adopted"
	run vmbackup verify
	assert_success
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
	vmbackup restore old out2.raw
	assert_same_bytes old.raw out2.raw
	# What lies in packs is the data once, and not once for each killed run.
	[ "$(du -sm repo | cut -f1)" -lt 75 ]
}

@test "interrupted: 128+N, and nothing is wrong afterwards" {
	random_bytes 47 30000000 >a.raw
	vmbackup backup --vm web --rate-limit 10M a.raw &
	local pid=$! rc=0
	wait_for hears $pid
	sleep 0.3
	kill -TERM $pid
	wait $pid || rc=$?
	[ "$rc" = 143 ] || fail "status $rc"
	run vmbackup list
	assert_output ''
	run vmbackup verify
	assert_success
}

@test "a full repository: status 13, older snapshots stay, and it goes on when there is room" {
	require_root
	random_bytes 48 2000000 >old.raw
	random_bytes 49 20000000 >a.raw
	mkdir small
	mount -t tmpfs -o size=12m tmpfs small
	export VMKIT_REPOSITORY=$PWD/small/repo
	local failed=
	vmbackup init --no-encryption --parity 0 || failed=init
	vmbackup backup --vm old old.raw || failed=old
	run --separate-stderr vmbackup backup --vm web a.raw
	[ "$status" = 13 ] || failed="status $status: $stderr"
	vmbackup restore old out.raw || failed=restore
	vmbackup verify || failed=verify
	mount -o remount,size=60m small
	vmbackup backup --vm web a.raw || failed=again
	vmbackup restore web out2.raw || failed=restore2
	vmbackup verify || failed=verify2
	umount small
	[ -z "$failed" ] || fail "$failed"
	assert_same_bytes old.raw out.raw
	assert_same_bytes a.raw out2.raw
}
