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
# NTFS cannot be smaller than 1 MiB and what its boot sectors take; where nothing is, zeros may be left out
truncate -s 1040k ntfs
mkntfs -Q -F -q -s 512 -c 512 -p 0 ntfs >/dev/null 2>&1
# XFS cannot be smaller than 16 MiB: by hand, one group of 64 blocks with two free extents, and a log that ends well
python3 - <<'END'
import struct
block, blocks, log_at, log_len = 512, 64, 32, 16
d = bytearray(block * blocks)
struct.pack_into(">4sIQ", d, 0, b"XFSB", block, blocks)
struct.pack_into(">Q", d, 48, log_at)
struct.pack_into(">IIIIHHH", d, 84, blocks, 1, 0, log_len, 4, 512, 256)
d[120:125] = bytes([9, 9, 8, 1, 6])
agf = struct.pack(">4sIIIIIIIII", b"XAGF", 1, 0, blocks, 4, 5, 0, 1, 1, 0) + struct.pack(">IIII", 0, 0, 0, 26)
d[512:512 + len(agf)] = agf
leaf = struct.pack(">4sHHII", b"ABTB", 0, 2, 0xffffffff, 0xffffffff) + struct.pack(">IIII", 6, 16, 50, 10)
d[4 * block:4 * block + len(leaf)] = leaf
head = struct.pack(">IIIIQQIII", 0xfeedbabe, 1, 2, 512, 0, 0, 0, 0, 1).ljust(320, b"\0") + struct.pack(">I", 32768)
d[log_at * block:log_at * block + len(head)] = head
d[(log_at + 1) * block:(log_at + 1) * block + 10] = struct.pack(">IIBB", 1, 8, 0xaa, 0x20)
open("xfs", "wb").write(d)
END
