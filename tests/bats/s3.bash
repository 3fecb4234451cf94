# What the files share that use the small S3 server (tests/s3server.py).

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	python3 "$ROOT/tests/s3server.py" port >/dev/null 2>&1 3>&- &
	echo $! >server.pid
	openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 \
		-addext 'subjectAltName=IP:127.0.0.1' 2>/dev/null
	cat key.pem cert.pem >both.pem
	python3 "$ROOT/tests/s3server.py" tls-port "tls=\"$PWD/both.pem\"" >/dev/null 2>&1 3>&- &
	echo $! >tls-server.pid
	for _ in {1..1200}; do
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
	control '{"faults": [], "ignore_precondition": false, "page": 1000, "clock": 0, "versions": false, "old_requests": false}'
}

control() { curl -sf "$AWS_ENDPOINT_URL/_control" -d "$1"; }
# requests METHOD PATTERN - how many there were since the last order, by the server's log
requests() { curl -sf "$AWS_ENDPOINT_URL/_log" | jq -r '"\(.method) \(.path) \(.status)"' | grep -cE "^$1 .*$2" || true; }
# spooled - packs that wait to be uploaded
spooled() { find cache -path '*/spool/*packs*' -type f | wc -l; }

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
	for ((i = 0; i < 1200; i++)); do
		[ "$(keys leases/s-)" = "$before" ] || return 0
		sleep 0.02
	done
	fail "the slow backup does not begin"
}
