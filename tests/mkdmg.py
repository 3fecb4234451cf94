#!/usr/bin/env python3
"""tests/mkdmg.py RAW DMG [KINDS [SECTORS [FIELD=VALUE]...]] - a DMG of a raw disk, for tests.

KINDS, taken in turn: zlib bzip2 raw zero ignore adc lzfse lzma, or auto (zero where all is zero, else zlib). SECTORS a
chunk (default 100: never at multiples of a power of two). The disk is cut into two block tables, the second one first in
the list (order=ascending: the first one; QEMU finds nothing otherwise). FIELD=VALUE overwrites a field after it was computed: of the trailer (version, segments, plist_offset,
plist_length, sectors, data_offset), of the first table (first, stored, count), or of its first chunk (type, sector, n,
off, len); xml=TEXT replaces the whole property list.
"""
import base64
import bz2
import struct
import sys
import textwrap
import zlib

TYPES = {"zero": 0, "raw": 1, "ignore": 2, "adc": 0x80000004, "zlib": 0x80000005, "bzip2": 0x80000006,
         "lzfse": 0x80000007, "lzma": 0x80000008}


def chunk(kind, data):
    if kind == "auto":
        kind = "zlib" if data.strip(b"\0") else "zero"
    if kind in ("zero", "ignore"):
        return kind, b""
    if kind == "zlib":
        return kind, zlib.compress(data, 6)
    if kind == "bzip2":
        return kind, bz2.compress(data)
    return kind, data


def main():
    disk = open(sys.argv[1], "rb").read()
    kinds = (sys.argv[3] if len(sys.argv) > 3 else "auto").split(",")
    per = int(sys.argv[4]) if len(sys.argv) > 4 else 100
    set_ = dict(a.split("=", 1) for a in sys.argv[5:])
    num = lambda key, value: int(set_[key], 0) if key in set_ else value
    total = len(disk) // 512
    half = total // 2
    body, tables, turn = bytearray(b"data fork "), [], 0
    for first, end in ((0, half), (half, total)):
        entries = []
        stored = len(body) - 3  # offsets of a table are relative to its own start
        for s in range(first, end, per):
            n = min(per, end - s)
            kind, data = chunk(kinds[turn % len(kinds)], disk[s * 512:(s + n) * 512])
            turn += 1
            entries.append([TYPES[kind], s - first, n, len(body) - stored, len(data)])
            body += data
        if entries and first == 0:
            e = entries[0]
            entries[0] = [num("type", e[0]), num("sector", e[1]), num("n", e[2]), num("off", e[3]), num("len", e[4])]
        entries.append([0x7FFFFFFE, 0, 0, 0, 0])
        entries.append([0xFFFFFFFF, end - first, 0, len(body) - stored, 0])
        head = bytearray(204)
        head[:4] = b"mish"
        struct.pack_into(">IQQQII", head, 4, 1, num("first", first) if first == 0 else first, end - first,
                         num("stored", stored) if first == 0 else stored, per + 8, 0)
        struct.pack_into(">I", head, 200, num("count", len(entries)) if first == 0 else len(entries))
        tables.append(bytes(head) + b"".join(struct.pack(">IIQQQQ", t, 0x2B626567, s, n, o, l)
                                             for t, s, n, o, l in entries))
    dicts = "".join(
        "<dict><key>Attributes</key><string>0x0050</string>\n<key>CFName</key><string>p &amp; q</string>\n"
        "<key>Data</key>\n<data>\n%s\n</data><key>ID</key><string>%d</string></dict>\n"
        % ("\n".join(textwrap.wrap(base64.b64encode(t).decode(), 52)), i) for i, t in sorted(enumerate(tables), reverse=set_.get("order") != "ascending"))
    xml = ('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "x">\n'
           '<!-- <key>blkx</key> <array> > -->\n<plist version="1.0"><dict><key>resource-fork</key><dict>'
           "<key>blkx</key>\n<array>" + dicts + "</array>\n<key>plst</key><array><dict><key>Data</key><data>AAAA</data>"
           "</dict></array></dict></dict></plist>\n").encode()
    if "xml" in set_:
        xml = set_["xml"].encode()
    where = len(body)
    koly = bytearray(512)
    koly[:4] = b"koly"
    struct.pack_into(">III", koly, 4, num("version", 4), 512, 1)
    struct.pack_into(">QQ", koly, 24, num("data_offset", 0), len(body))
    struct.pack_into(">II", koly, 56, 1, num("segments", 1))
    struct.pack_into(">QQ", koly, 216, num("plist_offset", where), num("plist_length", len(xml)))
    struct.pack_into(">IQ", koly, 488, 1, num("sectors", total))
    with open(sys.argv[2], "wb") as f:
        f.write(bytes(body) + xml + bytes(koly))


main()
