#!/bin/bash
# tests/run-bats.sh [-j JOBS] [-t TAGS] [BUILD [LOGDIR [FILE...]]] - run bats files against a build's programs, JOBS files
# (default: the processors and two, for tests also wait) at a time; the last line is "N passed, N failed, N skipped".
#
# A test has 120 s (BATS_TEST_TIMEOUT; ./check gives it more, for slow machines), a file 900 s (BATS_FILE_TIMEOUT). -t hands TAGS to bats --filter-tags: '!slow'.
set -u
jobs=$(($(nproc) + 2)) tags=
while getopts j:t: opt; do
	case $opt in
	j) jobs=$OPTARG ;;
	t) tags=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
logs=${2:-$build/check}
files=("${@:3}")
# The largest first, for a long one that began last would run alone; between them those whose nested hosts keep a processor busy
# to their end, while others also wait.
if [ ${#files[@]} -eq 0 ]; then
	mapfile -t hosts < <(grep -l nested-kvm.sh tests/bats/*.bats)
	mapfile -t others < <(find tests/bats -name '*.bats' -printf '%s %p\n' | sort -rn | cut -d ' ' -f 2 | grep -vxFf <(printf '%s\n' "${hosts[@]}"))
	for i in "${!others[@]}"; do
		files+=("${others[i]}")
		((i % 3)) || files+=("${hosts[@]:i / 3:1}")
	done
fi
mkdir -p "$logs"
logs=$(realpath "$logs")
export VMKIT_BIN=$PWD/$build/bin VMKIT_TOOLS=$PWD/$build/tools
[[ $build != /* ]] || export VMKIT_BIN=$build/bin VMKIT_TOOLS=$build/tools
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-120} logs tags
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmkit-bats.XXXXXX") || exit 1
export VMKIT_TEST_FOLDERS=$tmp/folders
echo "$tmp" >"$VMKIT_TEST_FOLDERS"
# What a test that was stopped has left: daemons (libvirtd, their guests) have other parents and groups, but know its folders
left() { env -u TMPDIR -u VMKIT_TEST_FOLDERS grep -alsFf "$VMKIT_TEST_FOLDERS" /proc/[0-9]*/environ | sed 's|^/proc/||; s|/.*||'; }
ended=
end() {
	local pids
	for signal in TERM KILL; do
		mapfile -t pids < <(left)
		[ ${#pids[@]} -gt 0 ] || break
		[ -z "$ended" ] || ps -o pid=,args= -p "${pids[*]}" | cut -c 1-150 | sed 's/^/left by a test: /' >&2
		kill -$signal "${pids[@]}" 2>/dev/null
		sleep 1
	done
	xargs -d '\n' rm -rf <"$VMKIT_TEST_FOLDERS"
}
trap end EXIT
trap 'exit 130' INT TERM
export TMPDIR=$tmp

# In the background, so that a signal is heard at once, and with job control, without which they would not hear SIGINT
set -m
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "${files[@]}" | xargs -0 -P "$jobs" -n 1 bash -c '
	name=$(basename "$1" .bats) log=$logs/bats-$(basename "$1" .bats).tap start=$SECONDS
	TIMEFORMAT="%U %S"
	{ time timeout -k 10 "${BATS_FILE_TIMEOUT:-900}" bats --formatter tap --timing ${tags:+--filter-tags "$tags"} "$1" \
		>"$log" 2>&1 </dev/null; } 2>"$TMPDIR/$name.cpu"
	rc=$?
	counts=$(awk -v rc=$rc -f tests/tap.awk "$log")
	# Every test of a file may be filtered away.
	[ "$rc" -ne 0 ] || ! grep -qx "1\.\.0" "$log" || counts="0 0 0"
	echo "$counts" >"$TMPDIR/$name.counts"
	read -r p f s <<<"$counts"
	if [ "$f" -gt 0 ]; then
		printf "FAIL %s (%s of %s; status %s): %s\n" "$name" "$f" $((p + f)) "$rc" "$log"
		grep -A 12 "^not ok" "$log" | head -60 | sed "s/^/     /"
		grep -q "^not ok" "$log" || tail -n 15 "$log" | sed "s/^/     /"
	else
		read -r user system <"$TMPDIR/$name.cpu"
		[ "$s" = 0 ] && s= || s=", $s skipped"
		printf "ok   %-28s %3d tests %4d s, %4d s of a processor%s\n" "$name" "$p" $((SECONDS - start)) \
			$((${user%.*} + ${system%.*})) "$s"
	fi
' _ &
set +m
wait $!
ended=1
awk '{ p += $1; f += $2; s += $3; n++ }
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit !(n && p && !f) }' "$tmp"/*.counts
