#!/usr/bin/env python3
"""Let every system call that writes fail once, or be the last, and look at what is left.

usage: faults.py BIN INJECT.SO FOLDER [-s STEP] [-j JOB]... [-H HOW]...	(-s 3: every third call)

For each job, each HOW of tests/preload/inject.c and each N: the job runs with a fault at its Nth call. Then
  - the target is whole, or what it was before (absent, or the old file);
  - status 0 only with a whole target; 13 where the disk was full, 1 or 13 otherwise; one sentence on standard error;
  - every earlier snapshot restores bit by bit, and verify finds nothing;
  - no temporary file is left, except by SIGKILL;
  - the same job without a fault then succeeds, and leaves no temporary file of the killed one in a repository.
"""
import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys

ap = argparse.ArgumentParser()
ap.add_argument("bin")
ap.add_argument("inject")
ap.add_argument("folder")
ap.add_argument("-s", type=int, default=1)
ap.add_argument("-j", action="append")
ap.add_argument("-H", action="append")
args = ap.parse_args()
HOWS = args.H or ["kill", "full", "eio", "enospc", "short", "eintr"]
OLD = b"what was there before\n"
os.chdir(args.folder)
for name in [n for n in os.environ if n.startswith(("VMKIT_", "INJECT_"))]:
    del os.environ[name]
faults, runs = [], 0


def vm(*words, env=None, stdin=subprocess.DEVNULL):
    words = [os.path.join(args.bin, words[0]), *words[1:]]
    return subprocess.run(words, env={**os.environ, **(env or {})}, stdin=stdin, capture_output=True, timeout=30)


def must(*words, env=None):
    r = vm(*words, env=env)
    if r.returncode:
        sys.exit(f"{' '.join(words)}: status {r.returncode}: {r.stderr.decode()}")
    return r


def content(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).digest()


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)


def disk(path, seed, size=3 << 20):
    rnd = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(5):
            f.seek(rnd.randrange(size // 4096 - 20) * 4096)
            f.write(rnd.randbytes(50000) + b"text " * 4000)


def leftovers(folder):
    return [os.path.join(d, n) for d, _, names in os.walk(folder) for n in names
            if ".vmkit-" in n or ".tmp" in n or "/tmp/" in os.path.join(d, n)]


def one_sentence(r, program):
    lines = r.stderr.decode(errors="replace").splitlines()
    return (lines and lines[0].startswith(program + ": ")
            and (len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))))


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


class Backup:
    """A second backup into a repository that has one"""

    def __init__(self, *options, key=None, new=True):
        self.env = {"VMKIT_REPOSITORY": "t/repo"}
        if key:
            self.env["VMKIT_PASSWORD_COMMAND"] = "echo " + key
        self.words = ("vmbackup", "backup", "--threads=1", "--vm", "a", *options, "b.raw" if new else "a.raw")
        self.want = "b.raw" if new else "a.raw"
        self.program = "vmbackup"
        self.start = ["--scrypt-log2n=10"] if key else ["--no-encryption"]
        remove("t")
        remove(f"repo{id(self)}")
        os.mkdir("t")
        must("vmbackup", "init", *self.start, env=self.env)
        must("vmbackup", "backup", "--vm", "a", "a.raw", env=self.env)
        shutil.move("t/repo", f"repo{id(self)}")

    def prepare(self):
        remove("t")
        os.mkdir("t")
        shutil.copytree(f"repo{id(self)}", "t/repo")

    def snapshots(self):
        import json
        return json.loads(must("vmbackup", "list", "--json", env=self.env).stdout)

    def restores(self, ident, want):
        remove("t/out.raw")
        r = vm("vmbackup", "restore", f"a@{ident}", "t/out.raw", env=self.env)
        ok = r.returncode == 0 and content("t/out.raw") == content(want)
        remove("t/out.raw")
        return None if ok else f"snapshot {ident} does not restore: {r.returncode} {r.stderr.decode()}"

    def check(self, r, how):
        # What a failed run leaves in tmp/ is adopted by the next that stores something.
        if r.returncode == 0 and (left := leftovers("t")):
            return f"left behind: {left}"
        snaps = self.snapshots()
        if r.returncode == 0 and len(snaps) != 2:
            return f"status 0, but {len(snaps)} snapshots"
        bad = self.restores(snaps[0]["id"], "a.raw")
        if not bad and len(snaps) == 2:
            bad = self.restores(snaps[1]["id"], self.want)
        if not bad and (v := vm("vmbackup", "verify", env=self.env)).returncode:
            bad = f"verify: {v.returncode} {v.stderr.decode()} {v.stdout.decode()}"
        return bad

    def again(self):
        r = vm(*self.words, env=self.env)
        if r.returncode:
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        if bad := self.restores("latest", self.want):
            return bad
        if (v := vm("vmbackup", "backup", "--vm", "b", "c.raw", env=self.env)).returncode:
            return f"a backup that stores something: {v.returncode} {v.stderr.decode()}"
        if left := leftovers("t"):
            return f"left behind after the next run: {left}"
        if (v := vm("vmbackup", "verify", env=self.env)).returncode:
            return f"verify after the next run: {v.returncode} {v.stderr.decode()}"
        return None


