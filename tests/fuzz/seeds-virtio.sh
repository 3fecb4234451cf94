#!/bin/sh
# tests/fuzz/seeds-virtio.sh - write tests/fuzz/corpus/fuzz_virtio/: honest requests of each kind, and rings that loop
set -eu
cd "$(dirname "$0")/corpus"
mkdir -p fuzz_virtio
python3 - <<'END'
import struct
NEXT, WRITE, INDIRECT = 1, 2, 4
def memory(descs, heads, parts):
    m = bytearray(0x8000)
    def put(addr, b): m[addr - 0x1000:addr - 0x1000 + len(b)] = b
    for i, d in descs.items(): put(0x1000 + 16 * i, struct.pack("<QIHH", *d))
    put(0x2000, struct.pack("<HH", 0, len(heads)) + b"".join(struct.pack("<H", h) for h in heads))
    for a, b in parts.items(): put(a, b)
    return bytes(m).rstrip(b"\0") + b"\0"
def seed(name, flags, regs, mem): open("fuzz_virtio/" + name, "wb").write(bytes([flags | len(regs) << 1]) + b"".join(regs) + mem)
def request(type, sector, n, write, data=b""):
    return memory({0: (0x4000, 16, NEXT, 1 if n else 2), 1: (0x5000, n, NEXT | (0 if write else WRITE), 2), 2: (0x4100, 1, WRITE, 0)},
                  [0, 0], {0x4000: struct.pack("<IIQ", type, 0, sector), 0x5000: data})
def reg(bar, size, off, value): return struct.pack("<BBHI", bar, size, off, value)
seed("read", 0, [], request(0, 3, 1024, False))
seed("write", 0, [], request(1, 100, 512, True, b"x" * 512))
seed("flush", 0, [], request(4, 0, 0, False))
seed("id", 0, [], request(8, 0, 20, False))
seed("discard", 0, [], request(11, 0, 32, True, struct.pack("<QIIQII", 0, 8, 0, 16, 8, 0)))
seed("zeroes", 0, [], request(13, 0, 16, True, struct.pack("<QII", 5, 20, 1)))
seed("indirect", 0, [], memory({0: (0x4800, 48, INDIRECT, 0)}, [0], {0x4000: struct.pack("<IIQ", 0, 0, 1), 0x4800:
     struct.pack("<QIHHQIHHQIHH", 0x4000, 16, NEXT, 1, 0x5000, 512, NEXT | WRITE, 2, 0x4100, 1, WRITE, 0)}))
seed("loop", 0, [], memory({0: (0x4000, 16, NEXT, 1), 1: (0x4000, 16, NEXT, 0)}, [0], {}))
seed("beyond", 0, [], memory({0: (0x1fffff, 16, WRITE, 0)}, [0], {}))
seed("rng", 1, [], memory({0: (0x4000, 64, WRITE, 0)}, [0], {}))
message = lambda port, event, value: struct.pack("<IHH", port, event, value)
seed("console", 0x81, [], memory({0: (0x4000, 8, 0, 0), 1: (0x4010, 8, 0, 0), 2: (0x4020, 9, 0, 0), 3: (0x5000, 64, WRITE, 0)}, [0, 1, 2, 3],
     {0x4000: message(0, 0, 1), 0x4010: message(2, 3, 1), 0x4020: b"status 3\n"}))
frame = bytes(range(60))
header = bytes(12)
seed("net-send", 0x80, [], memory({0: (0x4000, 12, NEXT, 1), 1: (0x5000, 60, 0, 0)}, [0], {0x4000: header, 0x5000: frame}))
seed("net-receive", 0x80, [], memory({0: (0x4000, 40, WRITE, 0), 1: (0x4100, 60, WRITE, 0), 2: (0x4200, 12, WRITE, 0)}, [0, 1, 2],
     {0x8000: struct.pack(">I", 60) + frame}))
# A driver that takes merged buffers: F_MRG_RXBUF and version 1
merges = [reg(0, 2, 8, 0), reg(0, 2, 12, 1 << 15), reg(0, 2, 8, 1), reg(0, 2, 12, 1)]
seed("net-merge", 0x80, merges, memory({0: (0x4000, 40, WRITE, 0), 1: (0x4100, 60, WRITE, 0), 2: (0x4200, 12, WRITE, 0)}, [0, 1, 2],
     {0x8000: struct.pack(">I", 60) + frame + struct.pack(">I", 14) + frame[:14]}))
seed("net-length", 0x80, merges, memory({0: (0x4000, 400, WRITE, 0)}, [0], {0x8000: struct.pack(">I", 70000) + frame}))
seed("net-gso", 0x80, [], memory({0: (0x4000, 72, 0, 0)}, [0], {0x4000: b"\1\1" + bytes(10) + frame}))
setup = [reg(0, 2, 8, 1), reg(0, 2, 12, 1), reg(0, 0, 0x14, 11), reg(0, 1, 0x18, 16), reg(0, 2, 0x20, 0x1000), reg(0, 2, 0x28, 0x2000),
         reg(0, 2, 0x30, 0x3000), reg(0, 1, 0x1a, 1), reg(0, 1, 0x1c, 1), reg(0, 0, 0x14, 15)]
seed("registers", 0, setup, request(0, 0, 512, False))
seed("msix", 1, [reg(1, 2, 0, 0xfee00000), reg(1, 2, 8, 0x21), reg(1, 2, 12, 0), reg(0x80, 1, 0x40, 0x8000)], b"\0")
other = lambda name, vsock, mem: open("fuzz_virtio/" + name, "wb").write(bytes([126 | vsock, 0]) + mem)
other("balloon", 0, memory({0: (0x4000, 12, 0, 0), 1: (0x5000, 0x3000, WRITE, 0)}, [0, 1], {0x4000: struct.pack("<III", 9, 10, 0x1ff)}))
packet = lambda op, port, data=b"", flags=0: struct.pack("<QQIIIHHIII", 3, 2, 9, port, len(data), 1, op, flags, 65536, 0) + data
other("vsock", 1, memory({0: (0x4000, 44, 0, 0), 1: (0x4100, 50, 0, 0), 2: (0x4200, 44, 0, 0), 3: (0x5000, 0x1000, WRITE, 0)}, [0, 1, 2, 3],
     {0x4000: packet(1, 80), 0x4100: packet(5, 80, b"hello!"), 0x4200: packet(4, 80, b"", 3)}))
END
