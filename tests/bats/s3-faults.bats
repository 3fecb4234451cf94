#!/usr/bin/env bats
# Repositories on S3 against a small server that loses connections, answers and bits to order (tests/s3server.py). What
# a real server does is vmbackup-s3.bats.
load common
load s3

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
		for _ in {1..1200}; do
			[ "$(requests '(PUT|HEAD)' "/packs/.* $fault")" = 1 ] && break
			sleep 0.05
		done
		kill -9 $pid
		wait $pid || true
		[ "$(spooled)" = 1 ] || fail "no file in the spool"
		control '{"faults": []}'
		run vmbackup backup --json --vm web a.raw
		assert_success
		[ "$(json .new_bytes)" = 0 ] || fail "$fault: stored again: $(json .new_bytes)"
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
	[ "$(find cache -path '*/objects/*' -type f ! -name '*@*' | wc -l)" = 6 ]
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

@test "pages are kept here, sealed as they are there, within bounds; verify does not believe them" {
	export VMKIT_PASSWORD_FILE=$PWD/pw
	echo secret >pw
	vmbackup init --scrypt-log2n 10
	random_image a.raw 90000000 1 60
	vmbackup backup --vm a a.raw
	random_bytes 2 300000 | dd of=a.raw bs=64k seek=300 conv=notrunc status=none
	vmbackup backup --vm a a.raw
	vmbackup prune --dry-run >was
	[ "$(find cache -name '*@*' | wc -l)" -ge 2 ]
	# sealed: the magic of a page, and of zstd, are nowhere
	[ "$(grep -rl VMFR cache | wc -l)" -ge 2 ]
	! grep -rqaP -e VPG1 -e '\x28\xb5\x2f\xfd' cache || fail 'pages can be read here'
	control '{"faults": []}'
	vmbackup prune --dry-run | cmp - was
	[ "$(requests '(GET|HEAD)' /packs/)" = 0 ] || fail "$(requests '(GET|HEAD)' /packs/) reads"
	# what rots here, is cut, or is another frame under this name, is read again
	local i other frames
	mapfile -t frames < <(find cache -name '*@*')
	for i in "${frames[@]}"; do printf x | dd of="$i" bs=1 seek=200 conv=notrunc status=none; done
	vmbackup prune --dry-run | cmp - was
	other=${frames[0]}
	for i in "${frames[@]:1}"; do cp "$other" "$i"; done
	vmbackup prune --dry-run | cmp - was
	vmbackup restore a - | cmp - a.raw
	# lost there: who verifies is told
	for i in $(curl -sf "$AWS_ENDPOINT_URL/_keys" | grep "^t$BATS_TEST_NUMBER/packs"); do
		python3 "$ROOT/tests/s3client.py" DELETE "/bucket/$i"
	done
	run vmbackup verify a
	assert_status 8
	rm -r cache
	control '{"forget": true}'
	vmbackup init --scrypt-log2n 10
	vmbackup backup --vm a a.raw
	vmbackup prune --dry-run --s3-cache-size 20k >/dev/null
	[ "$(cat cache/s3/*/objects/* | wc -c)" -le 20480 ]
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
