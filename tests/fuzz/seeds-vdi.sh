#!/bin/bash
# tests/fuzz/seeds-vdi.sh [DIR] - make the seeds of fuzz_vdi anew (default: tests/fuzz/corpus/fuzz_vdi): images with
# blocks of 4 KiB, so that data are within reach of a mutation. Needs python3.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_vdi}
mkdir -p "$dir"
cd "$dir"
python3 - <<'EOP'
import struct

def vdi(name, kind, entries, blocks, parent=bytes(16), block_size=4096, data=1024):
    head = bytearray(512)
    head[:40] = b"<<< Oracle VM VirtualBox Disk Image >>>\n"
    struct.pack_into("<IIIII", head, 64, 0xBEDA107F, 0x00010001, 400, kind, 0)
    struct.pack_into("<II", head, 340, 512, data)
    struct.pack_into("<I", head, 360, 512)
    struct.pack_into("<Q", head, 368, len(entries) * block_size - 512)
    struct.pack_into("<IIII", head, 376, block_size, 0, len(entries), blocks)
    head[392:408] = b"\x11" * 16
    head[424:440] = parent
    map_ = struct.pack(f"<{len(entries)}I", *entries)
    body = b"".join(bytes([65 + i]) * block_size for i in range(blocks))
    with open(name, "wb") as f:
        f.write(bytes(head) + map_.ljust(data - 512, b"\0") + body)

NONE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE
vdi("dynamic", 1, [NONE, 1, 0, NONE, 2, ZERO], 3)
vdi("static", 2, [0, 1], 2)
vdi("empty", 1, [NONE] * 4, 0)
vdi("differencing", 4, [NONE, 0, ZERO], 1, parent=b"\x22" * 16)
vdi("twice", 1, [0, 0, NONE, 1], 3)
vdi("beyond", 1, [0, 77], 1)
EOP