class Prune(Backup):
    """forget and collect: packs that go whole, one that is rewritten, and what stays"""

    def __init__(self):
        super().__init__()
        self.env["INJECT_UNLINK"] = "1"
        self.words = ("vmbackup", "prune", "--threads=1", "--keep-last=1", "--max-unused=0")
        remove("t")
        os.mkdir("t")
        shutil.move(f"repo{id(self)}", "t/repo")
        for vm_name, image in (("d", "d.raw"), ("d", "c.raw"), ("a", "b.raw")):
            must("vmbackup", "backup", "--vm", vm_name, image, env=self.env)
        shutil.copytree("t/repo", f"repo{id(self)}")
        self.content = dict(zip([s["id"] for s in self.snapshots()], ("a.raw", "d.raw", "c.raw", "b.raw")))
        must(*self.words, env=self.env)
        self.left = self.stored()

    @staticmethod
    def stored():
        return sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk("t/repo/packs") for n in names)

    def all_restore(self):
        for snap in self.snapshots():
            want = self.content[snap["id"]]
            r = vm("vmbackup", "restore", f"{snap['vm']}@{snap['id']}", "t/out.raw", env=self.env)
            if r.returncode or content("t/out.raw") != content(want):
                return f"snapshot {snap['id']} does not restore: {r.returncode} {r.stderr.decode()}"
            remove("t/out.raw")
        if (v := vm("vmbackup", "verify", env=self.env)).returncode:
            return f"verify: {v.returncode} {v.stderr.decode()} {v.stdout.decode()}"
        return None

    def check(self, r, how):
        newest = list(self.content)[2:]
        if [s["id"] for s in self.snapshots()][-2:] != newest:
            return "a snapshot that was to stay is gone"
        if r.returncode == 0 and self.stored() > self.left * 1.02:
            return f"status 0, but {self.stored()} bytes are left, not {self.left}"
        return self.all_restore()

    def again(self):
        r = vm(*self.words, env=self.env)
        if r.returncode:
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        if self.stored() > self.left * 1.02:
            return f"after the next run {self.stored()} bytes are left, not {self.left}"
        if left := leftovers("t"):
            return f"left behind after the next run: {left}"
        return self.all_restore()


class Init:
    """init leaves a repository, or what the next init makes one of"""
    words, program, env = ("vmbackup", "init", "--no-encryption"), "vmbackup", {"VMKIT_REPOSITORY": "t/repo"}

    def prepare(self):
        remove("t")
        os.mkdir("t")

    def check(self, r, how):
        if how != "kill" and (left := leftovers("t")):
            return f"left behind: {left}"
        if r.returncode == 0 and vm("vmbackup", "list", env=self.env).returncode:
            return "status 0, but no repository"
        return None

    def again(self):
        r = vm(*self.words, env=self.env)
        if r.returncode not in (0, 5):
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        r = vm("vmbackup", "backup", "--vm", "a", "a.raw", env=self.env)
        return f"backup then: status {r.returncode}: {r.stderr.decode()}" if r.returncode else None


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
    "init": Init,
    "backup": Backup,
    "backup-unchanged": lambda: Backup(new=False),
    "prune": Prune,
    "backup-encrypted": lambda: Backup(key="secret"),
}


def restore(*options, **how):
    remove("t")
    b = Backup()
    remove("r")
    shutil.move(f"repo{id(b)}", "r")
    return Image("vmbackup", "-r", "r", "restore", *options, "a@latest", "t/target", **how)


JOBS["restore"] = lambda: restore("-O", "raw")
JOBS["restore-qcow2-force"] = lambda: restore("--force", "-O", "qcow2", old=True)

for name in args.j or JOBS:
    job = JOBS[name]()
    job.prepare()
    inject = {**job.env, "LD_PRELOAD": os.path.abspath(args.inject)}
    r = vm(*job.words, env={**inject, "INJECT_COUNT": os.path.abspath("count")})
    if r.returncode:
        sys.exit(f"{name}: without a fault: status {r.returncode}: {r.stderr.decode()}")
    calls = int(open("count").read())
    if not calls:
        sys.exit(f"{name}: no call was counted")
    for how in HOWS:
        for n in range(1 + (calls + len(how)) % args.s, calls + 1, args.s):
            job.prepare()
            r = vm(*job.words, env={**inject, "INJECT_AT": str(n), "INJECT_HOW": how})
            runs += 1
            allowed = {"kill": (0, -9), "full": (0, 13), "enospc": (0, 13), "eio": (0, 1, 8)}.get(how, (0,))
            if name == "repair" and how == "eio":
                allowed += (3,)
            if r.returncode not in allowed:
                bad = f"status {r.returncode}: {r.stderr.decode()}"
            elif r.returncode > 0 and not one_sentence(r, job.program):
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
