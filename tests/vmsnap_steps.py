#!/usr/bin/env python3
"""vmsnap killed before each system call that changes something, then recovered (which is killed once, too).

vmsnap_steps.py INJECT FOLDER [STEP [STEP_OF_PAIRS [FIRST]]]: external snapshots in FOLDER. After recover each snapshot and the present
state must be bit-exact, as before or as after the change, by a reader of our own; the images clean, by qemu-img and by
vmsnap check. STEP: only each STEPth call, from FIRST on.
"""
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import qcow2_reader  # noqa: E402  pylint: disable=wrong-import-position

inject, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
step = int(sys.argv[3]) if len(sys.argv) > 3 else 1
pair_step = int(sys.argv[4]) if len(sys.argv) > 4 else step
first = int(sys.argv[5]) if len(sys.argv) > 5 else 1
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
DISK = "w/d.qcow2"
checks = 0


def run(*cmd, at=0, ok=(0,)):
    env = dict(os.environ)
    if at:
        env.update(LD_PRELOAD=inject, INJECT_AT=str(at), INJECT_HOW="kill",
                   ASAN_OPTIONS=env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")
    p = subprocess.run(cmd, capture_output=True, check=False, env=env)
    if p.returncode not in ok:
        sys.exit("%s: status %d: %s%s" % (" ".join(cmd), p.returncode, p.stdout.decode(), p.stderr.decode()))
    return p


def entries():
    return {e["name"]: e["file"] for e in json.loads(run("vmsnap", "list", "--json", DISK).stdout)}


def states():
    out = {n: qcow2_reader.read(f) for n, f in entries().items()}
    out[None] = qcow2_reader.read(DISK)
    return out


def write(*what):
    run("qemu-io", *[a for w in what for a in ("-c", "write -q -P %s" % w)], DISK)


def base():
    shutil.rmtree("w", ignore_errors=True)
    os.mkdir("w")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", DISK, "256k")
    write("1 0 60k", "2 100k 50k")
    run("vmsnap", "create", "-e", "external", DISK, "a")
    write("3 8k 12k", "4 200k 4k")
    run("vmsnap", "create", DISK, "b")
    write("5 10k 40k", "6 120k 3k")
    run("vmsnap", "create", DISK, "c")
    write("7 0 5k")


def branch():
    base()
    run("vmsnap", "revert", "-q", DISK, "b")
    write("8 30k 20k", "9 240k 1k")


def keep(name):
    shutil.rmtree(name, ignore_errors=True)
    shutil.copytree("w", name)


def restore(name):
    shutil.rmtree("w", ignore_errors=True)
    shutil.copytree(name, "w")


def look(what, before, after):
    """Between the two, and nothing else"""
    now = states()
    for name, data in now.items():
        if data not in (before.get(name), after.get(name)):
            sys.exit("%s: %s shows something else" % (what, name or "the present state"))
    automatic = [n for n in now if n and n.startswith("auto-") and n not in before]
    lost = [n for n in before if n not in now and n in after]
    if lost or len(automatic) > 1:
        sys.exit("%s: lost %s, made %s" % (what, lost, automatic))
    if [f for f in os.listdir("w") if f.endswith(".vmsnap")] or os.path.exists(DISK + ".snap/.journal.json"):
        sys.exit("%s: left %s" % (what, os.listdir("w")))
    files = [os.path.basename(f) for f in entries().values()] + ["d.qcow2"] + ["d.qcow2.snap"] * bool(entries())
    if sorted(os.listdir("w")) != sorted(files):
        sys.exit("%s: files %s, not %s" % (what, os.listdir("w"), files))
    global checks
    checks += 1
    run("vmsnap", "check", DISK)
    if checks % 8 == 0:
        for f in files:
            if not f.endswith(".snap"):
                run("qemu-img", "check", "-q", "w/" + f)


def each_step(make, *cmd):
    cmd = [cmd[0], cmd[1], DISK, *cmd[2:]]
    make()
    before = states()
    keep("before")
    run(*cmd)
    after = states()
    at = first
    while True:
        restore("before")
        p = run(*cmd, at=at, ok=(0, -signal.SIGKILL))
        if p.returncode == 0:
            look(" ".join(cmd), before, after)
            return at
        run("vmsnap", "recover", "-q", DISK, at=1 + at * 7 % 23, ok=(0, -signal.SIGKILL))
        run("vmsnap", "recover", "-q", DISK)
        look("%s killed at call %d" % (" ".join(cmd), at), before, after)
        at += step


# ---- several disks: an overlay, and one with internal snapshots

OTHER = "w/e.qcow2"


def pair():
    base()
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", OTHER, "256k")
    run("qemu-io", "-c", "write -q -P 1 0 30k", OTHER)
    run("vmsnap", "create", "-e", "internal", OTHER, "b")
    run("qemu-io", "-c", "write -q -P 2 9k 30k", OTHER)


def pair_states():
    out = {("d", n): data for n, data in states().items()}
    for e in json.loads(run("vmsnap", "list", "--json", OTHER).stdout):
        out["e", e["name"]] = run("vmsnap", "export", OTHER + "@" + e["name"], "-").stdout
    out["e", None] = qcow2_reader.read(OTHER)
    return out


def each_step_of_pair(*cmd):
    cmd = [*cmd[:-1], DISK, OTHER, cmd[-1]]
    pair()
    before = pair_states()
    keep("before")
    run(*cmd)
    after = pair_states()
    at = first
    while True:
        restore("before")
        p = run(*cmd, at=at, ok=(0, -signal.SIGKILL))
        what = "%s killed at call %d" % (" ".join(cmd), at)
        if p.returncode:
            one, two = (DISK, OTHER) if at % 2 else (OTHER, DISK)
            run("vmsnap", "recover", "-q", one, at=1 + at * 7 % 29, ok=(0, -signal.SIGKILL))
            run("vmsnap", "recover", "-q", one)
            run("vmsnap", "recover", "-q", two)
        now = pair_states()
        if now not in (before, after) and not ("--discard-current" in cmd and dict(
                (k, v) for k, v in now.items() if not (k[1] or "").startswith("auto-")) == after):
            sys.exit("%s: neither as before nor as after" % what)
        for disk in (DISK, OTHER):
            run("vmsnap", "check", disk)
            if at % 4 == 0 or not p.returncode:
                run("qemu-img", "check", "-q", disk)
        left = [f for d in ("w", DISK + ".snap", OTHER + ".snap") if os.path.isdir(d)
                for f in os.listdir(d) if f.startswith(".") and f != ".head"]
        if left:
            sys.exit("%s: left %s" % (what, left))
        if p.returncode == 0:
            return at
        at += pair_step


os.environ["SOURCE_DATE_EPOCH"] = "1770033600"  # one name for the automatic snapshot
total = 0
for job in [(base, "vmsnap", "create", "d"), (base, "vmsnap", "revert", "-q", "a"),
            (base, "vmsnap", "revert", "--discard-current", "b"),
            (base, "vmsnap", "delete", "a"),  # the next goes down into it
            (base, "vmsnap", "delete", "c"),
            (branch, "vmsnap", "delete", "b"),  # two lean on it
            (branch, "vmsnap", "delete", "c"),
            (base, "vmsnap", "merge", "a"), (base, "vmsnap", "merge", "b", "c")]:
    total += each_step(*job)
for job in [("vmsnap", "create", "n"), ("vmsnap", "revert", "-q", "b"),
            ("vmsnap", "revert", "--discard-current", "b")]:
    total += each_step_of_pair(*job)
print("%d calls" % total)
