#!/bin/bash
# tests/guest/grub-disk.sh TARGET ROOT SIZE - a raw disk as a distribution makes it: GRUB in front of its first partition, which is ext4
# with the files of ROOT; grub.cfg is ROOT/boot/grub/grub.cfg. What grub-bios-setup does, without root.
set -euo pipefail
target=$1 root=$2 size=$3
grub-mkimage -O i386-pc -o "$target.core" -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 serial echo linux normal halt configfile
rm -f "$target.fs"
truncate -s "$size" "$target.fs"
mke2fs -q -t ext4 -d "$root" "$target.fs"
python3 - "$target" "$target.core" "$target.fs" /usr/lib/grub/i386-pc/boot.img <<'X'
import struct
import sys

target, core, fs, boot = sys.argv[1], *(bytearray(open(f, "rb").read()) for f in sys.argv[2:])
core += bytes(-len(core) % 512)
# Where the first sector of the core finds the others: start, sectors, segment
struct.pack_into("<QHH", core, 500, 2, len(core) // 512 - 1, 0x820)
struct.pack_into("<Q", boot, 0x5C, 1)
boot[440:510] = bytes(70)  # code for floppy disks, where partitions have to be
struct.pack_into("<B3sB3sII", boot, 446, 0x80, b"\0\2\0", 0x83, b"\xff\xff\xff", 2048, len(fs) // 512)
assert len(core) < 2047 * 512 and boot[510:512] == b"\x55\xaa"
open(target, "wb").write((boot + core).ljust(2048 * 512, b"\0") + fs)
X
rm -f "$target.core" "$target.fs"
