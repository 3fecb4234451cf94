#!/usr/bin/env python3
"""Kill a writer of a qcow2 image at random points: leaks at worst, and what was flushed is there.

usage: qcow2_kill.py IMGIO FOLDER SEED TIMES NAME=VALUE...	(options of qemu-img create; snapshot=on)

Commands go through a pipe that holds just one of them, 4096 bytes each: when one has been put in, the last but one
before it is done.
"""
import fcntl
import os
import random
import signal
import subprocess
import sys

imgio, folder, seed, times = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5])
conf = dict(a.split("=") for a in sys.argv[5:])
snapshot = conf.pop("snapshot", None)
rnd = random.Random(seed)
img, out = os.path.join(folder, "k.qcow2"), os.path.join(folder, "k.raw")
SLOT, SLOTS = 12288, 1200
F_SETPIPE_SZ = 1031


def fail(text):
    sys.exit(f"seed {seed} {sys.argv[5:]}: {text}")


def session(done):
    """Write slots (0: zeroes) until killed; returns slot -> values it may have now"""
    r, w = os.pipe()
    fcntl.fcntl(w, F_SETPIPE_SZ, 4096)
    p = subprocess.Popen([imgio, img], stdin=r)
    os.close(r)
    may = {k: {v} for k, v in done.items()}
    written, stop = [], rnd.randrange(2, 120)
    try:
        for i in range(stop):
            if rnd.random() < 0.15:
                line, what = "flush", None
            else:
                slot, value = rnd.randrange(SLOTS), rnd.randrange(0, 256)
                what = (slot, value)
                line = (f"write -P {value} {slot * SLOT} {SLOT}" if value
                        else f"write -z -u {slot * SLOT} {SLOT}")
            written.append(what)
            os.write(w, line.encode().ljust(4095) + b"\n")
    except BrokenPipeError:
        fail("imgio ended by itself")
    sure = 0
    for i, what in enumerate(written):
        if what is None and i <= stop - 3:
            sure = i
    p.send_signal(signal.SIGKILL)
    p.wait()
    os.close(w)
    for i, what in enumerate(written):
        if what:
            slot, value = what
            may[slot] = {value} if i < sure else may.get(slot, {0}) | {value}
    return may


subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2"]
               + (["-o", ",".join(f"{k}={v}" for k, v in conf.items())] if conf else [])
               + [img, str(SLOT * SLOTS)], check=True)
done, leaks = {}, 0
for n in range(times):
    may = session(done)
    if conf.get("lazy_refcounts") == "on":
        subprocess.run([imgio, img, "write 0 512 0"], check=True)  # an open for writing repairs
        may.setdefault(0, {0})
    rc = subprocess.run(["qemu-img", "check", "-q", img], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL).returncode
    if rc not in (0, 3):
        fail(f"kill {n}: qemu-img check says {rc}")
    leaks += rc == 3
    subprocess.run(["qemu-img", "convert", "-O", "raw", img, out], check=True)
    done = {}
    with open(out, "rb") as f:
        data = f.read()
    for slot, values in may.items():
        part = data[slot * SLOT:(slot + 1) * SLOT]
        # A command that was cut short may have done some of its sectors
        if slot == 0 and conf.get("lazy_refcounts"):
            part = part[512:]
        seen = {part[k] for k in range(0, len(part), 512)}
        if not seen <= values | ({0} if len(values) > 1 else set()):
            fail(f"kill {n}: slot {slot} holds {seen}, not one of {values}")
        if len(seen) > 1:
            subprocess.run([imgio, img, f"write -P 1 {slot * SLOT} {SLOT}"], check=True)
            done[slot] = 1
        else:
            done[slot] = seen.pop()
    if snapshot and n % 4 == 1:
        subprocess.run(["qemu-img", "check", "-q", "-r", "leaks", img], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "snapshot", "-c", f"s{n}", img], check=True)
print(f"{times} kills, {leaks} with leaks")
