#!/usr/bin/env python3
"""vmsnap killed before each system call that changes something, or refused it; then recovered (which is killed once, too).

vmsnap_steps.py INJECT FOLDER ENGINE HOW [STEP [FIRST]]: ENGINE is external, internal, reflink or sets (of several disks, of
each engine that FOLDER's file system can); HOW is kill, eio, enospc or full (inject.c). After recover each snapshot and the
present state must be bit-exact, as before or as after the change, by a reader of our own; the images clean, by qemu-img
and by vmsnap check; and no file there that is not of it. STEP: only each STEPth call, from FIRST on.
"""
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qcow2_reader  # noqa: E402  pylint: disable=wrong-import-position

inject, folder, engine, how = os.path.abspath(sys.argv[1]), *sys.argv[2:5]
step = int(sys.argv[5]) if len(sys.argv) > 5 else 1
first = int(sys.argv[6]) if len(sys.argv) > 6 else 1
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
os.environ["SOURCE_DATE_EPOCH"] = "1770033600"  # one name for the automatic snapshot
CLONE = "w/clone.img"
looks = 0


def run(*cmd, at=0, kind="kill", ok=(0,)):
    env = dict(os.environ)
    if at:
        env.update(LD_PRELOAD=inject, INJECT_AT=str(at), INJECT_HOW=kind, INJECT_UNLINK="1", INJECT_COUNT="count",
                   ASAN_OPTIONS=env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
    p = subprocess.run(cmd, capture_output=True, check=False, env=env)
    if ok and p.returncode not in ok:
        sys.exit("%s: status %d: %s%s" % (" ".join(cmd), p.returncode, p.stdout.decode(), p.stderr.decode()))
    return p


class Disk:
    """A disk with snapshots of one engine; those of qcow2 have clusters of 4 KiB and the size 256 KiB"""

    def __init__(self, path, kind):
        self.path, self.kind = path, kind

    def make(self):
        if self.kind == "reflink":
            with open(self.path, "wb") as f:
                f.truncate(256 << 10)
        else:
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", self.path, "256k")

    def write(self, *what):
        if self.kind != "reflink":
            run("qemu-io", *[a for w in what for a in ("-c", "write -q -P %s" % w)], self.path)
            return
        with open(self.path, "r+b") as f:
            for pattern, off, n in (w.split() for w in what):
                f.seek(int(off.rstrip("k")) << 10)
                f.write(bytes([int(pattern)]) * (int(n.rstrip("k")) << 10))

    def create(self, name):
        run("vmsnap", "create", "-e", self.kind, self.path, name)

    def entries(self):
        return {e["name"]: e["file"] for e in json.loads(run("vmsnap", "list", "--json", self.path).stdout)}

    def states(self):
        """By name, None is the present; and the files that may be there"""
        names = self.entries()
        own = os.path.basename(self.path)
        files = {own} | {os.path.basename(f) for f in names.values() if f and self.kind == "external"}
        if self.kind == "internal":
            states = {n: qcow2_reader.read(self.path, n) for n in names}
            if sorted(names) != sorted(s[0] for s in qcow2_reader.snapshots(self.path)):
                sys.exit("internal snapshots are not %s" % sorted(names))
        else:
            states = {n: read(f) for n, f in names.items()}
            if names:
                files |= {own + ".snap"} | {"%s.snap/%s.json" % (own, n) for n in names}
                files |= {"%s.snap/%s" % (own, os.path.basename(f)) for f in names.values() if self.kind == "reflink"}
        states[None] = read(self.path)
        return {(own, n): data for n, data in states.items()}, files


def read(path):
    with open(path, "rb") as f:
        if f.read(4) == b"QFI\xfb":
            return qcow2_reader.read(path)
        f.seek(0)
        return f.read()


def look(disks, what):
    """States of all disks, and that there is nothing else"""
    global looks
    now, files = {}, {"clone.img"}
    for d in disks:
        states, own = d.states()
        now.update(states)
        files |= own
        run("vmsnap", "check", d.path)
        looks += 1
        for f in own if looks % 8 == 0 and d.kind != "reflink" else ():
            if ".snap" not in f:
                run("qemu-img", "check", "-q", "w/" + f)
    there = [os.path.relpath(os.path.join(at, f), "w") for at, dirs, names in os.walk("w") for f in dirs + names]
    more = set(f for f in there if not f.endswith("/.head")) - files
    if more or files - set(there) - {"clone.img"}:
        sys.exit("%s: files %s, not %s" % (what, sorted(there), sorted(files)))
    if os.path.exists(CLONE):
        now["clone", None] = read(CLONE)
    return now


def judge(what, verb, before, after, now):
    """All as before, or as after; what is not one change may stop in the midst of it"""
    if now in (before, after):
        return
    automatic = [k for k in now if (k[1] or "").startswith("auto-") and k not in before]
    rest = {k: v for k, v in now.items() if k not in automatic}
    # Kept by the revert for as long as it may have to go back, or to keep
    if verb == "revert" and all(now[k] == before[k[0], None] for k in automatic):
        if rest in (before, {k: v for k, v in after.items() if k not in automatic}):
            return
    if verb in ("merge", "prune", "delete"):
        if all(before.get(k) == v for k, v in now.items()) and all(k in now for k in after):
            return
    for k in sorted(set(before) | set(now) | set(after), key=str):
        sys.stderr.write("%s: %s\n" % (k, ["as before" * (now.get(k) == before.get(k)), "as after" * (
            now.get(k) == after.get(k)), "missing" * (k not in now)]))
    sys.exit("%s: neither as before nor as after" % what)


def fails_well(what, p):
    lines = p.stderr.decode().splitlines()
    if p.returncode not in (1, 13) or not lines or not lines[0].startswith("vmsnap: ") or any(
            not s.startswith("hint: ") for s in lines[1:]):
        sys.exit("%s: status %d: %s" % (what, p.returncode, p.stderr.decode()))


def pending(disks):
    return any(os.path.exists(d.path + ".snap/" + f) for d in disks for f in (".journal.json", ".set.json"))


def command(disks, text):
    """DISKS are all of them, DISK the first and KIND its engine, OTHERS the rest, each with -d"""
    paths = [d.path for d in disks]
    more = {"DISKS": paths, "OTHERS": [a for p in paths[1:] for a in ("-d", p)]}
    return ["vmsnap", *[a for w in text.split() for a in more.get(w, [w.replace("DISK", paths[0]).replace("KIND", disks[0].kind)])]]


def each_call(disks, make, text):
    cmd = command(disks, text)
    verb = cmd[1]
    shutil.rmtree("w", ignore_errors=True)
    os.mkdir("w")
    make(*disks)
    before = look(disks, "before")
    shutil.rmtree("before", ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", "w", "before"], check=True)
    run(*cmd, at=1 << 30)
    with open("count", encoding="ascii") as f:
        calls = int(f.read())
    after = look(disks, "after")
    for at in range(first, calls + 1, step):
        shutil.rmtree("w")
        subprocess.run(["cp", "-a", "--reflink=auto", "before", "w"], check=True)
        what = "%s, %s at call %d of %d" % (" ".join(cmd), how, at, calls)
        p = run(*cmd, at=at, kind=how, ok=None)
        if how == "kill" and p.returncode != -signal.SIGKILL:
            sys.exit("%s: status %d" % (what, p.returncode))
        if p.returncode not in (0, -signal.SIGKILL):
            fails_well(what, p)
        if p.returncode and (how == "kill" or pending(disks)):
            order = disks[at % len(disks):] + disks[:at % len(disks)]
            run("vmsnap", "recover", "-q", order[0].path, at=1 + at * 7 % 23, ok=(0, -signal.SIGKILL))
            for d in order:
                run("vmsnap", "recover", "-q", d.path)
        elif pending(disks):
            sys.exit("%s: done, but there is a journal" % what)
        now = look(disks, what)
        if p.returncode == 0 and now != after:
            sys.exit("%s: status 0, but it is not done" % what)
        judge(what, verb, before, after, now)
    return (calls - first) // step + 1


# ---- what is there before

def base(d):
    d.make()
    d.write("1 0 60k", "2 100k 50k")
    d.create("a")
    d.write("3 8k 12k", "4 200k 4k")
    d.create("b")
    d.write("5 10k 40k", "6 120k 3k")
    d.create("c")
    d.write("7 0 5k")


def branch(d):
    base(d)
    run("vmsnap", "revert", "-q", d.path, "b")
    d.write("8 30k 20k", "9 240k 1k")


def bare(d):
    d.make()
    d.write("1 0 60k")


def several(*disks):
    for i, d in enumerate(disks):
        d.make()
        d.write("%d 0 30k" % (i + 1))
        d.create("a")
        d.write("%d 9k 30k" % (i + 11))
        d.create("b")
        d.write("%d 60k 3k" % (i + 21))


of_one = [(bare, "create -e KIND DISK a"), (base, "create DISK d"), (base, "revert -q DISK a"),
          (base, "revert --discard-current DISK b"),
          (base, "delete DISK a"),  # external: the next goes down into it
          (base, "delete DISK c"), (base, "delete DISK c a"), (base, "prune --keep-last 1 DISK"),
          (base, "clone DISK@b " + CLONE), (base, "clone --full DISK@b " + CLONE)]
of_chains = [(branch, "delete DISK b"),  # two lean on it
             (branch, "delete DISK c"), (base, "merge DISK a"), (base, "merge DISK b c"), (base, "merge --all DISK"),
             (base, "prune --max-chain 1 DISK")]
of_sets = [(several, "create DISKS n"), (several, "revert -q DISKS a"), (several, "revert --discard-current DISKS b"),
           (several, "delete OTHERS DISK a")]

kinds = [engine]
if engine == "sets":
    kinds = ["external", "internal", "reflink"]
    shutil.rmtree("probe.snap", ignore_errors=True)
    probe = Disk("probe", "reflink")
    probe.make()
    if run("vmsnap", "create", "-e", "reflink", "probe", "a", ok=(0, 9)).returncode:
        kinds.pop()
total = 0
for job in of_sets if engine == "sets" else of_one + of_chains * (engine == "external"):
    total += each_call([Disk("w/%s.img" % k, k) for k in kinds], *job)
print("%d calls" % total)
