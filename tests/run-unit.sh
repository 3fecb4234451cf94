#!/bin/sh
# tests/run-unit.sh [BUILD [LOGDIR [TEST...]]] - run the unit tests of a build; the last line is "N passed, N failed, N skipped"
#
# Each program has 120 s (UNIT_TIMEOUT) and an empty TMPDIR; its TAP output is kept in LOGDIR (default BUILD/check).
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
logs=${2:-$build/check}
if [ $# -gt 2 ]; then shift 2; else set --; fi
mkdir -p "$logs"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmkit-unit.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export ASAN_OPTIONS="detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"

[ $# -gt 0 ] || set -- tests/unit/test_*.c
pass=0 fail=0 skip=0
for source; do
	name=$(basename "$source" .c)
	log=$logs/$name.tap
	mkdir "$tmp/$name"
	TMPDIR=$tmp/$name CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "${UNIT_TIMEOUT:-120}" "$build/unit/$name" \
		>"$log" 2>&1 </dev/null
	rc=$?
	rm -rf "${tmp:?}/$name"
	read -r p f s <<-END
		$(awk -v rc=$rc -f tests/tap.awk "$log")
	END
	pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
	if [ "$f" -gt 0 ]; then
		echo "FAIL $name ($f of $((p + f)); status $rc): $log"
		grep -A 8 '^not ok [0-9]* -' "$log" | head -40 | sed 's/^/     /'
		[ $rc -lt 124 ] || tail -n 15 "$log" | sed 's/^/     /'
	fi
done
echo "$pass passed, $fail failed, $skip skipped"
[ $fail -eq 0 ] && [ $pass -gt 0 ]
