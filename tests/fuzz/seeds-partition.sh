#!/bin/bash
# tests/fuzz/seeds-partition.sh [DIR] - make the seeds of fuzz_partition anew (default: tests/fuzz/corpus/fuzz_partition):
# the smallest disks that sfdisk and sgdisk make. Needs both.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_partition}
mkdir -p "$dir"
cd "$dir"

truncate -s 64k mbr
printf '%s\n' start=2,size=2,type=83 start=4,size=2,type=83 start=6,size=2,type=83 start=20,size=80,type=5 \
	start=22,size=10,type=83 start=40,size=10,type=82 |
	sfdisk -q --no-tell-kernel -X dos mbr
truncate -s 64k gpt
sgdisk -a 1 -o -U 5ca1ab1e-0000-4000-8000-000000000001 -n 1:34:40 -u 1:5ca1ab1e-0000-4000-8000-000000000002 gpt >/dev/null
cp gpt backup
dd if=/dev/zero of=backup bs=512 seek=1 count=1 conv=notrunc status=none
