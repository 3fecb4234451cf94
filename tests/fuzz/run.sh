#!/bin/bash
# tests/fuzz/run.sh BUILD SECONDS [LOGDIR [TARGET...]] - run each fuzz target of BUILD (made with FUZZ=1) for SECONDS, as many
# at a time as there are processors; the last line is "N passed, N failed, N skipped", one a target.
#
# Seeds are tests/fuzz/corpus/TARGET/; what the fuzzer adds stays in BUILD/corpus/TARGET, a crashing input in LOGDIR
# (default BUILD/check). tests/fuzz/TARGET.dict is used when there is one. With a build that has no libFuzzer the seeds and
# 200 fixed mutations of each are run instead. An input has 10 s and 1 GiB.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:?build folder}
export build seconds=${2:?seconds} logs=${3:-$1/check}
targets=("${@:4}")
[ ${#targets[@]} -gt 0 ] || for f in tests/fuzz/fuzz_*.c; do targets+=("$(basename "$f" .c)"); done
mkdir -p "$logs"
logs=$(realpath "$logs")
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmkit-fuzz.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export TMPDIR=$tmp
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "${targets[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
	name=$1 program=$build/fuzz/$1 log=$logs/$1.log seeds=tests/fuzz/corpus/$1 new=$build/corpus/$1
	mkdir -p "$new"
	[ -d "$seeds" ] || seeds=
	if grep -aq LLVMFuzzerRunDriver "$program" 2>/dev/null; then
		dict=tests/fuzz/$name.dict
		[ -f "$dict" ] && dict=-dict=$dict || dict=
		timeout -k 10 $((seconds + 120)) "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
			-malloc_limit_mb=512 -max_len=1048576 -print_final_stats=1 -artifact_prefix="$logs/$name-" \
			$dict "$new" $seeds >"$log" 2>&1 </dev/null
	else
		timeout -k 10 $((seconds + 120)) "$program" -r 200 $seeds "$new" >"$log" 2>&1 </dev/null
	fi
	rc=$?
	runs=$(sed -n "s/^stat::number_of_executed_units: *//p; s/ runs$//p" "$log" | tail -n 1)
	if [ $rc -eq 0 ] && [ "${runs:-0}" -gt 0 ]; then
		printf "ok   %-28s %9d runs\n" "$name" "$runs"
		echo 1 0 0 >"$TMPDIR/$name.counts"
	else
		printf "FAIL %s (status %d): %s\n" "$name" $rc "$log"
		grep -nE "ERROR|SUMMARY|runtime error|Test unit written|#[0-9] " "$log" | head -15 | sed "s/^/     /"
		echo 0 1 0 >"$TMPDIR/$name.counts"
	fi
' _
awk '{ p += $1; f += $2; s += $3; n++ }
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit !(n && p && !f) }' "$tmp"/*.counts
