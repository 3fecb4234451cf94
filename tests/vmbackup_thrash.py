#!/usr/bin/env python3
"""Several clients of one repository at random, with collection, kills and clocks that are wrong, against a model.

usage: vmbackup_thrash.py BIN CLOCK.SO FOLDER [SECONDS [SEED]]

Each client has a machine of its own: it changes its disk, backs it up, forgets, restores and prunes, in any order, and
one in six commands is killed. Whatever the others do, a snapshot that its client knows of restores bit by bit, one that
was forgotten is gone, and in the end verify finds nothing and a last prune frees all but what is needed.
"""
import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time

BIN, CLOCK, FOLDER = map(os.path.abspath, sys.argv[1:4])
SECONDS = float(sys.argv[4]) if len(sys.argv) > 4 else 20
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(1 << 30)
CLIENTS, BLOCK, BLOCKS = 3, 4096, 600
os.chdir(FOLDER)
env = {k: v for k, v in os.environ.items() if not k.startswith("VMKIT_")} | {"VMKIT_REPOSITORY": "repo"}
faults, counts = [], {}
end = 0


def vm(*words, kill_after=None, skew=None):
    more = {"LD_PRELOAD": CLOCK, "TEST_TIME": str(int(time.time()) + skew)} if skew else {}
    p = subprocess.Popen([os.path.join(BIN, "vmbackup"), *words], env=env | more, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = p.communicate(timeout=kill_after or 60)
    except subprocess.TimeoutExpired:
        p.kill()
        out, err = p.communicate()
    return p.returncode, out, err.decode()


class Client(threading.Thread):
    def __init__(self, n):
        super().__init__()
        self.name, self.rnd = f"m{n}", random.Random(SEED * 10 + n)
        self.disk, self.known = bytearray(BLOCK * BLOCKS), {}
        self.maybe = []  # digests of backups that were killed: theirs may be there

    def fail(self, what):
        faults.append(f"{self.name}: {what}")

    def run_vm(self, *words, ok=(0,)):
        killed = self.rnd.randrange(6) == 0
        skew = self.rnd.choice([0, 0, 0, -40 * 86400, 3 * 86400])
        rc, out, err = vm(*words, kill_after=self.rnd.random() * 0.25 if killed else None, skew=skew)
        counts[words[0]] = counts.get(words[0], 0) + 1
        if rc not in ok and not (killed and rc == -9):
            self.fail(f"{' '.join(words)}: status {rc}: {err}")
        return rc, out

    def list(self):
        rc, out, err = vm("list", "--json", self.name)
        if rc:
            self.fail(f"list: status {rc}: {err}")
            return []
        return [s["id"] for s in json.loads(out)]

    def learn(self):
        """what is listed: known ones are there; new ones come from backups that were killed after their commit"""
        ids = self.list()
        for i in set(self.known) - set(ids):
            self.fail(f"snapshot {i} is gone")
            del self.known[i]
        for i in set(ids) - set(self.known):
            digest = self.restore(i)
            if digest not in self.maybe:
                self.fail(f"snapshot {i} has what was never backed up")
            self.known[i] = digest

    def restore(self, i):
        rc, out, err = vm("restore", f"{self.name}@{i}", "-")
        if rc:
            self.fail(f"restore {i}: status {rc}: {err}")
        return hashlib.sha256(out).digest()

    def backup(self):
        shared = random.Random(SEED + self.rnd.randrange(6)).randbytes(BLOCK * 40)  # what others have too
        for data in (shared, self.rnd.randbytes(BLOCK * self.rnd.randrange(1, 60))):
            off = self.rnd.randrange(BLOCKS - len(data) // BLOCK) * BLOCK
            self.disk[off:off + len(data)] = data
        with open(self.name + ".raw", "wb") as f:
            f.write(self.disk)
        self.maybe.append(hashlib.sha256(self.disk).digest())
        self.run_vm("backup", "--vm", self.name, self.name + ".raw")
        self.learn()

    def forget(self):
        self.learn()
        gone = self.rnd.sample(sorted(self.known), min(len(self.known), self.rnd.randrange(1, 4)))
        if not gone:
            return
        self.run_vm("forget", *[f"{self.name}@{i}" for i in gone])
        left = self.list()
        for i in gone:
            if i not in left:
                del self.known[i]

    def look(self):
        self.learn()
        if self.known:
            i = self.rnd.choice(sorted(self.known))
            if self.restore(i) != self.known[i]:
                self.fail(f"snapshot {i} is not what it was")

    def prune(self):
        self.run_vm("prune", "--max-unused", str(self.rnd.choice([0, 20, 60])),
                    *(["--wait=2"] if self.rnd.randrange(3) == 0 else []), ok=(0, 6))

    def run(self):
        try:
            while time.monotonic() < end and not faults:
                self.rnd.choice([self.backup, self.backup, self.forget, self.look, self.prune])()
        except Exception as e:  # pylint: disable=broad-except
            self.fail(repr(e))


vm("init", "--no-encryption")
end = time.monotonic() + SECONDS
clients = [Client(n) for n in range(CLIENTS)]
for c in clients:
    c.start()
for c in clients:
    c.join()
for c in clients:
    c.learn()
    for ident, digest in c.known.items():
        if c.restore(ident) != digest:
            c.fail(f"snapshot {ident} is not what it was, in the end")
for words in (("prune", "--max-unused", "0"), ("verify",)):
    status, text, sentence = vm(*words)
    if status:
        faults.append(f"{' '.join(words)}: status {status}: {sentence} {text.decode()}")
if not faults:
    for c in clients:
        for ident in c.known:
            vm("forget", f"{c.name}@{ident}")
    vm("prune")
    left = [n for d, _, names in os.walk("repo/packs") for n in names]
    if left:
        faults.append(f"{len(left)} packs are left that nobody needs")
print(f"seed {SEED}: {counts}, {len(faults)} faults")
for fault in faults:
    print(fault)
sys.exit(1 if faults else 0)
