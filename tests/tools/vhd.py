#!/usr/bin/env python3
"""Differencing and damaged VHDs for tests, made from the specification: qemu-img cannot make them.

vhd.py child PARENT CHILD [-l ru|ku|name|none]... [-n NAME] [-b BLOCK] [SECTOR=BYTE]...
    a differencing disk over PARENT whose SECTORs are filled with BYTE, one bit each; it names its parent as NAME
    by the locators asked for ("name": by the unicode name in the header alone)
vhd.py sparse OUT SIZE [SECTOR=BYTE]...
    a dynamic disk as XenServer writes them: only the bits of written sectors are set; the others hold 0xee
vhd.py footer FILE FIELD=VALUE...     size, type, creator, cylinders, heads, sectors: changed in all footers, summed again
vhd.py old FILE                       the 511-byte footer of old Virtual PC
vhd.py uuid FILE                      of the footer
"""
import struct
import sys
import uuid

SECTOR = 512


def checksum(data, at):
    data = bytearray(data)
    data[at:at + 4] = bytes(4)
    return ~sum(data) & 0xFFFFFFFF


def footer(size, kind, offset, ident, creator=b"win "):
    f = bytearray(512)
    struct.pack_into(">8sIIQI4sI4sQQHBBI", f, 0, b"conectix", 2, 0x10000, offset, 1234, creator, 0xA0000, b"Wi2k",
                     size, size, 100, 16, 63, kind)
    f[68:84] = ident
    struct.pack_into(">I", f, 64, checksum(f, 64))
    return bytes(f)


def read_footer(path):
    with open(path, "rb") as f:
        f.seek(-512, 2)
        data = f.read(512)
    if data[:8] != b"conectix":
        sys.exit(path + ": no footer")
    return data


def write_disk(out, size, kind, block, parent, locators, name, sectors, honest):
    ident = uuid.uuid5(uuid.NAMESPACE_URL, out + repr(sectors)).bytes
    blocks = (size + block - 1) // block
    bitmap = (block // SECTOR // 8 + 511) // 512 * 512
    tables = {"ru": (b"W2ru", (".\\" + name.replace("/", "\\")).encode("utf-16-le")),
              "ku": (b"W2ku", ("C:\\disks\\" + name.split("/")[-1]).encode("utf-16-le"))}
    places, at = [], 1536
    for which in locators:
        if which in tables:
            code, text = tables[which]
            places.append((code, text, at))
            at += (len(text) + 511) // 512 * 512
    bat_at = at
    at += (4 * blocks + 511) // 512 * 512
    head = bytearray(1024)
    struct.pack_into(">8sQQIII", head, 0, b"cxsparse", 2 ** 64 - 1, bat_at, 0x10000, blocks, block)
    if parent:
        head[40:56] = parent[68:84]
        head[56:60] = parent[24:28]
        if "none" not in locators:
            text = name.split("/")[-1].encode("utf-16-be")
            head[64:64 + len(text)] = text
    for i, (code, text, where) in enumerate(places):
        struct.pack_into(">4sIIIQ", head, 576 + 24 * i, code, 1, len(text), 0, where)
    struct.pack_into(">I", head, 36, checksum(head, 36))
    bat = [0xFFFFFFFF] * blocks
    foot = footer(size, kind, 512, ident)
    per = block // SECTOR
    with open(out, "wb") as f:
        for b in sorted({s // per for s in sectors}):
            bat[b] = at // SECTOR
            bits = bytearray(bitmap)
            f.seek(at + bitmap)
            f.write((b"\xee" if honest else b"\0") * block)
            for s in sectors:
                if s // per == b:
                    bits[s % per // 8] |= 0x80 >> s % per % 8
                    f.seek(at + bitmap + s % per * SECTOR)
                    f.write(bytes([sectors[s]]) * SECTOR)
            f.seek(at)
            f.write(bits)
            at += bitmap + block
        f.seek(0)
        f.write(foot + head)
        for code, text, where in places:
            f.seek(where)
            f.write(text)
        f.seek(bat_at)
        f.write(struct.pack(">%dI" % blocks, *bat))
        f.seek(at)
        f.write(foot)


def pairs(words):
    return {int(k): int(v, 0) for k, v in (w.split("=") for w in words)}


def child(argv):
    parent, out, argv = argv[0], argv[1], argv[2:]
    locators, name, block = [], parent, 1 << 21
    while argv and argv[0].startswith("-"):
        if argv[0] == "-l":
            locators.append(argv[1])
        elif argv[0] == "-n":
            name = argv[1]
        elif argv[0] == "-b":
            block = int(argv[1])
        argv = argv[2:]
    foot = read_footer(parent)
    size = struct.unpack(">Q", foot[48:56])[0]
    write_disk(out, size, 4, block, foot, locators or ["ru"], name, pairs(argv), False)


def sparse(argv):
    write_disk(argv[0], int(argv[1]), 3, 1 << 21, None, [], "", pairs(argv[2:]), True)


FIELDS = {"size": (48, ">Q"), "type": (60, ">I"), "cylinders": (56, ">H"), "heads": (58, ">B"), "sectors": (59, ">B"),
          "offset": (16, ">Q")}


def change(argv):
    with open(argv[0], "r+b") as f:
        end = f.seek(0, 2) - 512
        for at in {0, end}:
            f.seek(at)
            data = bytearray(f.read(512))
            if data[:8] != b"conectix":
                continue
            for word in argv[1:]:
                key, value = word.split("=")
                if key == "creator":
                    data[28:32] = value.encode().ljust(4, b"\0")
                else:
                    struct.pack_into(FIELDS[key][1], data, FIELDS[key][0], int(value))
            struct.pack_into(">I", data, 64, checksum(data, 64))
            f.seek(at)
            f.write(data)


def old(argv):
    with open(argv[0], "r+b") as f:
        f.truncate(f.seek(0, 2) - 1)


def show(argv):
    print(uuid.UUID(bytes=read_footer(argv[0])[68:84]))


COMMANDS = {"child": child, "sparse": sparse, "footer": change, "old": old, "uuid": show}
if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
    sys.exit(__doc__)
COMMANDS[sys.argv[1]](sys.argv[2:])
