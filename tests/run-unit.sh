#!/bin/bash
# tests/run-unit.sh [BUILD [LOGDIR [SOURCE...]]] - run the unit tests of a build, as many at a time as there are processors; the
# last line is "N passed, N failed, N skipped"
#
# Each program has 120 s (UNIT_TIMEOUT) and an empty TMPDIR; its TAP output is kept in LOGDIR (default BUILD/check).
set -u
cd "$(dirname "$0")/.." || exit 1
export build=${1:-build}
export logs=${2:-$build/check}
sources=("${@:3}")
[ ${#sources[@]} -gt 0 ] || sources=(tests/unit/test_*.c)
mkdir -p "$logs"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmkit-unit.XXXXXX") || exit 1
export tmp
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export ASAN_OPTIONS="detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"

# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "${sources[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
	name=$(basename "$1" .c)
	log=$logs/$name.tap
	mkdir "$tmp/$name"
	TMPDIR=$tmp/$name CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "${UNIT_TIMEOUT:-120}" "$build/unit/$name" \
		>"$log" 2>&1 </dev/null
	rc=$?
	rm -rf "${tmp:?}/$name"
	counts=$(awk -v rc=$rc -f tests/tap.awk "$log")
	echo "$counts" >"$tmp/$name.counts"
	read -r p f s <<<"$counts"
	if [ "$f" -gt 0 ]; then
		echo "FAIL $name ($f of $((p + f)); status $rc): $log"
		grep -A 8 "^not ok [0-9]* -" "$log" | head -40 | sed "s/^/     /"
		[ $rc -lt 124 ] || tail -n 15 "$log" | sed "s/^/     /"
	fi
' _
awk '{ p += $1; f += $2; s += $3; n++ }
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit !(n && p && !f) }' "$tmp"/*.counts
