#!/usr/bin/env python3
"""Damage the metadata of an image at random, check and repair it: repair_random.py VMIMG IMAGE RAW FORMAT SEEDS [QEMU-FORMAT]

IMAGE holds what RAW does. For each of SEEDS seeds some bytes of its metadata (what is not a block of RAW's data) change, or
its end is cut off. Then
  - check and check --repair end with a status of theirs, within 20 s, and check without --repair changes nothing;
  - what could be read as RAW before a repair can be read so after it;
  - status 0 of a repair means that the next check finds nothing, that all can be read, and that QEMU reads the same.
"""
import os
import random
import shutil
import subprocess
import sys

vmimg, image, raw, fmt, seeds = sys.argv[1:6]
qemu = sys.argv[6] if len(sys.argv) > 6 else None
bad = repaired = clean = 0


def run(*words, timeout=20):
    return subprocess.run(words, capture_output=True, timeout=timeout, check=False)


def same(path):
    return run(vmimg, "compare", "-f", "raw", "-F", fmt, raw, path).returncode == 0


def read(path):
    with open(path, "rb") as f:
        return f.read()


data = read(image)
content = read(raw)
blocks = {content[at:at + 512] for at in range(0, len(content), 512)} - {bytes(512)}
places = [at for at in range(0, len(data), 512) if data[at:at + 512] not in blocks and any(data[at:at + 512])]


def damage(rnd):
    d = bytearray(data)
    kind = rnd.randrange(8)
    if kind == 0:
        return d[:rnd.randrange(len(d))]
    for _ in range(rnd.choice([1, 1, 2, 5])):
        at = rnd.choice(places)
        used = [i for i in range(at, min(at + 512, len(d))) if d[i]]
        at = rnd.choice(used) if used and rnd.randrange(4) else at + rnd.randrange(min(512, len(d) - at))
        if kind < 4:
            d[at] = rnd.randrange(256)
        elif kind < 6:
            d[at] ^= 1 << rnd.randrange(8)
        else:
            n = rnd.choice([4, 8, 64, 512])
            d[at:at + n] = rnd.choice([bytes(n), b"\xff" * n, rnd.randbytes(n)])[:len(d[at:at + n])]
    return d


for seed in range(int(seeds)):
    d = damage(random.Random(seed))
    with open("x.img", "wb") as f:
        f.write(d)
    fault = None
    try:
        before = same("x.img")
        c = run(vmimg, "check", "--deep", "-f", fmt, "x.img")
        if c.returncode not in (0, 3, 8, 9):
            fault = f"check: status {c.returncode}: {c.stderr}"
        elif read("x.img") != bytes(d):
            fault = "check changed the image"
        r = run(vmimg, "check", "--deep", "-f", fmt, "--repair", "x.img")
        if r.returncode not in (0, 3, 8, 9):
            fault = fault or f"repair: status {r.returncode}: {r.stderr}"
        after = same("x.img")
        if before and not after:
            fault = fault or "what could be read cannot be read behind a repair"
        if r.returncode == 0:
            repaired += c.returncode != 0
            clean += c.returncode == 0
            again = run(vmimg, "check", "--deep", "-f", fmt, "x.img")
            if again.returncode:
                fault = fault or f"status 0, but the next check says {again.stdout} {again.stderr}"
            whole = run(vmimg, "convert", "--force", "--no-sync", "-f", fmt, "-O", "raw", "x.img", "x.raw")
            if whole.returncode and b"parent" in whole.stderr:
                pass  # check looks at one layer, and damage may name another
            elif whole.returncode:
                fault = fault or f"status 0, but: {whole.stderr}"
            elif qemu:
                q = run("qemu-img", "compare", "-f", "raw", "-F", qemu, "x.raw", "x.img")
                # It may refuse a name or a text in a header that means nothing to others.
                if q.returncode and b"Could not open" not in q.stderr:
                    fault = fault or f"status 0, but QEMU: {q.stdout} {q.stderr}"
    except subprocess.TimeoutExpired as e:
        fault = f"no end: {e.cmd}"
    if fault:
        bad += 1
        print(f"{fmt}, seed {seed}: {fault}", flush=True)
        shutil.copy("x.img", f"bad-{fmt}-{seed}.img")
for name in ("x.img", "x.raw"):
    if os.path.exists(name):
        os.remove(name)
print(f"{fmt}: {seeds} seeds, {clean} clean, {repaired} repaired, {bad} faults")
sys.exit(1 if bad else 0)
