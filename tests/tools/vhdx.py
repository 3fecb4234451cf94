#!/usr/bin/env python3
"""VHDX files that qemu-img cannot make, for tests: with a log to be replayed, with other parents, with other metadata.

vhdx.py dirty OLD NEW OUT [--start POS] [--one] [--stale] [--zeros] [--cut]
    NEW, but with the tables of OLD, the difference in the log: what a crash leaves. --start: position of the first
    entry in the ring (so that it goes around its end); --one: one entry a sector; --stale: an older sequence before;
    --zeros: the first changed sector is zeroed by a descriptor of its own first; --cut: the last entry is torn
vhdx.py region FILE GUID [FLAGS OFFSET]    add a region, required without FLAGS, of 1 MiB
vhdx.py item FILE GUID FLAGS      add a metadata item with these flags
vhdx.py set FILE OFFSET HEX       change bytes; sums of headers and region tables are made again
vhdx.py bat FILE INDEX [VALUE]    print or set an entry
vhdx.py linkage FILE PARENT       the parent_linkage of FILE becomes the DataWriteGuid of PARENT
vhdx.py guid FILE                 print the DataWriteGuid
vhdx.py log FILE                  print where the log lies
"""
import struct
import sys
import uuid

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)
MIB = 1 << 20
BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
META = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le


def crc(data, at):
    c = 0xFFFFFFFF
    data = bytes(data[:at]) + bytes(4) + bytes(data[at + 4:])
    for b in data:
        c = TABLE[(c ^ b) & 0xFF] ^ c >> 8
    return c ^ 0xFFFFFFFF


def summed(data, at=4):
    data = bytearray(data)
    struct.pack_into("<I", data, at, crc(data, at))
    return bytes(data)


class Image:
    def __init__(self, path):
        self.f = open(path, "r+b")
        heads = [self.read(at, 4096) for at in (0x10000, 0x20000)]
        self.seq, self.at, self.head = max((struct.unpack("<Q", h[8:16])[0], at, h)
                                           for h, at in zip(heads, (0x10000, 0x20000)))
        self.log_len, self.log_at = struct.unpack("<IQ", self.head[68:80])
        self.regions = {}
        table = self.read(0x30000, 0x10000)
        for i in range(struct.unpack("<I", table[8:12])[0]):
            e = table[16 + 32 * i:48 + 32 * i]
            self.regions[e[:16]] = struct.unpack("<QI", e[16:28])

    def read(self, at, n):
        self.f.seek(at)
        return self.f.read(n).ljust(n, b"\0")

    def write(self, at, data):
        self.f.seek(at)
        self.f.write(data)

    def size(self):
        return self.f.seek(0, 2)

    def set_header(self, at, data):
        h = bytearray(self.head)
        h[at:at + len(data)] = data
        struct.pack_into("<Q", h, 8, self.seq + 1)
        other = 0x30000 - self.at
        self.write(other, summed(h))
        self.__init__(self.f.name)

    def regions_changed(self, change):
        t = bytearray(self.read(0x30000, 0x10000))
        change(t)
        t = summed(t)
        self.write(0x30000, t)
        self.write(0x40000, t)


