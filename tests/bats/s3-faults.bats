#!/usr/bin/env bats
# Repositories on S3 against a small server that loses connections, answers and bits to order (tests/s3server.py). What
# a real server does is vmbackup-s3.bats.
load common

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	python3 "$ROOT/tests/s3server.py" port >/dev/null 2>&1 3>&- &
	echo $! >server.pid
	openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 \
		-addext 'subjectAltName=IP:127.0.0.1' 2>/dev/null
	cat key.pem cert.pem >both.pem
	python3 "$ROOT/tests/s3server.py" tls-port "tls=\"$PWD/both.pem\"" >/dev/null 2>&1 3>&- &
	echo $! >tls-server.pid
	for _ in {1..100}; do
		[ -f port ] && [ -f tls-port ] && return
		sleep 0.05
	done
	return 1
}

teardown_file() {
	kill "$(cat "$BATS_FILE_TMPDIR/server.pid")" "$(cat "$BATS_FILE_TMPDIR/tls-server.pid")"
}

setup() {
	common_setup
	unset "${!AWS_@}" "${!http_@}" HTTPS_PROXY
	export AWS_ACCESS_KEY_ID=AKFAKE AWS_SECRET_ACCESS_KEY=SKFAKE VMKIT_CACHE_DIR=$PWD/cache
	AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$BATS_FILE_TMPDIR/port")
	export AWS_ENDPOINT_URL VMKIT_REPOSITORY=s3://bucket/t$BATS_TEST_NUMBER
	control '{"faults": [], "ignore_precondition": false, "page": 1000, "clock": 0}'
}

control() { curl -sf "$AWS_ENDPOINT_URL/_control" -d "$1"; }
# requests METHOD PATTERN - how many there were since the last order, by the server's log
requests() { curl -sf "$AWS_ENDPOINT_URL/_log" | jq -r '"\(.method) \(.path) \(.status)"' | grep -cE "^$1 .*$2" || true; }
# spooled - packs that wait to be uploaded
spooled() { find cache -path '*/spool/*packs*' -type f | wc -l; }

@test "round trip; small pages of listings; a prefix of any characters" {
	export VMKIT_REPOSITORY="s3://bucket/round trip/&+é=%41"
	control '{"page": 2}'
	vmbackup init --no-encryption
	random_image a.raw 30000128 5 60
	run vmbackup backup --vm web a.raw
	assert_success
	assert_output ''
	for _ in 1 2 3; do vmbackup backup --full --vm web a.raw; done
	random_image b.raw 20000000 6 60
	vmbackup backup --vm other b.raw
	[ "$(vmbackup list --json | jq length)" = 5 ]
	vmbackup restore web@latest out.raw
	assert_same_bytes a.raw out.raw
	vmbackup restore other - | cmp - b.raw
	run vmbackup verify
	assert_success
	assert_output ''
	[ "$(spooled)" = 0 ]
	[ "$(stat -c %a cache/s3/*)" = 700 ]
	[ "$(requests GET continuation-token)" -gt 3 ] || fail "listings were not paged"
	refused 5 vmbackup init --no-encryption
}

@test "encrypted; the passphrase and a wrong one" {
	export VMKIT_PASSWORD_FILE=$PWD/pw
	echo secret >pw
	vmbackup init --scrypt-log2n 10
	random_image a.raw 3000000
	vmbackup backup --vm web a.raw
	vmbackup restore web - | cmp - a.raw
	echo wrong >pw
	refused 12 vmbackup list
}

