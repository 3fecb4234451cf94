#!/bin/bash
# tests/fuzz/seeds-vhd.sh [DIR] - make the seeds of fuzz_vhd anew (default: tests/fuzz/corpus/fuzz_vhd). Blocks of 4096
# bytes keep them small: no writer makes such, every reader takes them. Needs python3, and vmimg in PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/corpus/fuzz_vhd}
mkdir -p "$dir"
cd "$dir"
py() { python3 "$here/../tools/vhd.py" "$@"; }

vmimg create --force -f vhd -o subformat=fixed fixed 8k
cp fixed old
py old old
vmimg create --force -f vhd -o block_size=512k dynamic 4M
py child fixed child -b 4096 -l ru -l ku 0=65 9=66
py child fixed named -b 4096 -l name 3=67
cp child cut
truncate -s -512 cut
