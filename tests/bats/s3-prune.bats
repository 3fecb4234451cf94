#!/usr/bin/env bats
# vmbackup prune on S3, against a small server whose clock, answers and locks are at hand (tests/s3server.py): leases, who is
# taken for dead, locks, healing. What a real server does is vmbackup-s3.bats.
load common
load s3
load vmbackup

@test "prune: space is freed, what is needed stays, and no lease is left" {
	vmbackup init --no-encryption
	random_bytes 1 5000000 >a.raw
	random_bytes 2 5000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	cp a.raw half.raw
	random_bytes 3 2500000 | dd of=half.raw conv=notrunc status=none
	vmbackup backup --vm a half.raw
	[ "$(keys packs/)" = 3 ]
	run vmbackup prune --json --dry-run --keep-last 1
	assert_success
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .collection.removed_packs, .collection.rewritten_packs] | join(" ")')" = '1 1 1' ]
	run vmbackup prune --json --keep-last 1
	assert_success
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .collection.removed_packs, .collection.rewritten_packs, .collection.pending_packs] | join(" ")')" = '1 1 1 0' ]
	[ "$(keys leases/)" = 0 ]
	[ "$(keys epochs/)" = 1 ]
	run vmbackup verify
	assert_success
	assert_output ''
	vmbackup restore a - | cmp - half.raw
	vmbackup restore b - | cmp - b.raw
	vmbackup prune a@latest b@latest
	[ "$(keys packs/)" = 0 ]
	run vmbackup unlock
	assert_output 'no process uses the repository: nothing is locked'
}

@test "prune beside a backup of another host: what it may need stays until it has ended" {
	vmbackup init --no-encryption
	random_bytes 6 4000000 >a.raw
	random_bytes 7 4000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	slow_backup s a.raw 1500000
	run vmbackup unlock --json
	assert_schema vmbackup-unlock
	[ "$(json '[.in_use, .prune_running, .grace_seconds] | join(" ")')" = 'true false 1800' ]
	run vmbackup prune --json a@latest b@latest
	assert_success
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '0 2' ]
	# Who begins now counts nothing of it as there.
	run vmbackup backup --json --vm c b.raw
	[ "$(json .new_bytes)" = 4000000 ]
	run --separate-stderr vmbackup prune --wait=200ms
	assert_status 6
	tail -c +1500001 a.raw >&8
	exec 8>&-
	wait "$slow"
	[ "$(vmbackup show --json s | jq '.disks[0].new_bytes')" = 0 ]
	run vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ]
	vmbackup restore s - | cmp - a.raw
	vmbackup restore c - | cmp - b.raw
	run vmbackup verify
	assert_success
}

@test "a backup that was killed on another machine holds up a collection for half an hour of the server's clock, and no longer" {
	vmbackup init --no-encryption
	random_bytes 6 2000000 >a.raw
	vmbackup backup --vm a a.raw
	slow_backup s a.raw 1500000
	kill -9 "$slow"
	exec 8>&-
	wait "$slow" || true
	run vmbackup prune --json a@latest
	assert_schema vmbackup-prune
	[ "$(json .collection.pending_packs)" = 1 ]
	# It is said whose process holds it up, and since when.
	local me
	me="process $slow of $(hostname), since $(date -u +%Y-%m-%d)T*Z"
	[ "$(json '.collection.holders | map([.host, .pid] | join(" ")) | join(",")')" = "$(hostname) $slow" ] || fail "$output"
	[ "$(json '.collection.holders[0].silent_seconds < 60')" = true ]
	control '{"clock": 1700}'
	run --separate-stderr vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	[ "$(json '.collection.holders[0].silent_seconds >= 1699')" = true ]
	run --separate-stderr vmbackup prune -v
	# shellcheck disable=SC2053 # a pattern
	[[ ${lines[-1]} == $me": last heard of 28 minutes ago, dead after 30" ]] || fail "$output"
	run --separate-stderr vmbackup unlock
	# shellcheck disable=SC2053
	[[ ${lines[-1]} == $me": last heard of 28 minutes ago, dead after 30" ]] || fail "$output"
	run --separate-stderr vmbackup unlock --json
	assert_schema vmbackup-unlock
	[ "$(json '.holders | length')" = 1 ]
	control '{"clock": 1900}'
	run --separate-stderr vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ]
	[ "$(json .collection.holders)" = '[]' ]
	[ "$(keys leases/)" = 0 ]
	[ "$(keys packs/)" = 0 ]
}

