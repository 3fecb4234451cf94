# What fails or stalls below us: system calls that are refused, a killed process, pipes that give or take nothing.
# bats file_tags=slow

setup() {
	load common
	common_setup
	require python3
}

teardown() { [ -z "${memory:-}" ] || rm -rf "$memory"; }

# faults ARGS... - of tests/faults.py. In memory, where there is room: nobody looks at what a sync does, and there are thousands
faults() {
	local folder=$PWD/faults room
	[ -e "$VMKIT_TOOLS/inject.so" ] || fail "inject.so is missing: make tools"
	room=$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)
	if [ "${room:-0}" -gt 1000000 ]; then
		folder=$(elsewhere /dev/shm/vmkit-faults.XXXXXX)
		memory=$folder
	fi
	mkdir -p "$folder"
	run python3 "$ROOT/tests/faults.py" "$VMKIT_BIN" "$VMKIT_TOOLS/inject.so" "$folder" "$@"
	assert_status 0
}

# at_each_fault JOB... - every eleventh call; all of them: tests/faults.py build/bin build/tools/inject.so FOLDER
at_each_fault() {
	local jobs=() job
	for job; do jobs+=(-j "$job"); done
	faults -s 11 "${jobs[@]}"
}

# bats test_tags=release
@test "convert: a call fails, or is the last: the target is whole or as it was" {
	at_each_fault raw-qcow2 raw-qcow2-zstd qcow2-raw qcow2-raw-named raw-raw
}

# bats test_tags=release
@test "convert --force: a call fails, or is the last: the old file or the new one" {
	at_each_fault qcow2-raw-force raw-qcow2-force-named
}

# bats test_tags=release
@test "convert --resume: a call fails, or is the last: the next one makes the same bytes" {
	at_each_fault resume-qcow2 resume-vmdk
}

# bats test_tags=release
@test "check --repair: a call fails, or is the last: no data are lost" {
	at_each_fault repair repair-lost
}

# bats test_tags=release
@test "init and backup: a call fails, or is the last: older snapshots stay, the next run works" {
	at_each_fault init backup backup-unchanged backup-adopts backup-deltas
}

# bats test_tags=release
@test "prune: a call fails, or is the last: what stays is whole, the next one frees the rest" {
	at_each_fault prune prune-again prune-repaired forget
}

# bats test_tags=release
@test "copy: a call fails, or is the last: both repositories are whole" {
	at_each_fault copy
}

# bats test_tags=release
@test "repair, verify --heal: a call fails, or is the last: the repository is whole, or no worse than before" {
	at_each_fault heal verify-heal repair-from verify-damaged
}

# bats test_tags=release
@test "key change, add, remove: a call fails, or is the last: the repository opens" {
	at_each_fault key-change key-change-file key-add key-remove
}

# bats test_tags=release
@test "encrypted backup: a call fails, or is the last" {
	at_each_fault backup-encrypted
}

# bats test_tags=release
@test "restore: a call fails, or is the last: the target is whole or as it was" {
	at_each_fault restore restore-qcow2-force restore-differential
}

# bats test_tags=release
@test "reads: a call that reads, looks or opens fails once: no wrong data, nothing good is lost, no damage stays on record" {
	faults --reads -s 151 -H eio -j backup -j verify -j heal
}

# bats test_tags=release
@test "backup with four threads: a call fails, or is the last" {
	faults --threads 4 -s 61 -H eio -H kill -j backup
}

# bats test_tags=release
@test "a backup that merges the index: the disk dies at some moment: it ends, with nothing lost" {
	faults -s 5 -H dead -H eio -j backup-merges
}

# stopped CMD... - SIGTERM ends CMD, with descriptor 7 as its input, with status 143 and one sentence
stopped() {
	"$@" 2>err <&7 &
	local pid=$! rc=0
	wait_for hears $pid
	sleep 0.3
	kill -TERM "$pid"
	timeout 20 tail --pid="$pid" -f /dev/null || {
		kill -KILL "$pid"
		fail "$* goes on after SIGTERM"
	}
	wait "$pid" || rc=$?
	[ "$rc" = 143 ] || fail "status $rc: $(cat err)"
	[[ $(wc -l <err) = 1 && $(cat err) == vm*"stopped by signal 15"* ]] || fail "$(cat err)"
}

@test "a pipe that gives nothing: a signal ends the wait" {
	export VMKIT_REPOSITORY=repo
	vmbackup init --no-encryption
	mkfifo pipe
	exec 7<>pipe
	stopped vmimg convert - x.raw <&7
	stopped vmimg digest -
	stopped vmbackup backup --vm a -
	exec 7</dev/null
	# No writer at all
	stopped vmimg info pipe
	assert_not_exists x.raw
	assert_clean
}

@test "a pipe that takes nothing: a signal ends the wait" {
	export VMKIT_REPOSITORY=repo
	random_bytes 1 4000000 >a.raw
	vmbackup init --no-encryption
	vmbackup backup --vm a a.raw
	mkfifo pipe
	exec 7<>pipe
	stopped vmimg convert -O raw a.raw - >&7
	stopped vmimg convert -O qcow2 a.raw - >&7
	stopped vmbackup restore -O raw a@latest - >&7
	exec 7>&-
	assert_clean
}
