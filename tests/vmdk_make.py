"""VMDKs from a raw disk that nothing here writes: vmdk_make.py cowd|sesparse|hosted|stream RAW OUT [WHOLE]

cowd and sesparse are extents that only ESX makes; hosted and stream are whole disks with grains of 4 KiB.

Grains of zeros are left out, so that a parent shows through; with WHOLE they are kept (seSparse: as zero grains).
Grains are stored from the last to the first: no reader may count on their order.
"""
import struct
import sys
import zlib

SECTOR = 512


def grains_of(data, size):
    count = -(-len(data) // size)
    return [data[i * size:(i + 1) * size].ljust(size, b"\0") for i in range(count)]


def pad(data, size):
    return data + b"\0" * (-len(data) % size)


def cowd(data, whole):
    grain, gtes = 8 * SECTOR, 4096
    grains = grains_of(data, grain)
    tables = -(-len(grains) // gtes)
    gd_sectors = -(-tables * 4 // SECTOR)
    gt_at = 4 + gd_sectors
    at = gt_at + tables * gtes * 4 // SECTOR
    entries, body = [0] * (tables * gtes), b""
    for i in reversed(range(len(grains))):
        if whole or any(grains[i]):
            entries[i] = at
            body += grains[i]
            at += 8
    gd = struct.pack("<%dI" % tables, *(gt_at + i * gtes * 4 // SECTOR for i in range(tables)))
    head = b"COWD" + struct.pack("<9I", 1, 3, len(data) // SECTOR, 8, 4, tables, at, 0, 0)
    return head.ljust(4 * SECTOR, b"\0") + pad(gd, SECTOR) + struct.pack("<%dI" % len(entries), *entries) + body


def sesparse(data, whole):
    grain, gtes = 8 * SECTOR, 4096
    grains = grains_of(data, grain)
    tables = -(-len(grains) // gtes)
    gd_at, gd_sectors = 16, -(-tables * 8 // SECTOR)
    gt_at = gd_at + gd_sectors
    gt_sectors = 64 * tables
    grain_at = gt_at + gt_sectors
    entries, body, number = [0] * (tables * gtes), b"", 0
    for i in reversed(range(len(grains))):
        if any(grains[i]):
            entries[i] = 3 << 60 | (number & 0xFFF) << 48 | number >> 12
            body += grains[i]
            number += 1
        elif whole:
            entries[i] = (1 if i % 2 else 2) << 60
    const = struct.pack(
        "<26Q", 0xCAFEBABE, 0x200000001, len(data) // SECTOR, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 1, 3, 1, gd_at, gd_sectors,
        gt_at, gt_sectors, 0, 0, 0, 0, grain_at, len(body) // SECTOR)
    volatile = struct.pack("<4Q", 0xCAFECAFE, 0, 0, 0)
    gd = struct.pack("<%dQ" % tables, *(0x1000000000000000 | i for i in range(tables)))
    return (const.ljust(SECTOR, b"\0") + volatile.ljust(SECTOR, b"\0")).ljust(gd_at * SECTOR, b"\0") + \
        pad(gd, SECTOR) + struct.pack("<%dQ" % len(entries), *entries) + body


def header(version, flags, sectors, rgd, gd, overhead, algorithm):
    return struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", version, flags, sectors, 8, 1, 2, 512, rgd, gd, overhead, 0,
                       b"\n \r\n", algorithm).ljust(SECTOR, b"\0")


def text(kind, sectors):
    return pad(("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"%s\"\n"
                "RW %d SPARSE \"x\"\n" % (kind, sectors)).encode(), 2 * SECTOR)


def hosted(data, whole):
    grains, sectors = grains_of(data, 4096), len(data) // SECTOR
    tables = -(-len(grains) // 512)
    gd_sectors = -(-tables * 4 // SECTOR)
    rgd, gd = 3, 3 + gd_sectors + 4 * tables
    at = overhead = gd + gd_sectors + 4 * tables
    entries, body = [0] * (512 * tables), b""
    for i in reversed(range(len(grains))):
        if any(grains[i]):
            entries[i] = at
            body += grains[i]
            at += 8
        elif whole:
            entries[i] = 1
    table = struct.pack("<%dI" % len(entries), *entries)
    out = header(2 if whole else 1, 7 if whole else 3, sectors, rgd, gd, overhead, 0) + text("monolithicSparse", sectors)
    for d in (rgd, gd):
        out += pad(struct.pack("<%dI" % tables, *(d + gd_sectors + 4 * i for i in range(tables))), SECTOR) + table
    return out + body


def stream(data, _):
    grains, sectors = grains_of(data, 4096), len(data) // SECTOR
    out, gd = header(3, 0x30001, sectors, 0, (1 << 64) - 1, 3, 1) + text("streamOptimized", sectors), []

    def marker(kind, count):
        return struct.pack("<QII", count, 0, kind).ljust(SECTOR, b"\0")
    for first in range(0, len(grains), 512):
        entries = []
        for i, grain in enumerate(grains[first:first + 512]):
            entries.append(len(out) // SECTOR if any(grain) else 0)
            if any(grain):
                packed = zlib.compress(grain)
                out += pad(struct.pack("<QI", (first + i) * 8, len(packed)) + packed, SECTOR)
        out += marker(1, 4)
        gd.append(len(out) // SECTOR)
        out += pad(struct.pack("<%dI" % len(entries), *entries), 2048)
    out += marker(2, -(-len(gd) * 4 // SECTOR))
    at = len(out) // SECTOR
    out += pad(struct.pack("<%dI" % len(gd), *gd), SECTOR)
    return out + marker(3, 1) + header(3, 0x30001, sectors, 0, at, 3, 1) + marker(0, 0)


def main():
    kind, raw, out = sys.argv[1:4]
    with open(raw, "rb") as f:
        data = f.read()
    with open(out, "wb") as f:
        f.write({"cowd": cowd, "sesparse": sesparse, "hosted": hosted, "stream": stream}[kind](data, len(sys.argv) > 4))


if __name__ == "__main__":
    main()
