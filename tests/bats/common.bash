# What every bats file shares. At the head of a file:
#
#	load common
#	setup() { common_setup; ...; }		not needed when there is nothing to add
#
# A test runs in a folder of its own that is empty and removed afterwards ($PWD, also $BATS_TEST_TMPDIR), with an
# empty TMPDIR in it ($PWD/.tmp), a HOME of its own, LC_ALL=C, umask 022 and the programs of $VMKIT_BIN (default:
# build/bin) first in PATH. $ROOT is the project's folder. Assertions of bats-assert and bats-file are loaded.

# shellcheck disable=SC2154 # bats sets status, output and stderr
bats_require_minimum_version 1.5.0
# Their own loaders start two processes for each of two dozen files, before every test.
for library in bats-support bats-assert bats-file; do
	if [ -d "/usr/lib/bats/$library/src" ]; then
		# shellcheck disable=SC1090 # the packages'
		for file in "/usr/lib/bats/$library/src"/*.bash; do source "$file"; done
	else
		bats_load_library $library
	fi
done

ROOT=${BATS_TEST_DIRNAME%/tests/*}
VMKIT_BIN=${VMKIT_BIN:-$ROOT/build/bin}
[[ $VMKIT_BIN == /* ]] || VMKIT_BIN=$(realpath -m "$VMKIT_BIN")
VMKIT_TOOLS=${VMKIT_TOOLS:-${VMKIT_BIN%/*}/tools}
# What scripts/deps.sh installed, before others of its name: a shim for python3 costs ten times what python3 does.
PATH=$VMKIT_BIN:/usr/bin:/bin:$PATH:/usr/sbin:/sbin
export ROOT VMKIT_BIN VMKIT_TOOLS PATH LC_ALL=C
umask 022

common_setup() {
	unset VMKIT_REPOSITORY VMKIT_PASSWORD_FILE VMKIT_PASSWORD_COMMAND VMKIT_CONNECT VMKIT_CACHE_DIR \
		SOURCE_DATE_EPOCH NO_COLOR
	unset "${!XDG_@}"
	cd "$BATS_TEST_TMPDIR" || return 1
	mkdir -p .tmp .home || return 1
	export TMPDIR=$BATS_TEST_TMPDIR/.tmp HOME=$BATS_TEST_TMPDIR/.home
	# Sanitizers: one sentence and a status that no program uses, so that no test takes a report for an error.
	export ASAN_OPTIONS=exitcode=99:detect_leaks=1:abort_on_error=0:${ASAN_OPTIONS:-}
	export UBSAN_OPTIONS=exitcode=99:print_stacktrace=1:${UBSAN_OPTIONS:-}
	export TSAN_OPTIONS=exitcode=99:${TSAN_OPTIONS:-}
}
setup() { common_setup; }

# require CMD... - what the test cannot do without. On Debian 12 scripts/deps.sh has installed it, so its absence is
# a failure; elsewhere the test is skipped and says what is missing.
require() {
	local cmd
	for cmd; do
		command -v "$cmd" >/dev/null && continue
		if grep -qs '^VERSION_ID="12"' /etc/os-release && grep -qs '^ID=debian' /etc/os-release; then
			fail "$cmd is missing: run scripts/deps.sh"
		fi
		skip "$cmd is missing"
	done
}

# require_root - for what others cannot test
require_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# sanitized - is this a build with sanitizers? Limits on memory and time mean nothing there.
sanitized() { [[ $VMKIT_BIN == *-san/bin || $VMKIT_BIN == *-tsan/bin || -n ${VMKIT_SANITIZED:-} ]]; }

# preload LIBRARY - of build/tools, as a value for LD_PRELOAD: the sanitizers' runtime has to come first
preload() {
	local runtime=
	[ -e "$VMKIT_TOOLS/$1" ] || fail "$1 is missing: make tools"
	! sanitized || runtime=$(ldd "$VMKIT_BIN/vmimg" | awk '/lib[at]san/ { print $3 }')
	echo "${runtime:+$runtime:}$VMKIT_TOOLS/$1"
}

# elsewhere TEMPLATE - makes a folder that can't be in the test's own; tests/run-bats.sh removes it when the test is stopped
elsewhere() {
	local folder
	folder=$(mktemp -d "$1") || return 1
	[ -z "${VMKIT_TEST_FOLDERS:-}" ] || echo "$folder" >>"$VMKIT_TEST_FOLDERS"
	echo "$folder"
}

# as_nobody CMD... - without root's privileges (as the caller, when that is not root), in the test's folder
as_nobody() {
	if [ "$(id -u)" = 0 ]; then
		chmod 711 "$BATS_RUN_TMPDIR" && chmod 1777 "$BATS_TEST_TMPDIR" "$TMPDIR" || return 1
		setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
	else
		"$@"
	fi
}

# ---- running and looking at what came out

# run_split CMD... - as run, with $output and $stderr apart
run_split() { run --separate-stderr "$@"; }

# assert_status N - of the last run; prints both streams when it differs
assert_status() {
	[ "$status" = "$1" ] && return
	fail "status $status instead of $1
-- output --
$output
-- stderr --
${stderr:-}"
}

# refused N CMD... - CMD ends with status N, says one line "PROGRAM: ..." on standard error (a second line "hint: ..."
# may follow) and nothing on standard output. $stderr holds what it said.
refused() {
	local want=$1
	shift
	run --separate-stderr "$@"
	assert_status "$want"
	[ -z "$output" ] || fail "standard output: $output"
	[[ $stderr == *": "* ]] || fail "no message on standard error: $stderr"
	local first=${stderr%%$'\n'*} rest=
	[ "$first" = "$stderr" ] || rest=${stderr#*$'\n'}
	[[ $first == vm*:\ * ]] || fail "not PROGRAM: sentence: $first"
	[[ -z $rest || ($rest == hint:\ * && $rest != *$'\n'*) ]] || fail "more than one line: $stderr"
}

# wait_for CMD... - until CMD succeeds; two minutes at most. What a test waits for is asked for, not given a time: machines differ.
wait_for() {
	local end=$((SECONDS + 120))
	until "$@"; do
		((SECONDS < end)) || fail "in vain: $*"
		sleep 0.03
	done
}

# hears PID - it has a handler for SIGTERM: what it says then is its own
hears() { (((0x$(awk '/^SigCgt/ { print $2 }' "/proc/$1/status") >> 14) & 1)); }

# locked FILE... - QEMU, or a program of ours, holds a lock on each of them
locked() {
	local file
	for file; do grep -q ":$(stat -c %i "$file") " /proc/locks || return; done
}

# json FILTER - of $output, raw, for comparisons: [ "$(json .virtual_size_bytes)" = 4096 ]
json() { jq -r "$1" <<<"$output"; }

# assert_schema PROGRAM-VERB [FILE] - $output (or FILE), one document or one a line, holds against docs/schema
assert_schema() {
	local schema=$ROOT/docs/schema/$1.json
	[ -f "$schema" ] || fail "$schema is missing"
	require python3
	if [ -n "${2:-}" ]; then
		python3 "$ROOT/tests/schema.py" "$schema" <"$2" || fail "$2 breaks $1.json"
	else
		python3 "$ROOT/tests/schema.py" "$schema" <<<"$output" || fail "output breaks $1.json: $output"
	fi
}

# assert_clean [DIR] - no temporary file of ours below DIR (default: the test's folder, TMPDIR in it)
assert_clean() {
	local left
	left=$(find "${1:-$BATS_TEST_TMPDIR}" -name '*.vmkit-*' -o -path '*/.tmp/*')
	[ -z "$left" ] || fail "left behind: $left"
}

# assert_same_bytes A B - byte for byte
assert_same_bytes() { cmp -- "$1" "$2" || fail "$1 and $2 differ"; }

# assert_same_disk A B [FORMAT_A [FORMAT_B]] - the same guest content, by qemu-img; formats default to what qemu probes
assert_same_disk() {
	require qemu-img
	qemu-img compare ${3:+-f "$3"} ${4:+-F "$4"} "$1" "$2" >.compare 2>&1 || fail "$1 $2: $(cat .compare)"
	rm -f .compare
}

# assert_qemu_clean IMAGE - qemu-img check finds neither errors nor leaks
assert_qemu_clean() {
	require qemu-img
	qemu-img check "$1" >.check 2>&1 || fail "$1: $(cat .check)"
	rm -f .check
}

# ---- making disks. All of it is a function of the arguments: the same seed, the same bytes.

# random_bytes SEED LENGTH - to standard output
random_bytes() { "$VMKIT_TOOLS/testdata" bytes "$1" "$2"; }

# random_image FILE SIZE [SEED [PIECES]] - a sparse raw file (SIZE in bytes) with PIECES (default 20) runs of data:
# random, text that compresses, and written zeros, of 512 bytes to 128 KiB, at multiples of 512
random_image() { "$VMKIT_TOOLS/testdata" image "$1" "$2" "${3:-1}" "${4:-20}"; }

# qemu_writes FILE FORMAT SIZE [SEED [COUNT]] - COUNT (default 100) random writes, zero writes and discards by qemu-io
qemu_writes() {
	local file=$1 format=$2 size=$3 state=${4:-1} count=${5:-100} i off len
	require qemu-io
	for ((i = 0; i < count; i++)); do
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		off=$((state * 512 % (size / 512 * 512)))
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		len=$(((state >> 8) % 300 * 512 + 512))
		((off + len <= size)) || len=$((size - off))
		case $((state >> 20 & 7)) in
		0) echo "write -z $off $len" ;;
		1) echo "write -z -u $off $len" ;;
		2) echo "discard $off $len" ;;
		*) echo "write -P $((state >> 16 & 255)) $off $len" ;;
		esac
	done >.qemu-io
	qemu-io -f "$format" -d unmap "$file" <.qemu-io >.qemu-io.out 2>&1 || fail "$(tail -3 .qemu-io.out)"
	! grep -iE 'failed|error' .qemu-io.out || fail "qemu-io refused a write"
	rm -f .qemu-io .qemu-io.out
}

# ext4_image FILE SIZE [DIR] - a raw disk with an ext4 file system that holds DIR's files
ext4_image() {
	require mke2fs
	truncate -s "$2" "$1"
	mke2fs -q -t ext4 -F -U 5ca1ab1e-0000-4000-8000-000000000001 -E root_owner=0:0,hash_seed=5ca1ab1e-0000-4000-8000-000000000002 \
		${3:+-d "$3"} "$1"
}

# patch_bytes FILE OFFSET HEX - overwrite bytes: patch_bytes a.qcow2 0x14 ffff
patch_bytes() {
	local hex
	hex=$(sed 's/../\\x&/g' <<<"$3")
	printf '%b' "$hex" | dd of="$1" bs=1 seek="$(($2))" conv=notrunc status=none
}

# sha256 FILE
sha256() { sha256sum <"$1" | cut -d' ' -f1; }

# allocated FILE - bytes on disk
allocated() { echo $(($(stat -c %b "$1") * 512)); }
