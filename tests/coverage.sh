#!/bin/bash
# tests/coverage.sh BUILD - run the tests of a build made with COV=1, then print lines covered by file, least first
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:?build folder}
find "$build" -name '*.gcda' -delete
tests/run-unit.sh "$build" || exit 1
tests/run-bats.sh "$build" || exit 1
find "$build/libcommon" "$build/cmd" -name '*.gcda' -exec gcov -n -o / {} + 2>/dev/null |
	awk -F"'" '/^File/ { file = $2 }
		/^Lines executed/ {
			if (file ~ /^(libcommon|cmd)\/.*\.c$/) {
				split($0, v, /[:% ]+/)
				covered[file] = v[3] + 0
				lines[file] = $0
				sub(/.* of /, "", lines[file])
			}
			file = ""
		}
		END {
			for (f in lines) {
				printf "%6.1f %%  %5d  %s\n", covered[f], lines[f], f | "sort -n"
				all += lines[f]
				hit += lines[f] * covered[f] / 100
			}
			close("sort -n")
			if (all)
				printf "%6.1f %%  %5d  together\n", 100 * hit / all, all
		}'
