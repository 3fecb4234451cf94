#!/usr/bin/env python3
"""vmsnap against a model: random writes (by qemu-io), snapshots, reverts and deletions of one disk.

vmsnap_model.py SEED ROUNDS DISK FORMAT [kill] [external]: DISK exists and reads as zero; every state is kept in memory and held
against what vmsnap export gives. With "kill" half of the changes are killed at a random moment, then recovered: each
must have happened or not, and no other state may have changed. With "external" snapshots are of that engine, merges
happen too, and each file of the chain is held against qemu-img.
"""
import json
import os
import random
import signal
import subprocess
import sys
import time

BLOCK = 65536


def run(*cmd, ok=(0,)):
    p = subprocess.run(cmd, capture_output=True, check=False)
    if p.returncode not in ok:
        sys.exit("%s: status %d: %s" % (" ".join(cmd), p.returncode, p.stderr.decode()))
    return p.stdout


class Model:
    def __init__(self, disk, fmt, size):
        self.disk, self.format = disk, fmt
        self.now = bytes(size)
        self.snapshots = {}
        self.made = 0
        self.external = "external" in sys.argv

    def entries(self):
        return json.loads(run("vmsnap", "list", "--json", self.disk))

    def names(self):
        return [e["name"] for e in self.entries()]

    def write(self, rng):
        off = rng.randrange(0, len(self.now) // 512 - 256) * 512
        n, v = rng.randrange(1, 256) * 512, rng.randrange(1, 256)
        kind = rng.choice(["write -P %d" % v, "write -P %d" % v, "write -z -u"])
        run("qemu-io", "-f", self.format, "-c", "%s %d %d" % (kind, off, n), self.disk)
        fill = bytes([v if "-P" in kind else 0]) * n
        self.now = self.now[:off] + fill + self.now[off + n:]

    def exported(self, name):
        return run("vmsnap", "export", "%s@%s" % (self.disk, name), "-")

    def present(self):
        return run("qemu-img", "dd", "-f", self.format, "-O", "raw", "if=" + self.disk,
                   "of=" + self.disk + ".out") and b"" or open(self.disk + ".out", "rb").read()

    def verify(self, all_of_them):
        names = self.names()
        if sorted(names) != sorted(self.snapshots):
            sys.exit("snapshots are %s, not %s" % (names, sorted(self.snapshots)))
        if self.present() != self.now:
            sys.exit("the present state differs")
        for name in names if all_of_them else names[-1:]:
            if self.exported(name) != self.snapshots[name]:
                sys.exit("snapshot %s differs" % name)
        if self.format == "qcow2":
            run("qemu-img", "check", "-q", "-f", "qcow2", self.disk)
        if self.external and all_of_them:
            run("vmsnap", "check", self.disk)
            for e in self.entries():
                run("qemu-img", "check", "-q", "-f", "qcow2", e["file"])
                run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", e["file"], self.disk + ".out")
                with open(self.disk + ".out", "rb") as f:
                    if f.read() != self.snapshots[e["name"]]:
                        sys.exit("qemu-img sees snapshot %s otherwise" % e["name"])

    def merge(self, rng):
        """What a merge of the chain from a random snapshot on takes away"""
        chain = sorted((e["depth"], e["name"]) for e in self.entries() if e["current"])
        if not chain:
            return None, set()
        depth, name = rng.choice(chain)
        return name, {n for d, n in chain if d >= depth}

    def change(self, rng, kill):
        """One change, perhaps killed; the model follows what is there afterwards."""
        name = rng.choice(sorted(self.snapshots)) if self.snapshots else None
        what = rng.choice(["create", "create", "revert", "delete"]) if name else "create"
        if len(self.snapshots) > 6:
            what = "delete"
        gone = {name}
        if self.external and what == "delete" and rng.random() < 0.3:
            merged, gone = self.merge(rng)
            what, name, gone = ("merge", merged, gone) if merged else (what, name, {name})
        if what == "create":
            self.made += 1
            name = "s%d" % self.made
        cmd = ["vmsnap", what, self.disk, name] + (["-q"] if what == "revert" else [])
        if self.external and what == "create":
            cmd += ["-e", "external"]
        if kill:
            p = subprocess.Popen(cmd, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.03)
            p.send_signal(signal.SIGKILL)
            p.wait()
            run("vmsnap", "recover", "-q", self.disk)
        else:
            run(*cmd)
        names = self.names()
        lost = set(self.snapshots) - set(names)
        if lost - (gone if what in ("delete", "merge") else set()):
            sys.exit("%s %s lost %s" % (what, name, lost))
        for n in lost:
            del self.snapshots[n]
        for n in set(names) - set(self.snapshots):
            self.snapshots[n] = self.now
        if what == "revert" and self.present() == self.snapshots[name]:
            self.now = self.snapshots[name]
        if not kill and (name in names) != (what not in ("delete", "merge")):
            sys.exit("%s %s did nothing" % (what, name))


def main():
    rng = random.Random(int(sys.argv[1]))
    rounds, kill = int(sys.argv[2]), "kill" in sys.argv
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", sys.argv[4], sys.argv[3]))
    m = Model(sys.argv[3], sys.argv[4], info["virtual-size"])
    for i in range(rounds):
        m.write(rng)
        m.change(rng, kill and rng.random() < 0.7)
        m.verify(i % 8 == 7)
    m.verify(True)
    if os.path.exists(m.disk + ".snap/.journal.json"):
        sys.exit("a journal is left")


main()
