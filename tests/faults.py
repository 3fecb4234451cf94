#!/usr/bin/env python3
"""Let every system call that writes (or, with --reads, that reads) fail once, or be the last, and look at what is left.

usage: faults.py BIN INJECT.SO FOLDER [-s STEP] [-j JOB]... [-H HOW]... [--reads] [--threads N]	(-s 3: every third call)
Jobs of images are here, those of repositories in faults_repo.py.

For each job, each HOW of tests/preload/inject.c and each N: the job runs with a fault at its Nth call. Then
  - the target is whole, or what it was before (absent, or the old file);
  - status 0 only with a whole target; 13 where the disk was full, 1 or 13 otherwise; one sentence on standard error;
  - every earlier snapshot restores bit by bit, and verify finds nothing;
  - no temporary file is left, except by SIGKILL;
  - the same job without a fault then succeeds, and leaves no temporary file of the killed one in a repository.
"""
import argparse
import os
import random
import shutil
import sys

import faultlib
import faults_repo
from faultlib import content, disk, leftovers, must, one_sentence, remove, vm

ap = argparse.ArgumentParser()
ap.add_argument("bin")
ap.add_argument("inject")
ap.add_argument("folder")
ap.add_argument("-s", type=int, default=1)
ap.add_argument("-j", action="append")
ap.add_argument("-H", action="append")
ap.add_argument("--reads", action="store_true")
ap.add_argument("--threads", type=int, default=1)
args = ap.parse_args()
HOWS = args.H or (["eio", "short", "eintr"] if args.reads else ["kill", "full", "eio", "enospc", "short", "eintr"])
OLD = b"what was there before\n"
os.chdir(args.folder)
for name in [n for n in os.environ if n.startswith(("VMKIT_", "INJECT_"))]:
    del os.environ[name]
faultlib.BIN = args.bin
faults_repo.READS = args.reads
faults_repo.INJECT = os.path.abspath(args.inject)
faults, runs = [], 0


class Image:
    """A command that makes or replaces t/target; the guest sees what `want` holds"""

    def __init__(self, *words, want="a.raw", old=False, env=None):
        self.words, self.want, self.old, self.env, self.program = words, want, old, env or {}, words[0]

    def prepare(self):
        remove("t")
        os.mkdir("t")
        if self.old:
            with open("t/target", "wb") as f:
                f.write(OLD)

    def whole(self):
        return vm("vmimg", "compare", self.want, "t/target").returncode == 0

    def check(self, r, how):
        killed = how == "kill" and r.returncode == -9
        exists = os.path.lexists("t/target")
        before = exists == self.old and (not exists or open("t/target", "rb").read(100) == OLD)
        if r.returncode == 0 and not self.whole():
            return "status 0, but the target is not whole"
        # A name that was given may stay when only its folder could not be synced.
        if r.returncode and not before and not self.whole():
            return "the target is neither whole nor what it was"
        if not killed and (left := leftovers("t") + [n for n in os.listdir("t") if n != "target"]):
            return f"left behind: {left}"
        return None

    def again(self):
        if os.path.lexists("t/target") and not self.old:
            os.remove("t/target")
        r = vm(*self.words)
        if r.returncode or not self.whole():
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        return None


class Resume(Image):
    """convert --resume: what a failed one leaves is gone on with, to the same bytes"""

    def __init__(self, *words):
        super().__init__(*convert, "--resume", *words, "a.raw", "t/target")
        self.prepare()
        must(*self.words)
        shutil.move("t/target", "resumed-whole")

    def check(self, r, how):
        allowed = {"target"} if r.returncode == 0 else {"target", "target.part", "target.part.record"}
        if r.returncode and (left := set(os.listdir("t")) - allowed):
            return f"left behind: {left}"
        if os.path.lexists("t/target") and content("t/target") != content("resumed-whole"):
            return "the target is not the same"
        return None

    def again(self):
        return super().again() or (None if content("t/target") == content("resumed-whole") and
                                   os.listdir("t") == ["target"] else f"other bytes, or {os.listdir('t')}")


class Repair:
    """check --repair of an image with leaks and wrong counts: the guest's data stay, and the next one finishes"""
    words, program, env = ("vmimg", "check", "--repair", "t/target"), "vmimg", {}

    def __init__(self, image):
        self.image = image

    def prepare(self):
        remove("t")
        os.mkdir("t")
        shutil.copy(self.image, "t/target")

    def check(self, r, how):
        if vm("vmimg", "compare", "a.raw", "t/target").returncode:
            return "the guest's data changed"
        if r.returncode == 0 and vm("vmimg", "check", "t/target").returncode:
            return "status 0, but not clean"
        return None

    def again(self):
        r = vm(*self.words)
        if r.returncode or vm("vmimg", "check", "t/target").returncode:
            return f"the next run: status {r.returncode}: {r.stderr.decode()} {r.stdout.decode()}"
        return None if vm("vmimg", "compare", "a.raw", "t/target").returncode == 0 else "data changed"


