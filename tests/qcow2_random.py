#!/usr/bin/env python3
"""Random writes by imgio and qemu-io in turns on one qcow2 image, held against a model in memory.

usage: qcow2_random.py IMGIO FOLDER SEED ROUNDS OPS NAME=VALUE...
Names: cluster_size, refcount_bits, compat, extended_l2, lazy_refcounts, data_file (raw or on), backing (on),
compressed (on), snapshots (on), only (imgio). After each round: qemu-img check, qemu-img compare, imgio sum.
"""
import hashlib
import os
import random
import subprocess
import sys

imgio, folder, seed, rounds, ops = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
conf = dict(a.split("=") for a in sys.argv[6:])
rnd = random.Random(seed)
cs = int(conf.get("cluster_size", 65536))
size = max(min(cs * 40, 24 << 20), 1 << 20) + 512 * rnd.randrange(64)
img, raw, base = (os.path.join(folder, f) for f in ("t.qcow2", "model.raw", "base.qcow2"))
model = bytearray(size)


def fail(text):
    sys.exit(f"seed {seed} {sys.argv[6:]}: {text}")


def run(*cmd, **kw):
    p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if p.returncode:
        fail(f"{' '.join(cmd)}: {p.returncode}: {p.stdout[-2000:]}")
    return p.stdout


def fill():
    for at in range(0, size - 512, max(cs // 2, 4096)):
        if rnd.random() < 0.5:
            n = min(rnd.randrange(1, cs * 2), size - at)
            model[at:at + n] = bytes([rnd.randrange(256)]) * n
    with open(raw, "wb") as f:
        f.write(model)


def create():
    for f in (img, raw, base, img + ".data"):
        if os.path.exists(f):
            os.unlink(f)
    names = ("cluster_size", "refcount_bits", "compat", "extended_l2", "lazy_refcounts")
    opts = [f"{n}={conf[n]}" for n in names if n in conf]
    if "data_file" in conf:
        opts += [f"data_file={img}.data", f"data_file_raw={'on' if conf['data_file'] == 'raw' else 'off'}"]
    o = ["-o", ",".join(opts)] if opts else []
    if "backing" in conf:
        fill()
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, base)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", *o, img)
    elif "compressed" in conf:
        fill()
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", *o, raw, img)
    else:
        run("qemu-img", "create", "-q", "-f", "qcow2", *o, img, str(size))


def one():
    unit = rnd.choice([512, 512, 4096, cs])
    off = rnd.randrange(0, size // unit) * unit
    n = min(rnd.choice([1, 1, 2, rnd.randrange(1, 9), rnd.randrange(1, 40)]) * unit, size - off, 6 << 20)
    kind = rnd.random()
    if kind < 0.55:
        p = rnd.randrange(1, 256)
        model[off:off + n] = bytes([p]) * n
        return f"write -P {p} {off} {n}"
    if kind < 0.80:
        model[off:off + n] = bytes(n)
        return f"write -z {'-u ' if rnd.random() < 0.5 else ''}{off} {n}"
    if kind < 0.88 and "backing" not in conf and "snapshots" not in conf and "compressed" not in conf:
        # What a discarded range reads as is the format's choice: it is written at once
        p = rnd.randrange(1, 256)
        model[off:off + n] = bytes([p]) * n
        return f"discard {off} {n}\nwrite -P {p} {off} {n}"
    if kind < 0.97 or n > 1 << 20:
        b = model[off]
        k = next((i for i in range(n) if model[off + i] != b), n) // 512 * 512
        return f"read -P {b} {off} {k}" if k else "flush"
    return "flush"


def verify():
    with open(raw, "wb") as f:
        f.write(model)
    run("qemu-img", "check", "-q", img)
    run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", raw, img)
    if run(imgio, "-r", img, "sum").strip() != hashlib.sha256(model).hexdigest():
        fail("imgio reads something else than was written")


create()
for r in range(rounds):
    script = "\n".join(one() for _ in range(ops)) + "\n"
    if r % 2 and conf.get("only") != "imgio":
        out = run("qemu-io", "-f", "qcow2", img, input=script)
        if "Pattern verification failed" in out or "failed" in out:
            fail("qemu-io: " + out[-500:])
    else:
        with open(os.path.join(folder, "script"), "w") as f:
            f.write(script)
        run(imgio, img, input=script)
    verify()
    if "snapshots" in conf and r % 3 == 1:
        run("qemu-img", "snapshot", "-c", f"s{r}", img)
        keep = bytes(model)
    elif "snapshots" in conf and r % 3 == 0 and r:
        name = f"s{r - 2}"
        with open(raw, "wb") as f:
            f.write(keep)
        out = os.path.join(folder, "s.raw")
        run("qemu-img", "convert", "-l", name, "-O", "raw", img, out)
        run("qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", raw, out)
        if r % 6 == 3:
            run("qemu-img", "snapshot", "-d", name, img)
if conf.get("data_file") == "raw":
    run("cmp", "-n", str(size), raw, img + ".data")