@test "torn connections, lost answers, busy servers, half bodies: tried again, nothing is lost" {
	vmbackup init --no-encryption
	random_image a.raw 12000000 7 40
	local kind
	for kind in reset lost "503 SlowDown" "500 InternalError" "409 ConditionalRequestConflict" "400 BadDigest"; do
		control "{\"faults\": [{\"method\": \"PUT\", \"path\": \"packs\", \"kind\": \"$kind\", \"count\": 2},
			{\"method\": \"PUT\", \"path\": \"index\", \"kind\": \"$kind\", \"count\": 1},
			{\"method\": \"PUT\", \"path\": \"snapshots\", \"kind\": \"$kind\", \"count\": 1}]}"
		random_bytes "${#kind}" 300000 | dd of=a.raw bs=64k seek=$((${#kind} % 16)) conv=notrunc status=none
		vmbackup backup --vm web a.raw
		[ "$(requests PUT "/packs/.* (${kind%% *}|412)")" -ge 1 ] || fail "$kind was not met"
	done
	[ "$(vmbackup list --json | jq length)" = 6 ]
	for kind in reset truncate "503 SlowDown"; do
		control "{\"faults\": [{\"method\": \"GET\", \"path\": \"packs/\", \"kind\": \"$kind\", \"count\": 3},
			{\"method\": \"GET\", \"path\": \"list-type\", \"kind\": \"$kind\", \"count\": 1},
			{\"method\": \"GET\", \"path\": \"config\", \"kind\": \"$kind\", \"count\": 1}]}"
		vmbackup restore web - | cmp - a.raw
	done
	run vmbackup verify
	assert_success
	[ "$(spooled)" = 0 ]
}

@test "an answer lost while the repository is made, and a listing that stands still" {
	control '{"faults": [{"method": "PUT", "path": "/config", "kind": "lost", "count": 1}]}'
	vmbackup init --no-encryption
	control '{"faults": [{"method": "GET", "path": "snapshots", "kind": "stall", "count": 1}]}'
	run vmbackup list --json --debug-s3-stall 1s
	assert_success
	[ "$(json length)" = 0 ]
}

@test "tries run out: status 7, older snapshots fine, the next run goes on with what was stored" {
	vmbackup init --no-encryption
	random_image a.raw 9000000 3 40
	vmbackup backup --vm web a.raw
	random_bytes 8 4000000 | dd of=a.raw bs=64k seek=8 conv=notrunc status=none
	control '{"faults": [{"method": "PUT", "path": "packs", "kind": "reset", "count": 9}]}'
	refused 7 vmbackup backup --vm web --s3-retries 2 a.raw
	[[ $stderr == *"after 3 tries"* ]]
	[ "$(spooled)" = 1 ]
	control '{"faults": []}'
	vmbackup restore web - >old.raw
	run vmbackup verify
	assert_success
	run vmbackup backup --json --vm web a.raw
	assert_success
	[ "$(json .new_bytes)" -lt 100000 ] || fail "stored again: $(json .new_bytes)"
	vmbackup restore web - | cmp - a.raw
	[ "$(spooled)" = 0 ]
	run vmbackup verify
	assert_success
}

@test "killed in mid-upload: the next run adopts it, also when the object had arrived" {
	vmbackup init --no-encryption
	random_image a.raw 9000000 3 40
	local fault pid
	for fault in stall lost; do
		random_bytes "${#fault}" 3000000 | dd of=a.raw bs=64k seek=${#fault} conv=notrunc status=none
		control "{\"faults\": [{\"method\": \"PUT\", \"path\": \"packs\", \"kind\": \"$fault\", \"count\": 1},
			{\"method\": \"HEAD\", \"path\": \"packs\", \"kind\": \"stall\", \"count\": 1}]}"
		vmbackup backup --vm web a.raw 3>&- &
		pid=$!
		for _ in {1..200}; do
			[ "$(requests '(PUT|HEAD)' "/packs/.* $fault")" = 1 ] && break
			sleep 0.05
		done
		kill -9 $pid
		wait $pid || true
		[ "$(spooled)" = 1 ] || fail "no file in the spool"
		control '{"faults": []}'
		run vmbackup backup --json --vm web a.raw
		assert_success
		[ "$(json .new_bytes)" -lt 100000 ] || fail "$fault: stored again: $(json .new_bytes)"
		vmbackup restore web - | cmp - a.raw
		[ "$(spooled)" = 0 ]
	done
	run vmbackup verify
	assert_success
	assert_output ''
}

@test "interrupted: ends at once with 130" {
	vmbackup init --no-encryption
	random_image a.raw 3000000
	control '{"faults": [{"method": "PUT", "path": "packs", "kind": "stall", "count": 1}]}'
	local start=$SECONDS
	run timeout --preserve-status -s INT 1 vmbackup backup --vm web a.raw
	assert_status 130
	((SECONDS - start < 10)) || fail "took $((SECONDS - start)) s"
	[ "$(spooled)" = 1 ]
}

@test "bits that change on the way are never data" {
	vmbackup init --no-encryption
	random_image a.raw 9000000 3 40
	vmbackup backup --vm web a.raw
	control '{"faults": [{"method": "GET", "path": "packs/", "kind": "flip", "count": 1000}]}'
	run vmbackup restore web out.raw
	assert_success
	assert_output --partial 'healed by parity'
	assert_same_bytes a.raw out.raw
	rm out.raw
	# what is read whole is asked for again, twice; a copy that is wrong does not get into the cache
	rm -r cache
	control '{"faults": [{"method": "GET", "path": "/snapshots/", "kind": "flip", "count": 2},
		{"method": "GET", "path": "/index/", "kind": "flip", "count": 2}]}'
	vmbackup restore web - | cmp - a.raw
	[ "$(requests GET /snapshots/)" = 3 ]
	rm -r cache
	control '{"faults": [{"method": "GET", "path": "/snapshots/", "kind": "flip", "count": 1000}]}'
	run vmbackup restore web out.raw
	assert_failure
	assert_not_exists out.raw
	control '{"faults": []}'
	vmbackup restore web - | cmp - a.raw
}

@test "the cache: read once, held against a checksum, bounded, of use to readers who may not write" {
	vmbackup init --no-encryption
	local i
	for i in 1 2 3; do
		random_image "$i.raw" 3000000 "$i" 20
		vmbackup backup --vm "m$i" "$i.raw"
	done
	# what this machine wrote, it need not read
	control '{"faults": []}'
	vmbackup list >listed
	vmbackup restore m1 - | cmp - 1.raw
	[ "$(requests GET '/(index|snapshots)/')" = 0 ] || fail "$(requests GET '/(index|snapshots)/') reads"
	rm -r cache
	vmbackup list | cmp - listed
	[ "$(requests GET '/(index|snapshots)/')" -ge 6 ]
	control '{"faults": []}'
	vmbackup list | cmp - listed
	vmbackup restore m2 - | cmp - 2.raw
	[ "$(requests GET '/(index|snapshots)/')" = 0 ] || fail "read again"
	# a bit that rots here, a file that is cut, and one of another repository at the same place
	for i in cache/s3/*/objects/*; do
		case $i in
		*index*) printf x | dd of="$i" bs=1 seek=300 conv=notrunc status=none ;;
		*) truncate -s -1 "$i" ;;
		esac
	done
	vmbackup list | cmp - listed
	vmbackup restore m3 - | cmp - 3.raw
	run vmbackup verify
	assert_success
	# bounded
	[ "$(find cache -path '*/objects/*' -type f | wc -l)" = 6 ]
	rm -r cache
	vmbackup list --s3-cache-size 2k | cmp - listed
	[ "$(cat cache/s3/*/objects/* | wc -c)" -le 2048 ]
	vmbackup list --s3-cache-size 0 | cmp - listed
	# no place to write to
	rm -r cache
	touch cache
	vmbackup list | cmp - listed
	vmbackup restore m3 - | cmp - 3.raw
}

@test "a repository made anew at the same place: nothing of the old one is taken from the cache" {
	local i
	for i in 1 2; do
		control '{"forget": true}'
		vmbackup init --no-encryption
		random_image a.raw 3000000 "$i" 20
		vmbackup backup --vm web a.raw
		VMKIT_CACHE_DIR=$PWD/other vmbackup restore web - | cmp - a.raw
		VMKIT_CACHE_DIR=$PWD/other vmbackup list >/dev/null
	done
}

@test "what the server refuses has its status" {
	vmbackup init --no-encryption
	random_image a.raw 1000000
	AWS_SECRET_ACCESS_KEY=other refused 12 vmbackup list
	AWS_ACCESS_KEY_ID=other refused 12 vmbackup list
	[[ $stderr == *InvalidAccessKeyId* ]]
	refused 4 vmbackup -r s3://missing/x list
	[[ $stderr == *"no bucket missing"* ]]
	refused 4 vmbackup -r s3://missing/x init --no-encryption
	refused 4 vmbackup -r s3://bucket/nothing list
	refused 2 vmbackup --s3-region eu-west-9 list
	refused 2 vmbackup -r s3:bucket/x list
	refused 2 vmbackup --s3-endpoint ftp://x list
	refused 7 vmbackup --s3-endpoint http://127.0.0.1:1 list
	(unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY && refused 12 vmbackup list)
	control '{"faults": [{"method": "PUT", "path": "packs", "kind": "403 QuotaExceeded", "count": 9}]}'
	refused 13 vmbackup backup --vm web a.raw
	control '{"faults": [{"method": "GET", "path": "prefix", "kind": "garbage", "count": 9}]}'
	refused 8 vmbackup list
	control '{"faults": [{"method": "GET", "path": "prefix", "kind": "noloop", "count": 99}]}'
	vmbackup backup --vm web a.raw || true
	refused 8 vmbackup list
	control '{"faults": [{"method": "GET", "path": "packs/", "kind": "whole", "count": 99}]}'
	vmbackup backup --vm web a.raw
	refused 9 vmbackup restore web out.raw
	control '{"faults": [{"kind": "403 AccessDenied", "path": "packs", "method": "PUT", "count": 9}]}'
	random_image b.raw 1000000 77
	refused 12 vmbackup backup --vm b b.raw
}

@test "a server without create-if-absent is refused, and so is a place that holds something" {
	control '{"ignore_precondition": true}'
	refused 9 vmbackup init --no-encryption
	control '{"ignore_precondition": false}'
	vmbackup init --no-encryption
	refused 5 vmbackup init --no-encryption
	refused 5 vmbackup -r s3://bucket init --no-encryption
	[ "$(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep -c "^t$BATS_TEST_NUMBER/tmp/")" = 0 ] || fail "probe left behind"
}

@test "a rate limit holds, both ways; one that is too low, and locks that are none, are refused" {
	vmbackup init --no-encryption
	random_bytes 1 3000000 >a.raw
	local start=${EPOCHREALTIME/./} took
	vmbackup backup --vm web --s3-rate-limit 2M a.raw
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	((took >= 1200)) || fail "3 MB went up in $took ms"
	start=${EPOCHREALTIME/./}
	vmbackup restore --s3-rate-limit 2M web - | cmp - a.raw
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	((took >= 1200)) || fail "3 MB came down in $took ms"
	refused 2 vmbackup list --s3-rate-limit 100
	refused 2 vmbackup list --s3-object-lock compliance
	refused 2 vmbackup list --s3-object-lock forever:1
}

@test "object lock: packs, manifests, keys and config carry it, with the digest that S3 wants; index runs do not" {
	export VMKIT_PASSWORD_FILE=$PWD/pw
	echo secret >pw
	vmbackup init --scrypt-log2n 10 --s3-object-lock governance:2
	random_image a.raw 1000000
	vmbackup backup --vm web --s3-object-lock Compliance:30 a.raw
	local name until
	for name in $(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/"); do
		python3 "$ROOT/tests/s3client.py" -i HEAD "/bucket/$name" >headers
		case $name in
		*/index/*)
			run ! grep lock headers
			continue
			;;
		*/packs/* | */snapshots/*) grep -qx 'x-amz-object-lock-mode: COMPLIANCE' headers ;;
		*) grep -qx 'x-amz-object-lock-mode: GOVERNANCE' headers ;;
		esac || fail "$name: $(cat headers)"
		until=$(sed -n 's/^x-amz-object-lock-retain-until-date: //p' headers)
		[[ $(date -d "$until - 2 days - 10 hours" +%s) -gt $(date -d '-1 day' +%s) ]] || fail "$name: $until"
	done
	[ "$(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep -c "^t$BATS_TEST_NUMBER/")" = 5 ]
}

# keys FOLDER - objects of the repository
keys() { curl -sf "$AWS_ENDPOINT_URL/_keys" | grep -c "^t$BATS_TEST_NUMBER/$1" || true; }

# slow_backup NAME FILE BYTES - as in vmbackup-prune.bats, with a cache of its own; its session is there when this returns
slow_backup() {
	local before i
	before=$(keys leases/s-)
	mkfifo "$1.fifo"
	VMKIT_CACHE_DIR=$PWD/cache-$1 vmbackup backup --vm "$1" - <"$1.fifo" 2>"$1.err" 3>&- &
	slow=$!
	exec 8>"$1.fifo"
	head -c "$3" "$2" >&8
	for ((i = 0; i < 250; i++)); do
		[ "$(keys leases/s-)" = "$before" ] || return 0
		sleep 0.02
	done
	fail "the slow backup does not begin"
}

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
	[ "$(json '[.in_use, .prune_running, .grace_seconds] | join(" ")')" = 'true false 7200' ]
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

@test "a killed backup holds up a collection for two hours of the server's clock, and no longer" {
	vmbackup init --no-encryption
	random_bytes 6 2000000 >a.raw
	vmbackup backup --vm a a.raw
	slow_backup s a.raw 1500000
	kill -9 "$slow"
	exec 8>&-
	wait "$slow" || true
	run vmbackup prune --json a@latest
	[ "$(json .collection.pending_packs)" = 1 ]
	control '{"clock": 7000}'
	run --separate-stderr vmbackup prune --json
	[ "$(json .collection.pending_packs)" = 1 ]
	control '{"clock": 7300}'
	run --separate-stderr vmbackup prune --json
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ]
	[ "$(keys leases/)" = 0 ]
	[ "$(keys packs/)" = 0 ]
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
	control '{"clock": 7300}'
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
	for ((i = 0; i < 250; i++)); do
		[ "$(requests DELETE '/packs/.* stall')" = 0 ] || break
		sleep 0.02
	done
	refused 6 vmbackup prune
	[[ $stderr == *"another prune works"* ]]
	run vmbackup unlock
	assert_output --partial 'a prune is at work'
	kill -STOP $pid
	control '{"clock": 7300}'
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
	control '{"clock": 7300}'
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
	for ((i = 0; i < 250; i++)); do
		[ "$(requests DELETE '/packs/.* 503')" = 0 ] || break
		sleep 0.02
	done
	kill -STOP $pid
	control '{"faults": [], "clock": 7300}'
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
			for ((i = 0; i < 500; i++)); do
				kill -0 $pid 2>/dev/null && [ "$(requests '.*' ' stall')" = 0 ] || break
				sleep 0.02
			done
			kill -KILL $pid 2>/dev/null || true
			wait $pid || true
			[ "$(requests '.*' ' stall')" = 1 ] || break
			all=$((all + 1))
			control '{"faults": [], "clock": 7300}'
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

@test "a clock that is an hour wrong: signed by the server's" {
	control '{"clock": 3600}'
	run_split vmbackup init --no-encryption
	assert_success
	[[ $stderr == *"3600 s ahead of ours"* || $stderr == *"3599 s ahead of ours"* ]] || fail "$stderr"
	control '{"clock": 0}'
}

@test "two backups at once: both are there" {
	vmbackup init --no-encryption
	random_image a.raw 6000000 1 40
	random_image b.raw 6000000 2 40
	vmbackup backup --vm a a.raw 3>&- &
	local pid=$!
	VMKIT_CACHE_DIR=$PWD/cache2 vmbackup backup --vm b b.raw
	wait $pid
	vmbackup restore a - | cmp - a.raw
	vmbackup restore b - | cmp - b.raw
	run vmbackup verify
	assert_success
}

@test "https: the server is verified; the keys may come from a file" {
	local url
	url=https://127.0.0.1:$(cat "$BATS_FILE_TMPDIR/tls-port")
	cat >creds <<-END
		[work]
		aws_access_key_id = AKFAKE
		aws_secret_access_key = SKFAKE
	END
	refused 7 vmbackup --s3-endpoint "$url" init --no-encryption
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	export AWS_SHARED_CREDENTIALS_FILE=$PWD/creds AWS_PROFILE=work
	vmbackup --s3-endpoint "$url" --s3-ca "$BATS_FILE_TMPDIR/cert.pem" init --no-encryption
	random_image a.raw 1000000
	export AWS_ENDPOINT_URL=$url AWS_CA_BUNDLE=$BATS_FILE_TMPDIR/cert.pem
	vmbackup backup --vm web a.raw
	vmbackup restore web - | cmp - a.raw
	refused 7 vmbackup --s3-ca /dev/null list
}

@test "the keys of a user whose HOME is not set" {
	require_root
	vmbackup init --no-encryption
	mkdir -p home/.aws
	printf '[default]\naws_access_key_id = AKFAKE\naws_secret_access_key = SKFAKE\n' >home/.aws/credentials
	echo "root:x:0:0:root:$PWD/home:/bin/sh" >passwd
	unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
	HOME=$PWD/nowhere refused 12 vmbackup list
	unshare -m sh -c 'mount --bind passwd /etc/passwd && exec env -u HOME vmbackup list --json' >out
	[ "$(cat out)" = '[]' ]
}

@test "a lock is for object stores" {
	vmbackup -r dir init --no-encryption
	random_image a.raw 100000
	refused 2 vmbackup -r dir --s3-object-lock governance:3 backup --vm m a.raw
	refused 2 vmbackup -r new --s3-object-lock governance:3 init --no-encryption
	assert_not_exists new
	refused 2 vmbackup --s3-object-lock governance:nine list
	vmbackup -r dir backup --vm m a.raw
	refused 2 vmbackup -r dir --s3-object-lock governance:3 copy --to dir
	vmbackup init --no-encryption
	vmbackup -r dir --s3-object-lock governance:3 copy --to "$VMKIT_REPOSITORY"
}

@test "a repository in a folder does not load libcurl" {
	vmbackup -r dir init --no-encryption
	LD_DEBUG=files LD_DEBUG_OUTPUT=$PWD/dir.ld vmbackup -r dir list
	LD_DEBUG=files LD_DEBUG_OUTPUT=$PWD/s3.ld vmbackup init --no-encryption
	run grep -l libcurl dir.ld.*
	assert_failure
	grep -q libcurl s3.ld.*
}