disk("a.raw", 1)
shutil.copy("a.raw", "b.raw")
with open("b.raw", "r+b") as f:
    f.seek(1 << 20)
    f.write(random.Random(5).randbytes(200000))
shutil.copy("a.raw", "e.raw")
with open("e.raw", "r+b") as f:  # changes in place: deltas
    for at in range(100000, 3 << 20, 300000):
        f.seek(at)
        f.write(b"changed")
disk("c.raw", 2, 1 << 20)
disk("d.raw", 3, 1 << 20)
remove("a.qcow2")
must("vmimg", "convert", "a.raw", "a.qcow2")
shutil.copy("a.qcow2", "broken.qcow2")
with open("broken.qcow2", "r+b") as f:  # the first block of counts: no guest cluster has one, many others leak
    f.seek(48)
    f.seek(int.from_bytes(f.read(8), "big"))
    block = int.from_bytes(f.read(8), "big")
    f.seek(block + 8)
    f.write(b"\0\0\0\3" * 20 + b"\0\1" * 20)
shutil.copy("broken.qcow2", "lost.qcow2")
with open("lost.qcow2", "r+b") as f:  # no counts at all
    f.seek(48)
    f.seek(int.from_bytes(f.read(8), "big"))
    f.write(bytes(8))
convert = ("vmimg", "convert", "--threads=1")
named = {"INJECT_NO_TMPFILE": "1"}
JOBS = {
    "raw-qcow2": lambda: Image(*convert, "-O", "qcow2", "a.raw", "t/target"),
    "raw-qcow2-zstd": lambda: Image(*convert, "-czstd", "-O", "qcow2", "a.raw", "t/target", env=named),
    "qcow2-raw": lambda: Image(*convert, "-O", "raw", "a.qcow2", "t/target"),
    "qcow2-raw-named": lambda: Image(*convert, "-O", "raw", "a.qcow2", "t/target", env=named),
    "qcow2-raw-force": lambda: Image(*convert, "--force", "-O", "raw", "a.qcow2", "t/target", old=True),
    "raw-qcow2-force-named": lambda: Image(*convert, "--force", "-O", "qcow2", "a.raw", "t/target",
                                           old=True, env=named),
    "resume-qcow2": lambda: Resume("-c", "-O", "qcow2"),
    "resume-vmdk": lambda: Resume("-O", "vmdk"),
    "raw-raw": lambda: Image(*convert, "-O", "raw", "a.raw", "t/target"),
    "repair": lambda: Repair("broken.qcow2"),
    "repair-lost": lambda: Repair("lost.qcow2"),
    **faults_repo.JOBS,
}


def restore(*options, **how):
    remove("t")
    b = faults_repo.Backup()
    remove("r")
    shutil.move(f"repo{id(b)}", "r")
    return Image("vmbackup", "-r", "r", "restore", *options, "a@latest", "t/target", **how)


JOBS["restore"] = lambda: restore("-O", "raw")
JOBS["restore-qcow2-force"] = lambda: restore("--force", "-O", "qcow2", old=True)

for name in args.j or JOBS:
    job = JOBS[name]()
    job.prepare()
    job.words = tuple(w.replace("--threads=1", f"--threads={args.threads}") for w in job.words)
    inject = {**job.env, "LD_PRELOAD": os.path.abspath(args.inject), **({"INJECT_READS": "1"} if args.reads else {})}
    r = vm(*job.words, env={**inject, "INJECT_COUNT": os.path.abspath("count")})
    if r.returncode != getattr(job, "ends", 0):
        sys.exit(f"{name}: without a fault: status {r.returncode}: {r.stderr.decode()}")
    calls = int(open("count").read())
    if not calls:
        sys.exit(f"{name}: no call was counted")
    for how in HOWS:
        step = getattr(job, "step", args.s) if args.s > 1 else 1
        for n in range(1 + (calls + len(how)) % step, calls + 1, step):
            job.prepare()
            r = vm(*job.words, env={**inject, "INJECT_AT": str(n), "INJECT_HOW": how})
            runs += 1
            allowed = {"kill": (0, -9), "full": (0, 13), "enospc": (0, 13), "eio": (0, 1, 8), "dead": (0, 1, 8)}.get(how, (0,))
            if name == "repair" and how == "eio":
                allowed += (3,)
            allowed += getattr(job, "statuses", ())
            if r.returncode not in allowed:
                bad = f"status {r.returncode}: {r.stderr.decode()}"
            elif r.returncode > 0 and not one_sentence(r, job.program, getattr(job, "warns", False)):
                bad = f"not one sentence: {r.stderr.decode()}"
            else:
                bad = job.check(r, how)
            bad = bad or job.again()
            if bad:
                faults.append(f"{name}: {how} at call {n} of {calls}: {bad.strip()} (first status {r.returncode},"
                              f" {r.stderr.decode().strip()})")
                print(faults[-1], flush=True)
print(f"{runs} runs, {len(faults)} faults")
sys.exit(1 if faults else 0)
