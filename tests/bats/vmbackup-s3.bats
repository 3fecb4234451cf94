#!/usr/bin/env bats
# Repositories on a real S3 server: one node of Ceph with its RADOS gateway, started once (tests/ceph.sh).
# bats file_tags=slow
load common

setup_file() {
	require ceph-mon ceph-osd radosgw ceph radosgw-admin monmaptool
	require_root
	"$ROOT/tests/ceph.sh" start "$BATS_FILE_TMPDIR/ceph" || return 1
	server
	python3 "$ROOT/tests/s3client.py" PUT /vms </dev/null
}

teardown_file() {
	"$ROOT/tests/ceph.sh" stop "$BATS_FILE_TMPDIR/ceph"
}

server() {
	unset "${!AWS_@}" "${!http_@}" HTTPS_PROXY
	export AWS_ACCESS_KEY_ID=AKTEST AWS_SECRET_ACCESS_KEY=SKTEST
	AWS_ENDPOINT_URL=$(cat "$BATS_FILE_TMPDIR/ceph/endpoint")
	export AWS_ENDPOINT_URL
}

setup() {
	common_setup
	server
	export VMKIT_CACHE_DIR=$PWD/cache VMKIT_REPOSITORY=s3://vms/t$BATS_TEST_NUMBER VMKIT_PASSWORD_FILE=$PWD/key
	echo 'correct horse' >key
}

request() { python3 "$ROOT/tests/s3client.py" "$@"; }
# count FOLDER - objects of the repository, as the server lists them
count() { request GET "/vms?list-type=2&prefix=t$BATS_TEST_NUMBER/$1" | grep -o '<Key>' | wc -l; }
init() { vmbackup init --scrypt-log2n 10; }

@test "init, backup, the next ones, list, verify, restore, forget, copy" {
	init
	refused 5 vmbackup init --scrypt-log2n 10
	random_image a.raw 90000128 5 60
	run vmbackup backup --vm web a.raw
	assert_success
	assert_output ''
	random_bytes 6 2000000 | dd of=a.raw bs=64k seek=100 conv=notrunc status=none
	run vmbackup backup --json --vm web a.raw
	assert_success
	[ "$(json .new_bytes)" -lt 4000000 ]
	random_image b.raw 5000000 7 20
	vmbackup backup --vm db b.raw
	[ "$(vmbackup list --json | jq length)" = 3 ]
	run vmbackup verify
	assert_success
	assert_output ''
	rm -r cache
	vmbackup restore web out.raw
	assert_same_bytes a.raw out.raw
	vmbackup restore db - | cmp - b.raw
	VMKIT_PASSWORD_FILE=<(echo wrong) refused 12 vmbackup list
	vmbackup -r dir init --no-encryption
	vmbackup copy --to dir web@latest
	vmbackup -r dir restore web - | cmp - a.raw
	vmbackup forget --vm web --keep-last 1
	[ "$(vmbackup list --json | jq length)" = 2 ]
	vmbackup restore web - | cmp - a.raw
	[ "$(find cache -path '*/spool/*' -type f | wc -l)" = 0 ]
}

# bats test_tags=release
@test "killed in mid-upload: older snapshots are fine, the next run goes on with what was stored" {
	init
	random_bytes 1 30000000 >a.raw
	vmbackup backup --vm web a.raw
	cp a.raw old.raw
	local before pid
	before=$(count packs/)
	# The third pack is small, and up long before the two others.
	random_bytes 2 150000000 >a.raw
	vmbackup backup --vm web --rate-limit 10M a.raw 3>&- &
	pid=$!
	for _ in {1..600}; do
		[ "$(count packs/)" -gt "$before" ] && break
		sleep 0.05
	done
	kill -9 $pid || fail "it ended too soon: $SECONDS s, $(count packs/) packs, $before before"
	wait $pid || true
	[ "$(count snapshots/)" = 1 ]
	vmbackup restore web - | cmp - old.raw
	run vmbackup verify
	assert_success
	run vmbackup backup --json --vm web a.raw
	assert_success
	[ "$(json .new_bytes)" -lt 80000000 ] || fail "stored again: $(json .new_bytes)"
	vmbackup restore web - | cmp - a.raw
	run vmbackup verify
	assert_success
	assert_output ''
	# The dead of this machine hold up nothing.
	[ "$(count leases/)" = 1 ]
	run vmbackup prune --json --keep-last 1
	[ "$(json '[.collection.removed_packs, .collection.pending_packs] | join(" ")')" = '1 0' ] || fail "$output"
	[ "$(count leases/)" = 0 ]
	vmbackup restore web - | cmp - a.raw
}

