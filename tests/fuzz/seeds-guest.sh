#!/bin/bash
# tests/fuzz/seeds-guest.sh [DIR] - make the seeds of fuzz_guest anew (default: tests/fuzz/corpus/fuzz_guest): the smallest
# file systems with a file of each kind. Needs mke2fs, mkfs.fat and mtools.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_guest}
mkdir -p "$dir"
cd "$dir"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{etc,boot,lib/modules/6.1,bin}
printf 'ID=x\nPRETTY_NAME="X"\n' >"$tree/etc/os-release"
printf 'UUID=1234-5678 /boot vfat ro 0 0\n' >"$tree/etc/fstab"
echo h >"$tree/etc/hostname"
ln -s /etc "$tree/etc/link"
ln "$tree/etc/hostname" "$tree/bin/sh"
seq 9000 >"$tree/blocks"
truncate -s 100k "$tree/hole"
echo x >>"$tree/hole"

truncate -s 128k ext2
mke2fs -q -F -t ext2 -b 1024 -N 32 -d "$tree" ext2
truncate -s 256k ext4
mke2fs -q -F -t ext4 -b 1024 -N 32 -O ^has_journal -d "$tree" ext4
truncate -s 256k inline
mke2fs -q -F -t ext4 -b 1024 -N 32 -I 256 -O ^has_journal,inline_data -d "$tree" inline
truncate -s 128k fat12
mkfs.fat -F 12 -s 1 -i 12345678 fat12 >/dev/null
mmd -i fat12 ::/etc ::/etc/sub
mcopy -i fat12 "$tree/blocks" "::/etc/a long name.txt"
mcopy -i fat12 "$tree/etc/hostname" ::/etc/hostname
