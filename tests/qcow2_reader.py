"""What a chain of plain qcow2 files shows: a reader of its own, so that tests need no process for each look."""
import os
import struct


def header(f):
    h = f.read(104)
    magic, version, name_off, name_len, bits, size, crypt, l1_size, l1_off = struct.unpack(">IIQIIQIIQ", h[:48])
    incompatible = struct.unpack(">Q", h[72:80])[0] if version > 2 else 0
    if magic != 0x514649fb or crypt or incompatible & ~1:
        raise ValueError("not a qcow2 that this reads")
    f.seek(name_off)
    return 1 << bits, size, l1_size, l1_off, f.read(name_len).decode() if name_off else None


def snapshots(path):
    """Its internal snapshots: name, where the L1 table lies and how many entries it has, size of the disk"""
    with open(path, "rb") as f:
        size = header(f)[1]
        f.seek(60)
        n, off = struct.unpack(">IQ", f.read(12))
        for _ in range(n):
            f.seek(off)
            l1_off, l1_size, id_len, name_len, extra = struct.unpack(">QIHH20xI", f.read(40))
            more = f.read(extra)
            f.seek(id_len, 1)
            yield f.read(name_len).decode(), l1_off, l1_size, struct.unpack(">Q", more[8:16])[0] if extra > 15 else size
            off += 40 + extra + id_len + name_len + 7 & ~7


def read(path, snapshot=None):
    """All bytes of the disk, or of an internal snapshot"""
    with open(path, "rb") as f:
        cluster, size, l1_size, l1_off, name = header(f)
        if snapshot:
            l1_off, l1_size, size = next(s[1:] for s in snapshots(path) if s[0] == snapshot)
        out = bytearray(size)
        if name:
            below = read(os.path.join(os.path.dirname(path), name))
            out[:min(size, len(below))] = below[:size]
        f.seek(l1_off)
        for i, entry in enumerate(struct.unpack(">%dQ" % l1_size, f.read(8 * l1_size))):
            table = entry & 0x00fffffffffffe00
            if not table:
                continue
            f.seek(table)
            for k, l2 in enumerate(struct.unpack(">%dQ" % (cluster // 8), f.read(cluster))):
                off = (i * (cluster // 8) + k) * cluster
                if not l2 or off >= size:
                    continue
                if l2 >> 62 & 1:
                    raise ValueError("compressed")
                n = min(cluster, size - off)
                data = bytes(n)
                if not l2 & 1:
                    f.seek(l2 & 0x00fffffffffffe00)
                    data = f.read(n).ljust(n, b"\0")
                out[off:off + n] = data
    return bytes(out)
