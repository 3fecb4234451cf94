#!/bin/bash
# tests/fuzz/seeds-freemap.sh [DIR] - make the seeds of fuzz_freemap anew (default: tests/fuzz/corpus/fuzz_freemap): the
# smallest file systems that mke2fs, mkfs.fat, mkntfs and mkswap make. Needs them.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_freemap}
mkdir -p "$dir"
cd "$dir"
id=5ca1ab1e-0000-4000-8000-000000000001

truncate -s 64k ext2
mke2fs -q -F -t ext2 -b 1024 -N 16 -U $id ext2
truncate -s 256k ext4
mke2fs -q -F -t ext4 -b 1024 -N 16 -O ^has_journal -U $id ext4
truncate -s 64k fat12
mkfs.fat -F 12 -s 1 -i 12345678 fat12 >/dev/null
truncate -s 44k swap
chmod 600 swap
mkswap -q -U $id swap
chmod 644 swap
# NTFS cannot be smaller than 1 MiB; where nothing is, zeros may be left out
truncate -s 1M ntfs
mkntfs -Q -F -q -s 512 -c 512 -p 0 ntfs >/dev/null 2>&1
