#!/bin/bash
# tests/lint/run.sh [--quick] [BUILD [LOGDIR]] - run every check of this folder; the last line is "N passed, N failed, N skipped"
#
# A check is an executable here that prints what offends and ends with 0, 1 or, saying what is missing, 77. It runs in the
# project's folder with $BUILD (a build made before) and $SOURCES, $HEADERS, $SCRIPTS: files of the tree, not what git
# ignores. --quick leaves out those that say "slow" in their second line.
set -u
quick=
if [ "${1:-}" = --quick ]; then
	quick=1
	shift
fi
cd "$(dirname "$0")/../.." || exit 1
export BUILD=${1:-build} LC_ALL=C
# What scripts/deps.sh installed, before others of its name.
export PATH=/usr/bin:/bin:$PATH
logs=${2:-$BUILD/check/lint}
mkdir -p "$logs"

# Without a git folder (a tarball) every file counts.
tree() {
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "$@" | sort -u | tr '\n' '\0' | xargs -0 ls -d 2>/dev/null
	else
		find . -path './build*' -prune -o -type f -print | sed 's|^\./||' | sort |
			grep -E "$(printf '%s|' "$@" | sed 's/\./\\./g; s/\*/.*/g; s/|$//')"
	fi
}
SOURCES=$(tree '*.c' | xargs)
HEADERS=$(tree '*.h' | xargs)
# One awk for all files: there are a thousand seeds among them.
SCRIPTS=$(tree '*' | tr '\n' '\0' | xargs -0 awk '
	FNR == 1 && (FILENAME ~ /\.(bats|bash)$/ ? FILENAME !~ /^completions\// : /^#!.*(\/sh|\/bash|env bash)/) { print FILENAME }
	{ nextfile }' | xargs)
export SOURCES HEADERS SCRIPTS

checks=()
for check in tests/lint/check-*; do
	[ -x "$check" ] || continue
	if [ -n "$quick" ] && sed -n 2p "$check" | grep -q slow; then continue; fi
	checks+=("$check")
done
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmkit-lint.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export tmp logs

# Slow ones first, so that the two processors end together.
# shellcheck disable=SC2016 # expanded by the inner shell
for check in "${checks[@]}"; do
	sed -n 2p "$check" | grep -q slow && echo "0 $check" || echo "1 $check"
done | sort -s -k1,1n | cut -d' ' -f2 | xargs -P "$(nproc)" -n 1 bash -c '
	name=${1##*/check-} log=$logs/${1##*/check-}.log start=$SECONDS
	timeout -k 5 400 "$1" >"$log" 2>&1 </dev/null
	case $? in
	0) echo 1 0 0 >"$tmp/$name"; printf "ok   %s (%d s)\n" "$name" $((SECONDS - start)); sed -n "s/^warning: /     warning: /p" "$log" ;;
	77) echo 0 0 1 >"$tmp/$name"; printf "skip %s: %s\n" "$name" "$(tail -n 1 "$log")" ;;
	*) echo 0 1 0 >"$tmp/$name"; printf "FAIL %s: %s\n%s\n" "$name" "$log" "$(head -n 40 "$log" | sed "s/^/     /")" ;;
	esac
' _
awk '{ p += $1; f += $2; s += $3; n++ }
	END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit !(n && p && !f) }' "$tmp"/*