@test "a backup that was killed on this machine holds up nothing; only what is known counts" {
	vmbackup init --no-encryption
	random_bytes 6 2000000 >a.raw
	vmbackup backup --vm a a.raw
	ln -s "$PWD/cache" cache-s
	slow_backup s a.raw 1500000
	local alive=$slow file
	run vmbackup prune --json a@latest
	[ "$(json .collection.pending_packs)" = 1 ]
	kill -9 "$alive"
	exec 8>&-
	wait "$alive" || true
	[ "$(keys leases/s-)" = 1 ]
	# Of another start of a machine, or copied to another place: nobody knows.
	file=$(echo cache/s3/*/sessions/*)
	cp "$file" was
	for at in 8 48 56; do
		flip "$file" $at
		run vmbackup prune --json
		[ "$(json .collection.pending_packs)" = 1 ] || fail "byte $at: $output"
		flip "$file" $at
	done
	cmp "$file" was
	VMKIT_CACHE_DIR=$PWD/other run vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	run vmbackup unlock --json
	assert_schema vmbackup-unlock
	[ "$(json .holders)" = '[]' ]
	run vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ] || fail "$output"
	[ "$(keys leases/)" = 0 ]
	[ "$(keys packs/)" = 0 ]
	# A day later nothing of it is kept here either.
	touch -d '2 days ago' "$file"
	vmbackup list
	[ -z "$(ls cache/s3/*/sessions)" ]
}

@test "what a process sent before it was killed on this machine is waited for: a manifest, a removal" {
	vmbackup init --no-encryption
	random_bytes 6 2000000 >a.raw
	random_bytes 7 2000000 >b.raw
	vmbackup backup --vm a a.raw
	local verb path pid i
	for verb in "backup --vm b b.raw" "prune a@latest"; do
		path=/snapshots/
		[[ $verb == backup* ]] || path=/packs/
		control "{\"clock\": 0, \"faults\": [{\"method\": \"$([[ $verb == backup* ]] && echo PUT || echo DELETE)\", \"path\": \"$path\", \"kind\": \"stall\", \"count\": 1}]}"
		# shellcheck disable=SC2086 # words
		vmbackup $verb 2>err 3>&- &
		pid=$!
		for ((i = 0; i < 1200; i++)); do
			[ "$(requests '[A-Z]*' "$path.* stall")" = 0 ] || break
			sleep 0.02
		done
		kill -9 $pid
		wait $pid || true
		control '{"faults": []}'
		if [[ $verb == backup* ]]; then
			run vmbackup prune --json a@latest
			[ "$(json .collection.pending_packs)" -gt 0 ] || fail "$output"
		else
			refused 6 vmbackup prune
		fi
		# past what the server takes, and before the lease runs out
		control '{"clock": 1220}'
		run --separate-stderr vmbackup prune --json
		assert_success
		[ "$(json .collection.pending_packs)" = 0 ] || fail "$output"
		[ "$(keys leases/)" = 0 ]
		[ "$(keys packs/)" = 0 ]
		vmbackup backup --vm a a.raw 2>/dev/null
	done
}

