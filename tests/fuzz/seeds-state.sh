#!/bin/sh
# tests/fuzz/seeds-state.sh - write tests/fuzz/corpus/fuzz_state/: machines as fuzz_state.c has them, their heads and memory, and layers
set -eu
cd "$(dirname "$0")/corpus"
mkdir -p fuzz_state
python3 - <<'X'
import json
import struct

def q(*v): return b"".join(struct.pack("<Q", x & (1 << 64) - 1) for x in v)
def section(tag, index, data): return struct.pack("<4sIQ", tag, index, len(data)) + data + bytes(-len(data) % 8)
def seed(name, *parts): open("fuzz_state/" + name, "wb").write(b"".join(parts))
def conf(**more):
    text = {"cpus": 1, "streams": False, "balloon": False, "vsock": False, "nets": [], "shares": [], "disks": []}
    return section(b"CONF", 0, json.dumps({**text, **more}).encode())
def pci(slot, vendor, device, subsystem):
    config = bytearray(256)
    struct.pack_into("<HHH", config, 0, vendor, device, 6)
    struct.pack_into("<HH", config, 0x2c, 0x1af4, subsystem)
    return section(b"PCID", slot, bytes(config) + q(0, 1, 0) + bytes(512))
def queue(n): return q(8, n * 0x3000, n * 0x3000 + 0x1000, n * 0x3000 + 0x2000, 1, 0, 0, 0)
def virtio(slot, queues): return section(b"VIRT", slot, q(15, 1 << 32, 0, 0, 0, 0, 0, queues) + b"".join(queue(n + 1) for n in range(queues)))
def node(i, parent, kind, name, flags=0): return q(i, parent, 1, kind, flags, 5, i + 7, len(name)) + name
def share(*nodes, handles=()):
    return section(b"VDEV", 3, q(1, 5, len(nodes), len(handles)) + b"".join(nodes) + b"".join(q(*h) for h in handles))

small = section(b"SERL", 0, bytes(8) + q(3) + bytes(64)) + section(b"LEGC", 0, q(0) + bytes(128) + q(0, 0, 1)) + section(b"PCIB", 0, q(0))
slots = pci(0, 0x8086, 0x1237, 0x1100) + pci(1, 0x1af4, 0x1042, 0x1042) + pci(2, 0x1af4, 0x1044, 0x1044) + pci(3, 0x1af4, 0x105a, 0x105a)
queues = virtio(1, 1) + virtio(2, 1) + virtio(3, 2)
known = share(node(2, 1, 0o40000, b"sub"), node(3, 2, 0o100000, b"file"), node(5, 1, 0o40000, b"mnt", 2), handles=((0, 3, 8), (2, 2, 1)))
cpuid = section(b"CPID", 0, struct.pack("<10I", 1, 0, 0, 1, 2, 3, 4, 0, 0, 0))
seed("empty", b"\0", conf())
seed("devices", b"\0", conf(), small, slots, queues, share())
seed("shared", b"\0", conf(shares=[{"tag": "tag", "folder": "/x", "read_only": False, "inode": 6}]), small, slots, queues, known)
seed("more", b"\0", conf(cpus=16, nets=[{"kind": "user", "mac": "52:54:00:01:02:03"}],
     disks=[{"image": "a.raw", "format": "raw", "mode": "ephemeral", "size": 65536, "files": []}]), cpuid, small, slots, queues, known,
     section(b"LAYR", 0, q(1, 0, 4096, 2)))
def head(flags, guest, memory, content):
    off = 4096 + len(memory)
    return b"\1" + struct.pack("<IIQQQQQQ", 1, flags, guest, 4096, len(memory), off, len(content), off + len(content)) + memory + content
zeros = bytes.fromhex("28b52ffda00000100054000010000001 00fbff39c00202001000".replace(" ", ""))
seed("packed", head(1, 2 << 20, struct.pack("<II", len(zeros), 0) + zeros, conf()))
seed("packed-none", head(1, 2 << 20, struct.pack("<II", 0, 0), conf()))
seed("waits", head(3, 2 << 20, struct.pack("<II", 0, 0), conf(streams=True)))
seed("short", head(0, 2 << 20, b"", conf()))
X
