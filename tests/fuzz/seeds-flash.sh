#!/bin/sh
# tests/fuzz/seeds-flash.sh - write tests/fuzz/corpus/fuzz_flash/: what firmware does, and each command once
set -eu
cd "$(dirname "$0")/corpus"
mkdir -p fuzz_flash
python3 - <<'END'
import struct
w = lambda at, v, size=0: struct.pack("<BHB", size, at // 2, v)
r = lambda at, size=0: struct.pack("<BHB", 0x80 | size, at // 2, 0)
def seed(name, *parts): open("fuzz_flash/" + name, "wb").write(b"".join(parts))
seed("probe", w(100, 0x50), r(100), w(100, 0x70), r(100), w(100, 0xff), r(100, 3))
seed("program", w(100, 0x10), w(100, 7), w(102, 0x40), w(102, 8, 2), r(0), w(0, 0xff), r(100, 2))
seed("erase", w(4098, 0x20), w(4098, 0xd0), r(0), w(0, 0xff), r(4098), w(0, 0x20), w(0, 0xff), w(0, 0x20), w(0, 1), r(0), w(0, 0x50))
seed("buffer", w(2048, 0xe8), w(2048, 2), w(2048, 1), w(2050, 2), w(2052, 3), w(2048, 0xd0), r(0), w(0, 0xff))
seed("buffer-end", w(254, 0xe8), w(254, 2), w(254, 1, 1), w(256, 2), w(254, 0xd0), r(0), w(0, 0x50))
seed("id", w(0, 0x90), r(0), r(2, 1), w(0, 0x98), *[r(n, 1) for n in range(32, 56, 2)], w(0, 0x60), w(0, 1), w(0, 0xff))
END