@test "a backup that was stopped while it waited for an answer: what may still arrive is waited for" {
	vmbackup init --no-encryption
	random_bytes 6 2000000 >a.raw
	random_bytes 7 2000000 >b.raw
	vmbackup backup --vm a a.raw
	control '{"clock": 0, "faults": [{"method": "PUT", "path": "/snapshots/", "kind": "stall", "count": 1}]}'
	vmbackup backup --vm b b.raw 2>err 3>&- &
	local pid=$! rc=0
	# shellcheck disable=SC2016 # evaluated each time
	wait_for eval '[ "$(requests PUT "/snapshots/.* stall")" != 0 ]'
	kill -TERM $pid
	wait $pid || rc=$?
	[ "$rc" = 143 ]
	control '{"faults": []}'
	# on another machine, and on this one
	VMKIT_CACHE_DIR=$PWD/other run vmbackup prune --json a@latest
	[ "$(json .collection.pending_packs)" -gt 0 ] || fail "$output"
	run vmbackup prune --json
	[ "$(json .collection.pending_packs)" -gt 0 ] || fail "$output"
	control '{"clock": 1220}'
	run --separate-stderr vmbackup prune --json
	assert_status 0
	[ "$(json .collection.pending_packs)" = 0 ] || fail "$output"
	[ "$(keys leases/)" = 0 ]
}

@test "leases of older versions, which do not say their grace, count for two hours" {
	vmbackup init --no-encryption
	refused 2 vmbackup --debug-s3-grace 2d list
	random_bytes 6 2000000 >a.raw
	vmbackup backup --vm a a.raw
	control "{\"make\": \"t$BATS_TEST_NUMBER/leases/s-0000000000000000-0123456789abcdef-00000001\"}"
	vmbackup prune a@latest
	[ "$(keys packs/)" = 1 ]
	control '{"clock": 7100}'
	run --separate-stderr vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	[ "$(json '.collection.holders[0].grace_seconds')" = 7200 ]
	control "{\"make\": \"t$BATS_TEST_NUMBER/leases/c-0000000000000063\", \"clock\": 7300}"
	run --separate-stderr vmbackup prune --json
	assert_status 6
	control '{"clock": 14600}'
	run --separate-stderr vmbackup prune --json
	[ "$(json .collection.removed_packs)" = 1 ]
	[ "$(keys leases/)" = 0 ]
}