# bats test_tags=release
@test "the server is killed in mid-upload and comes back: the backup does not notice" {
	init
	random_bytes 3 130000000 >a.raw
	# Its end comes when the test says so: until then it cannot be done
	(head -c 100000000 a.raw; until [ -e go ]; do sleep 0.05; done; tail -c +100000001 a.raw) 3>&- |
		vmbackup backup --vm web --rate-limit 40M --s3-retries 20 a.raw=- 3>&- &
	local pid=$!
	stored() { [ "$(count packs/)" -gt 0 ]; }
	wait_for stored
	"$ROOT/tests/ceph.sh" stop-gateway "$BATS_FILE_TMPDIR/ceph"
	refused 7 vmbackup list
	kill -0 $pid || fail "the backup ended too soon"
	touch go
	"$ROOT/tests/ceph.sh" start-gateway "$BATS_FILE_TMPDIR/ceph"
	wait $pid
	vmbackup restore web - | cmp - a.raw
	run vmbackup verify
	assert_success
}

@test "two backups at once, of two hosts: both are there" {
	init
	random_image a.raw 40000000 1 60
	random_image b.raw 40000000 2 60
	local i pid
	for i in 1 2 3; do
		vmbackup backup --vm a a.raw 3>&- &
		pid=$!
		VMKIT_CACHE_DIR=$PWD/cache2 vmbackup backup --vm b b.raw
		wait $pid
		random_bytes "$i" 100000 | dd of=a.raw bs=64k seek="$i" conv=notrunc status=none
	done
	[ "$(vmbackup list --json | jq length)" = 6 ]
	[ "$(vmbackup list --json | jq 'map(.seq) | unique | length')" = 6 ]
	vmbackup restore b - | cmp - b.raw
	run vmbackup verify
	assert_success
}

@test "two inits at once: one winner" {
	local pid rc1=0 rc2=0
	init 3>&- &
	pid=$!
	init || rc1=$?
	wait $pid || rc2=$?
	[ "$rc1 $rc2" = "0 5" ] || [ "$rc1 $rc2" = "5 0" ] || fail "$rc1 $rc2"
	vmbackup list
}

