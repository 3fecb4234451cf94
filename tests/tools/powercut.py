#!/usr/bin/env python3
"""powercut.py RECORD BASE N OUT - OUT becomes BASE after power cut number N of what record.so noted in RECORD

Cuts come before each of the fsyncs in turn, and at the end; without N it prints how many that are. All that an fsync made durable is there;
of the calls since then a random part, in any order, or, at every other turn, of their sectors of 4 KiB (a sector that got to the disk is
inside the file). Prints how many fsyncs there were before the cut: what had been promised by then must be there.
"""
import random
import shutil
import struct
import sys

SECTOR = 4096


def records(path):
    with open(path, "rb") as f:
        while head := f.read(17):
            kind, a, b = struct.unpack("<cQQ", head)
            yield kind, a, b, f.read(b) if kind == b"W" else b""


def pieces(op):
    """The sectors of one call"""
    kind, off, length, data = op
    end = off + length
    while off < end:
        n = min(SECTOR - off % SECTOR, end - off)
        yield off, data[:n] if kind == b"W" else bytes(n)
        data = data[n:]
        off += n


def apply(f, op):
    if op[0] == b"T":
        f.truncate(op[1])
        return
    for off, data in pieces(op):
        f.seek(off)
        f.write(data)


def main():
    windows = [[]]
    for op in records(sys.argv[1]):
        if op[0] == b"F":
            windows.append([])
        else:
            windows[-1].append(op)
    if len(sys.argv) == 2:
        print(len(windows))
        return
    base, number, out = sys.argv[2:]
    rng = random.Random(int(number))
    cut, turn = int(number) % len(windows), int(number) // len(windows)
    shutil.copyfile(base, out)
    with open(out, "r+b") as f:
        for window in windows[:cut]:
            for op in window:
                apply(f, op)
        for op in windows[cut]:
            if turn % 2 == 0 or op[0] == b"T":
                if rng.random() < 0.5:
                    apply(f, op)
                continue
            for off, data in pieces(op):
                if rng.random() < 0.7:
                    f.seek(off)
                    f.write(data)
    print(cut)


main()
