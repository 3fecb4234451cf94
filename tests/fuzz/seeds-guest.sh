#!/bin/bash
# tests/fuzz/seeds-guest.sh [DIR] - make the seeds of fuzz_guest anew (default: tests/fuzz/corpus/fuzz_guest): the smallest
# file systems with a file of each kind. Needs mke2fs, mkfs.fat, mkfs.xfs and mtools.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_guest}
data=$(realpath "$(dirname "$0")/../data")
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
# XFS cannot be smaller than 16 MiB; with its log elsewhere all that is read lies at its start, so that it may be cut when its
# superblock says so
echo hello >"$tree/small"
printf 'boot\n0 0\nd--755 0 0\nlink l--777 0 0 etc/os-release\netc d--755 0 0\nos-release ---644 0 0 %s\n$\nmany d--755 0 0\n%s\n$\n$\n' \
	"$tree/etc/os-release" "$(seq -f "a-name-of-a-file-%.0f ---644 0 0 $tree/small" 40)" >"$tree/proto"
truncate -s 16M xfs "$tree/log"
TEST_DIR=1 TEST_DEV=1 QA_CHECK_FS=1 mkfs.xfs -q -f -b size=1024 -d agcount=1 -l "logdev=$tree/log" -p "$tree/proto" xfs
truncate -s 128k xfs
printf '\0\0\0\0\0\0\0\200' | dd of=xfs bs=1 seek=8 conv=notrunc status=none
zstd -q -d -c "$data/lvm-pv.raw.zst" | head -c 12288 >lvm || true