# bats test_tags=slow,release
@test "prune: two clients back up and prune at once; every snapshot that stays is as it was" {
	init
	local i vm round rc pids
	for vm in a b; do random_bytes $((100 + ${#vm})) 9000000 >$vm.raw; done
	client() { # NAME - four rounds of a change, a backup and a prune
		local r was
		for r in 1 2 3 4; do
			random_bytes $((r * 31 + $(printf %d "'$1"))) 2000000 | dd of="$1.raw" bs=100k seek=$((r * 13)) conv=notrunc status=none
			VMKIT_CACHE_DIR=$PWD/cache-$1 vmbackup backup --vm "$1" "$1.raw" || return 1
			cp "$1.raw" "$1.$r.was"
			VMKIT_CACHE_DIR=$PWD/cache-$1 vmbackup prune --keep-last 2 --vm "$1" --max-unused 10 || [ $? = 6 ] || return 1
		done
	}
	client a 2>a.err 3>&- &
	pids=$!
	client b 2>b.err || fail "$(cat b.err)"
	wait $pids || fail "$(cat a.err)"
	vmbackup prune --keep-last 2 --max-unused 10
	vmbackup prune
	for vm in a b; do
		mapfile -t ids < <(vmbackup list --json $vm | jq -r '.[].id')
		[ ${#ids[@]} = 2 ]
		for i in 0 1; do vmbackup restore "$vm@${ids[i]}" - | cmp - $vm.$((3 + i)).was; done
	done
	run vmbackup verify
	assert_success
	assert_output ''
	[ "$(count leases/)" = 0 ]
	[ "$(count epochs/)" = 1 ]
	vmbackup prune "a@${ids[0]}" 2>/dev/null || true
	vmbackup prune --keep-last 1 --max-unused 0
	[ "$(count snapshots/)" = 2 ]
	run vmbackup verify
	assert_success
}

# bats test_tags=slow,release
@test "a collector that is killed: the next one finishes; its lease runs out by the server's clock" {
	init
	random_bytes 4 9000000 >a.raw
	random_bytes 5 9000000 >b.raw
	vmbackup backup --vm a a.raw
	vmbackup backup --vm b b.raw
	vmbackup forget a@latest
	local n rc pid grace=(--debug-s3-grace 12s)
	# at several moments, while a proxy of time would be needed for all of them
	for n in 0.02 0.08 0.15 0.3; do
		vmbackup "${grace[@]}" prune --max-unused 0 2>/dev/null 3>&- &
		pid=$!
		sleep $n
		kill -9 $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		vmbackup restore b - | cmp - b.raw
		vmbackup backup --vm c b.raw
	done
	if [ "$(count leases/c-)" != 0 ]; then
		VMKIT_CACHE_DIR=$PWD/cache-other refused 6 vmbackup "${grace[@]}" prune
		[[ $stderr == *"counts as dead"* ]]
	fi
	sleep 14
	run vmbackup "${grace[@]}" prune --json
	assert_success
	run vmbackup "${grace[@]}" prune --json
	assert_success
	[ "$(json '.collection.pending_packs')" = 0 ]
	[ "$(count leases/)" = 0 ] || fail "$(request GET "/vms?list-type=2&prefix=t$BATS_TEST_NUMBER/leases/")"
	vmbackup restore b - | cmp - b.raw
	vmbackup restore c - | cmp - b.raw
	run vmbackup verify
	assert_success
	assert_output ''
}

@test "healing on the server: a pack that was damaged is as it was" {
	init
	random_bytes 4 5000000 >a.raw
	vmbackup backup --vm a a.raw
	local name
	name=$(request GET "/vms?list-type=2&prefix=t$BATS_TEST_NUMBER/packs/" | grep -o '<Key>[^<]*' | cut -c6-)
	request GET "/vms/$name" >pack
	random_bytes 9 3000 | dd of=pack bs=1 seek=100000 conv=notrunc status=none
	request PUT "/vms/$name" <pack
	run vmbackup verify --heal
	assert_success
	run vmbackup verify
	assert_success
	assert_output ''
	vmbackup restore a - | cmp - a.raw
}

@test "a bucket that keeps versions: this server then replaces objects, and is refused" {
	request PUT /locked x-amz-bucket-object-lock-enabled:true </dev/null
	refused 9 vmbackup -r s3://locked/x init --scrypt-log2n 10
	# switched on later
	request PUT /versions </dev/null
	export VMKIT_REPOSITORY=s3://versions/x
	init
	random_image a.raw 1000000
	vmbackup backup --vm web a.raw
	request PUT "/versions?versioning" <<<'<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>'
	random_image b.raw 1000000 9
	refused 9 vmbackup backup --vm web b.raw
	vmbackup restore web - | cmp - a.raw
}

@test "wrong keys, no bucket, no repository, no room" {
	init
	AWS_SECRET_ACCESS_KEY=wrong refused 12 vmbackup list
	AWS_ACCESS_KEY_ID=WRONG refused 12 vmbackup list
	refused 4 vmbackup -r s3://missing/x list
	[[ $stderr == *"no bucket missing"* ]]
	refused 4 vmbackup -r s3://vms/nothing list
	cd "$BATS_FILE_TMPDIR/ceph"
	radosgw-admin -c ceph.conf user create --uid=small --display-name=small --access-key=AKSMALL \
		--secret-key=SKSMALL >/dev/null 2>&1
	radosgw-admin -c ceph.conf quota set --quota-scope=user --uid=small --max-size=2097152 >/dev/null 2>&1
	radosgw-admin -c ceph.conf quota enable --quota-scope=user --uid=small >/dev/null 2>&1
	cd "$OLDPWD"
	refused 12 env AWS_ACCESS_KEY_ID=AKSMALL AWS_SECRET_ACCESS_KEY=SKSMALL vmbackup list
	export AWS_ACCESS_KEY_ID=AKSMALL AWS_SECRET_ACCESS_KEY=SKSMALL VMKIT_REPOSITORY=s3://small/x
	request PUT /small </dev/null
	init
	random_bytes 9 9000000 >a.raw
	refused 13 vmbackup backup --vm web a.raw
}
