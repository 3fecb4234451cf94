#!/usr/bin/env python3
"""powercut.py RECORD TURNS DIR FILE... - DIR/N/FILE is what FILE is after power cut number N of what record.so noted in RECORD

FILE... are in the order of RECORD_PATH, as they were before. In each of TURNS turns, cuts come before each of the fsyncs, and at the
end. All that an fsync made durable is there; of the calls since then all but one, or one alone, or a random part of them or of their
sectors of 4 KiB or 512 bytes (a sector that got to the disk is inside the file): five turns have each of it at each fsync, fewer take
them by turns. Prints a line for each cut that
leaves something new: N, how many fsyncs and how many
promises there were before it; what had been promised by then must be there.

VMKIT_TEST_DROP=K: as if fsync number K had not been made. To see whether the test sees that it is wanted.

powercut.py --mixture - lines RAW LOW HIGH STATE...: each sector of RAW is that of one of STATE number LOW to HIGH, beyond whose end
sectors are zero, and its size is that of one of them
"""
import functools
import os
import random
import struct
import sys

CHUNK = 64 << 10
ZEROS = bytes(CHUNK)


def records(path):
    with open(path, "rb") as f:
        while head := f.read(18):
            kind, file, a, b = struct.unpack("<cBQQ", head)
            yield kind.decode(), file, a, b, f.read(b) if kind == b"W" else bytes(b if kind == b"Z" else 0)


def put(image, off, data):
    if off > len(image):
        image.extend(bytes(off - len(image)))
    image[off : off + len(data)] = data


def apply(image, op):
    kind, _, off, _, data = op
    if kind != "T":
        put(image, off, data)
    elif off < len(image):
        del image[off:]
    else:
        image.extend(bytes(off - len(image)))


def pieces(op, sector):
    """The sectors of one call"""
    _, _, off, _, data = op
    while data:
        n = min(sector - off % sector, len(data))
        yield off, data[:n]
        off, data = off + n, data[n:]


ALL_BUT_ONE, ONE, CALLS, PAGES, SECTORS = range(5)


def after_cut(durable, pending, rng, mode):
    image = bytearray(durable)
    chosen = rng.randrange(len(pending)) if pending else 0
    for i, op in enumerate(pending):
        if mode in (ALL_BUT_ONE, ONE):
            if (i == chosen) == (mode == ONE):
                apply(image, op)
        elif mode == CALLS or op[0] == "T":
            if rng.random() < 0.5:
                apply(image, op)
        else:
            for off, data in pieces(op, 4096 if mode == PAGES else 512):
                if rng.random() < 0.7:
                    put(image, off, data)
    return image


def store(path, image):
    """With holes, as a disk of zeros needs no room"""
    with open(path, "wb") as f:
        for off in range(0, len(image), CHUNK):
            part = image[off : off + CHUNK]
            if part != ZEROS[: len(part)]:
                f.seek(off)
                f.write(part)
        f.truncate(len(image))


def make_cuts(record, turns, out, files):
    ops = list(records(record))
    if drop := int(os.environ.get("VMKIT_TEST_DROP", "0")):
        del ops[[i for i, op in enumerate(ops) if op[0] == "F"][drop - 1]]
    cuts = sum(op[0] == "F" for op in ops) + 1
    durable = [bytearray(open(name, "rb").read()) for name in files]
    pending = [[] for _ in files]
    promises = cut = 0
    seen = set()
    for op in ops + [("F", 0, 0, 0, b"")]:
        if op[0] == "M":
            promises += 1
        if op[0] not in "FM":
            pending[op[1]].append(op)
        if op[0] != "F":
            continue
        for turn in range(turns if any(pending) else 1):
            n = turn * cuts + cut
            rng = random.Random(n)
            images = [after_cut(durable[i], pending[i], rng, (turn + cut) % 5) for i in range(len(files))]
            if (what := hash((promises, *map(bytes, images)))) in seen:
                continue
            seen.add(what)
            os.makedirs(f"{out}/{n}")
            for name, image in zip(files, images):
                store(f"{out}/{n}/{os.path.basename(name)}", image)
            print(n, cut, promises)
        for op_ in pending[op[1]]:
            apply(durable[op[1]], op_)
        pending[op[1]] = []
        cut += 1


@functools.cache
def padded(name, size):
    """What it holds, zeros behind its end, and how long it is"""
    data = open(name, "rb").read()
    return len(data), data.ljust(size, b"\0")[:size]


def mixed(raw, names):
    data = open(raw, "rb").read()
    states = [padded(name, len(data)) for name in names]
    if len(data) not in [n for n, _ in states]:
        return f"{len(data)} bytes"
    for off in [] if any(data == state for _, state in states) else range(0, len(data), CHUNK):
        if any(data[off : off + CHUNK] == state[off : off + CHUNK] for _, state in states):
            continue
        for at in range(off, min(off + CHUNK, len(data)), 512):
            if not any(data[at : at + 512] == state[at : at + 512] for _, state in states):
                return f"the sector at {at}"
    return None


def main():
    if sys.argv[1] != "--mixture":
        make_cuts(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
        return
    for line in sys.stdin:
        raw, low, high, *states = line.split()
        if fault := mixed(raw, states[int(low) : int(high) + 1]):
            sys.exit(f"{raw}: {fault} is none of states {low} to {high}")


main()