@test "who uses an encrypted repository: the server cannot read it, and what is no note is none" {
	echo secret >key
	export VMKIT_PASSWORD_FILE=$PWD/key
	vmbackup init --scrypt-log2n 10
	random_bytes 6 2000000 >a.raw
	slow_backup s a.raw 1500000
	local lease
	lease=$(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/leases/s-")
	control "{\"dump\": \"$lease\"}" | base64 -d >note
	[ "$(stat -c %s note)" = 592 ]
	run grep -aqE "began|host|pid" note
	assert_failure
	run vmbackup unlock --json
	[ "$(json '.holders[0].pid')" = "$slow" ]
	# Empty leases are those of older versions.
	control "{\"lose\": \"$lease\", \"make\": \"$lease\"}"
	run vmbackup unlock
	assert_success
	assert_line 'a process that does not say whose it is: last heard of 0 minutes ago, dead after 120'
	run vmbackup unlock --json
	assert_schema vmbackup-unlock
	[ "$(json '.holders[0] | [.host, .pid, .began] | tostring')" = '[null,null,null]' ]
	tail -c +1500001 a.raw >&8
	exec 8>&-
	wait "$slow"
	vmbackup restore s - | cmp - a.raw
	[ "$(keys leases/)" = 0 ]
}

@test "who was taken for dead commits nothing: asleep for longer than the grace" {
	vmbackup init --no-encryption
	random_bytes 6 4000000 >a.raw
	vmbackup backup --vm a a.raw
	slow_backup s a.raw 1500000
	kill -STOP "$slow"
	vmbackup forget a@latest
	vmbackup prune
	[ "$(keys packs/)" = 1 ]
	control '{"clock": 1900}'
	run --separate-stderr vmbackup prune --json
	assert_success
	[ "$(json .collection.removed_packs)" = 1 ] || fail "$output"
	kill -CONT "$slow"
	tail -c +1500001 a.raw >&8
	exec 8>&-
	local rc=0
	wait "$slow" || rc=$?
	[ $rc = 7 ] || fail "status $rc: $(cat s.err)"
	grep -q 'out of touch with the repository' s.err
	[ "$(vmbackup list --json 2>/dev/null | jq length)" = 0 ]
	run --separate-stderr vmbackup backup --vm s a.raw
	assert_success
	vmbackup restore s - 2>/dev/null | cmp - a.raw
	run --separate-stderr vmbackup verify
	assert_success
}

# bats test_tags=slow,release
@test "leases are renewed: a long backup outlives the grace" {
	vmbackup init --no-encryption
	random_bytes 6 4000000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup forget a@latest
	mkfifo fifo
	vmbackup --debug-s3-grace 12s backup --vm s - <fifo 3>&- &
	local pid=$!
	exec 8>fifo
	head -c 1500000 a.raw >&8
	sleep 13.5
	run vmbackup --debug-s3-grace 12s prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	[ "$(keys leases/s-)" = 1 ]
	tail -c +1500001 a.raw >&8
	exec 8>&-
	wait $pid
	vmbackup restore s - | cmp - a.raw
	[ "$(requests PUT /leases/s-)" -gt 20 ]
	[ "$(keys leases/)" = 0 ]
}

@test "two prunes at once, a killed one, and one that was overtaken" {
	vmbackup init --no-encryption
	random_bytes 6 4000000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b a.raw
	vmbackup forget a@latest b@latest
	# stands still where it removes
	control '{"faults": [{"method": "DELETE", "path": "/packs/", "kind": "stall", "count": 1}]}'
	vmbackup prune 2>err 3>&- &
	local pid=$! i
	for ((i = 0; i < 1200; i++)); do
		[ "$(requests DELETE '/packs/.* stall')" = 0 ] || break
		sleep 0.02
	done
	refused 6 vmbackup prune
	[[ $stderr == *"another prune works"* ]]
	run vmbackup unlock
	assert_output --partial 'a prune is at work'
	kill -STOP $pid
	control '{"clock": 1900}'
	random_bytes 6 2000000 >c.raw
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(keys packs/)" = 0 ]
	# The same blobs again, in a pack of another name; the first one wakes up and may remove nothing more.
	vmbackup backup --vm a a.raw 2>/dev/null
	kill -CONT $pid
	kill -KILL $pid
	wait $pid || true
	vmbackup restore a - 2>/dev/null | cmp - a.raw
	control '{"clock": 1900}'
	vmbackup forget a@latest 2>/dev/null
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(keys leases/)" = 0 ]
}

@test "a prune that was asleep does not remove what another let off" {
	vmbackup init --no-encryption
	random_bytes 6 4000000 >a.raw
	vmbackup backup --vm a a.raw
	vmbackup forget a@latest
	# The answer to its first removal comes never; it sleeps while it tries again.
	control '{"faults": [{"method": "DELETE", "path": "/packs/", "kind": "503 SlowDown", "count": 1000}]}'
	vmbackup prune --s3-retries 100 2>err 3>&- &
	local pid=$! i rc=0
	for ((i = 0; i < 1200; i++)); do
		[ "$(requests DELETE '/packs/.* 503')" = 0 ] || break
		sleep 0.02
	done
	kill -STOP $pid
	control '{"faults": [], "clock": 1900}'
	kill -CONT $pid
	wait $pid || rc=$?
	[ $rc = 7 ] || fail "status $rc: $(cat err)"
	grep -q 'out of touch' err
	[ "$(keys packs/)" = 1 ]
	run --separate-stderr vmbackup prune
	assert_success
	[ "$(keys packs/)" = 0 ]
}

# bats test_tags=slow,release
@test "prune and backup killed at every third request (VMKIT_EVERY=1: at all): what stays can be read, and the next ones finish" {
	vmbackup init --no-encryption
	random_bytes 6 1500000 >a.raw
	random_bytes 7 1500000 >b.raw
	cat a.raw b.raw >c.raw
	head -c 700000 b.raw >d.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm x c.raw
	vmbackup backup --vm d d.raw
	vmbackup forget x@latest
	control '{"save": true}'
	local n pid i verb all=0 every=${VMKIT_EVERY:-3}
	for verb in "prune --max-unused 0" "backup --vm e c.raw"; do
		for ((n = 0;; n += every)); do
			control "{\"restore\": true, \"clock\": 0, \"faults\": [{\"kind\": \"stall\", \"skip\": $n, \"count\": 1}]}"
			# shellcheck disable=SC2086 # words
			vmbackup $verb 2>/dev/null 3>&- &
			pid=$!
			for ((i = 0; i < 1200; i++)); do
				kill -0 $pid 2>/dev/null && [ "$(requests '.*' ' stall')" = 0 ] || break
				sleep 0.02
			done
			kill -KILL $pid 2>/dev/null || true
			wait $pid || true
			[ "$(requests '.*' ' stall')" = 1 ] || break
			all=$((all + 1))
			control '{"faults": [], "clock": 1900}'
			vmbackup restore a - 2>/dev/null | cmp - a.raw || fail "$verb: request $n"
			vmbackup restore d - 2>/dev/null | cmp - d.raw || fail "$verb: request $n"
			run vmbackup verify 2>/dev/null
			assert_success
			run --separate-stderr vmbackup backup --vm e c.raw
			assert_success
			run --separate-stderr vmbackup prune --json --max-unused 0
			assert_success
			[ "$(json .collection.pending_packs)" = 0 ] || fail "$verb: request $n: $output"
			[ "$(keys leases/)" = 0 ] && [ "$(keys epochs/)" -le 1 ] || fail "$verb: request $n: $(curl -sf "$AWS_ENDPOINT_URL/_keys")"
			vmbackup restore e - 2>/dev/null | cmp - c.raw || fail "$verb: request $n"
			vmbackup restore d - 2>/dev/null | cmp - d.raw || fail "$verb: request $n"
		done
	done
	control '{"clock": 0}'
	[ $all -gt $((40 / every)) ] || fail "only $all requests"
}

# goes_away N - back to what was saved; the server does the Nth request, but nobody hears of it, or not even that, and no other
goes_away() {
	local kind=lost
	(($1 % 2)) || kind=reset
	rm -rf cache
	control "{\"restore\": true, \"clock\": 0, \"faults\": [{\"kind\": \"$kind\", \"skip\": $1, \"count\": 1},
		{\"kind\": \"reset\", \"skip\": $1, \"count\": 1000000}]}"
}

# done_VERB - what status 0 promises; key: the passphrase that opens
done_forget() { [ "$(vmbackup list --json 2>/dev/null | jq length)" = 2 ]; }
done_copy() { [ "$(vmbackup list --json 2>/dev/null | jq length)" = 4 ]; }
done_repair() { vmbackup verify >/dev/null 2>&1 || [ "$(vmbackup verify --json 2>/dev/null | jq .damaged_snapshots)" = 0 ]; }
done_backup() { vmbackup restore e - 2>/dev/null | cmp - c.raw; }
done_key() { VMKIT_PASSWORD_FILE=$PWD/two vmbackup list >/dev/null && ! vmbackup list >/dev/null 2>&1; }

# opens FILE... - use the first of the passphrases with which the repository opens
opens() {
	local file
	for file; do
		export VMKIT_PASSWORD_FILE=$PWD/$file
		vmbackup list >/dev/null 2>&1 && return
	done
	return 1
}

# bats test_tags=slow,release
@test "the server goes away at every 21st request (VMKIT_EVERY=1: at all) of forget, copy, repair, key change, backup" {
	local n rc verb words every one=$VMKIT_REPOSITORY
	echo one >one
	echo two >two
	export VMKIT_PASSWORD_FILE=$PWD/one
	vmbackup init --scrypt-log2n 10
	vmbackup -r other init --scrypt-log2n 10
	random_bytes 6 1500000 >a.raw
	random_bytes 7 1500000 >b.raw
	cat a.raw b.raw >c.raw
	head -c 700000 b.raw >d.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm x c.raw
	vmbackup backup --vm d d.raw
	vmbackup copy --to other
	vmbackup -r other backup --vm later b.raw
	for words in "forget x@latest" "copy --to $one" "key change --new-password-file two --scrypt-log2n 10" \
		"backup --vm e c.raw" "repair --from other"; do
		verb=${words%% *} every=${VMKIT_EVERY:-21}
		[ "$verb" != key ] || every=3
		# Beyond what parity gives back
		[ "$verb" != repair ] || for n in $(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/packs"); do
			control "{\"lose\": \"$n\"}"
			break
		done
		control '{"save": true}'
		for ((n = every / 3;; n += every)); do
			goes_away "$n"
			export VMKIT_PASSWORD_FILE=$PWD/one
			rc=0
			# shellcheck disable=SC2086 # words
			if [ "$verb" = copy ]; then
				vmbackup -r other --s3-retries 0 $words 2>err || rc=$?
			else
				vmbackup --s3-retries 0 $words >out 2>err || rc=$?
			fi
			[ "$(requests '.*' ' (reset|lost)')" != 0 ] || break
			control '{"faults": [], "clock": 1900}'
			[[ $rc = [07] ]] || [ "$verb $rc" = "repair 8" ] || fail "$words: request $n: status $rc: $(cat err)"
			[ $rc != 0 ] || "done_$verb" || fail "$words: request $n: status 0: $(cat err)"
			opens one two || fail "$words: request $n: no key opens it"
			[ "$verb" = repair ] || vmbackup restore a - 2>/dev/null | cmp - a.raw || fail "$words: request $n"
			VMKIT_PASSWORD_FILE=$PWD/one vmbackup -r other restore x - 2>/dev/null | cmp - c.raw || fail "$words: request $n"
			# Once more
			rc=0
			# shellcheck disable=SC2086
			if [ "$verb" = copy ]; then
				vmbackup -r other $words 2>err || rc=$?
			elif [ "$verb $VMKIT_PASSWORD_FILE" != "key $PWD/two" ]; then
				vmbackup $words >out 2>err || rc=$?
			fi
			[ $rc = 0 ] || [ "$verb $rc" = "forget 4" ] || fail "$words: request $n: then $rc: $(cat err)"
			VMKIT_PASSWORD_FILE=$PWD/one
			"done_$verb" || fail "$words: request $n: not done"
			opens one two
			vmbackup prune --max-unused 0 2>err || fail "$words: request $n: $(cat err)"
			[ "$(keys leases/)" = 0 ] || fail "$words: request $n: leases are left"
			vmbackup restore a - 2>/dev/null | cmp - a.raw || fail "$words: request $n"
			vmbackup restore d - 2>/dev/null | cmp - d.raw || fail "$words: request $n"
			run --separate-stderr vmbackup verify
			assert_success
		done
		export VMKIT_PASSWORD_FILE=$PWD/one
		((n >= 6)) || fail "$words: only $n requests"
		control '{"restore": true, "faults": [], "clock": 0}'
		rm -rf cache
	done
}

@test "who may only read has no session, and reads" {
	vmbackup init --no-encryption
	random_bytes 6 1000000 >a.raw
	vmbackup backup --vm a a.raw
	control '{"faults": [{"method": "PUT", "kind": "403 AccessDenied", "count": 1000}, {"method": "DELETE", "kind": "403 AccessDenied", "count": 1000}]}'
	vmbackup restore a - | cmp - a.raw
	vmbackup list >/dev/null
	refused 12 vmbackup prune
	refused 12 vmbackup backup --vm b a.raw
}

@test "who may remove nothing but leases can back up" {
	vmbackup init --no-encryption
	local i
	for i in {1..9}; do
		control '{"faults": [{"method": "DELETE", "path": "/packs/", "kind": "403 AccessDenied", "count": 1000}, {"method": "DELETE", "path": "/snapshots/", "kind": "403 AccessDenied", "count": 1000},
			{"method": "DELETE", "path": "/epochs/", "kind": "403 AccessDenied", "count": 1000}]}'
		random_bytes "$i" 1500000 >a.raw
		run vmbackup backup --vm a a.raw
		assert_success
		assert_output ''
	done
	[ "$(keys index/)" -lt 9 ]
	refused 12 vmbackup forget a@latest
	run --separate-stderr vmbackup prune --keep-last 1
	assert_status 12
	[ "$(vmbackup list --json | jq length)" = 9 ]
	vmbackup restore a - | cmp - a.raw
	run vmbackup verify
	assert_success
}

@test "a server that takes old requests: nothing is collected" {
	vmbackup init --no-encryption
	control '{"old_requests": true}'
	refused 9 vmbackup prune
	[[ $stderr == *"20 minutes ago"* ]]
	control '{"old_requests": false}'
	vmbackup prune
}

@test "object lock: what is locked stays and is said; later it goes, and no version of it is left" {
	control '{"versions": true}'
	vmbackup init --no-encryption
	local i
	for i in 1 2 3; do
		random_bytes "$i" 1000000 >a.raw
		vmbackup backup --vm a --s3-object-lock "compliance:$i" a.raw
	done
	refused 3 vmbackup forget "a@$(vmbackup list --json | jq -r '.[0].id')"
	[[ $stderr == *"1 snapshot is locked and stays"* ]]
	run vmbackup prune --json --keep-last 1
	assert_success
	assert_schema vmbackup-prune
	[ "$(json '[.removed, .kept, .collection.locked_packs] | join(" ")')" = '0 3 0' ]
	[ "$(json '.snapshots[0].reasons | join(" ")')" = locked ]
	run vmbackup prune --dry-run --keep-last 1
	assert_line --regexp "^keep a@.*: locked until 20..-"
	# The first one's time has come: its manifest goes; the pack of the next is kept
	control '{"clock": 90000, "versions": true}'
	run --separate-stderr vmbackup prune --json --keep-last 1
	assert_success
	[ "$(json '[.removed, .kept, .collection.removed_packs] | join(" ")')" = '1 2 1' ]
	# A pack may be locked for longer than what needs it.
	local name
	name=$(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/snapshots" | head -1)
	curl -sf "$AWS_ENDPOINT_URL/_control" -d "{\"unlock\": \"$name\"}"
	run --separate-stderr vmbackup prune -v --keep-last 1
	assert_success
	assert_line --regexp '^1 packs, .*, stay: locked until 20'
	[ "$(keys packs/)" = 2 ]
	control '{"clock": 180000}'
	run --separate-stderr vmbackup prune --keep-last 1
	assert_success
	[ "$(keys packs/)" = 1 ]
	[ -z "$(curl -sf "$AWS_ENDPOINT_URL/_hidden")" ] || fail "hidden: $(curl -sf "$AWS_ENDPOINT_URL/_hidden")"
	control '{"versions": false}'
}

@test "healing: a damaged pack is replaced by what it was" {
	vmbackup init --no-encryption
	random_bytes 6 3000000 >a.raw
	vmbackup backup --vm a a.raw
	local name
	name=$(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/packs")
	curl -sf "$AWS_ENDPOINT_URL/_control" -d "{\"damage\": \"$name\"}"
	run --separate-stderr vmbackup restore a out.raw
	assert_success
	[[ $stderr == *"damage was healed by parity"* && $stderr != *"not written back"* ]] || fail "$stderr"
	assert_same_bytes a.raw out.raw
	run vmbackup verify
	assert_success
	assert_output ''
}