def entry(seq, guid, tail, changes, flushed, last):
    """changes: (offset, 4096 bytes) or (offset, length of zeros)"""
    n = len(changes)
    area = bytearray((64 + 32 * n + 4095) // 4096 * 4096)
    data = b""
    for i, (off, what) in enumerate(changes):
        if isinstance(what, int):
            d = struct.pack("<4sIQQQ", b"zero", 0, what, off, seq)
        else:
            d = struct.pack("<4s4s8sQQ", b"desc", what[4092:], what[:8], off, seq)
            data += struct.pack("<4sI", b"data", seq >> 32) + what[8:4092] + struct.pack("<I", seq & 0xFFFFFFFF)
        area[64 + 32 * i:96 + 32 * i] = d
    struct.pack_into("<4sIIIQII16sQQ", area, 0, b"loge", 0, len(area) + len(data), tail, seq, n, 0, guid, flushed, last)
    return summed(bytes(area) + data)


def put_ring(img, pos, data):
    first = min(len(data), img.log_len - pos)
    img.write(img.log_at + pos, data[:first])
    img.write(img.log_at, data[first:])
    return (pos + len(data)) % img.log_len


def dirty(argv):
    opts = argv[3:]
    with open(argv[1], "rb") as src, open(argv[2], "wb") as dst:
        dst.write(src.read())
    old, img = Image(argv[0]), Image(argv[2])
    changes = []
    for off, length in sorted(img.regions.values()):
        for at in range(off, off + length, 4096):
            a, b = old.read(at, 4096), img.read(at, 4096)
            if a != b:
                changes.append((at, b))
                img.write(at, a)
    if not changes:
        sys.exit("nothing differs")
    guid = uuid.uuid5(uuid.NAMESPACE_URL, "log").bytes_le
    pos = int(opts[opts.index("--start") + 1]) if "--start" in opts else 0
    seq, size = (1 << 32) - 1, img.size()
    if "--stale" in opts:
        stale = entry(seq - 100, guid, pos, [(changes[0][0], b"\xee" * 4096)], size, size)
        pos = put_ring(img, pos, stale)
    tail = pos
    groups = [[c] for c in changes] if "--one" in opts else [changes]
    if "--zeros" in opts:
        groups.insert(0, [(changes[0][0], 4096)])
    if "--cut" in opts:
        groups.append([(changes[0][0], b"\xdd" * 4096)])
    for i, group in enumerate(groups):
        data = entry(seq + i, guid, tail, group, size, size)
        if "--cut" in opts and i == len(groups) - 1:
            data = data[:-1] + b"\x01"
        pos = put_ring(img, pos, data)
    img.set_header(48, guid)


def region(argv):
    flags, offset = (int(a, 0) for a in argv[2:] or ("1", "0x100000"))

    def change(t):
        n = struct.unpack("<I", t[8:12])[0]
        t[16 + 32 * n:48 + 32 * n] = uuid.UUID(argv[1]).bytes_le + struct.pack("<QII", offset, 0x100000, flags)
        struct.pack_into("<I", t, 8, n + 1)
    Image(argv[0]).regions_changed(change)


def item(argv):
    img = Image(argv[0])
    at = img.regions[META][0]
    t = bytearray(img.read(at, 65536))
    n = struct.unpack("<H", t[10:12])[0]
    t[32 + 32 * n:64 + 32 * n] = uuid.UUID(argv[1]).bytes_le + struct.pack("<IIII", 65536, 4, int(argv[2]), 0)
    struct.pack_into("<H", t, 10, n + 1)
    img.write(at, t)


def set_bytes(argv):
    img, at = Image(argv[0]), int(argv[1], 0)
    img.write(at, bytes.fromhex(argv[2]))
    for head in (0x10000, 0x20000):
        if head <= at < head + 4096:
            img.write(head, summed(img.read(head, 4096)))
    for table in (0x30000, 0x40000):
        if table <= at < table + 0x10000:
            img.write(table, summed(img.read(table, 0x10000)))


def bat(argv):
    img = Image(argv[0])
    at = img.regions[BAT][0] + 8 * int(argv[1])
    if len(argv) > 2:
        img.write(at, struct.pack("<Q", int(argv[2], 0)))
    else:
        print(hex(struct.unpack("<Q", img.read(at, 8))[0]))


def linkage(argv):
    img = Image(argv[0])
    at = img.regions[META][0]
    data = img.read(at, MIB)
    where = data.index("parent_linkage".encode("utf-16-le"))
    where = data.index("{".encode("utf-16-le"), where)
    text = "{%s}" % uuid.UUID(bytes_le=Image(argv[1]).head[32:48])
    img.write(at + where, text.upper().encode("utf-16-le"))


def show(argv):
    print(uuid.UUID(bytes_le=Image(argv[0]).head[32:48]))


def log(argv):
    print(Image(argv[0]).log_at)


COMMANDS = {"log": log, "dirty": dirty, "region": region, "item": item, "set": set_bytes, "bat": bat, "linkage": linkage, "guid": show}
if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
    sys.exit(__doc__)
COMMANDS[sys.argv[1]](sys.argv[2:])
