"""The jobs of faults.py that work on a repository."""
import json
import os
import random
import shutil

from faultlib import content, leftovers, must, remove, vm


class Backup:
    """A second backup into a repository that has one"""

    def __init__(self, *options, key=None, new=True, deltas=False):
        self.env = {"VMKIT_REPOSITORY": "t/repo"}
        self.want = "e.raw" if deltas else "b.raw" if new else "a.raw"
        if key:
            self.env["VMKIT_PASSWORD_COMMAND"] = "echo " + key
        self.words = ("vmbackup", "backup", "--threads=1", "--vm", "a", *options, self.want)
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
        return json.loads(must("vmbackup", "list", "--json", env=self.env).stdout)

    def restores(self, ident, want):
        remove("t/out.raw")
        r = vm("vmbackup", "restore", f"a@{ident}", "t/out.raw", env=self.env)
        ok = r.returncode == 0 and content("t/out.raw") == content(want)
        remove("t/out.raw")
        return None if ok else f"snapshot {ident} does not restore: {r.returncode} {r.stderr.decode()}"

    def check(self, r, how):
        # What a failed run leaves in tmp/ is adopted by the next that stores something; so is a file that a backup could
        # not look at for a moment.
        if r.returncode == 0 and not READS and (left := leftovers("t")):
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


class BackupAdopts(Backup):
    """A backup that finds what two killed ones left: half a pack, and a pack without an index"""

    def __init__(self, inject):
        super().__init__()
        self.prepare()
        for back in (12, 3):
            kill_late(self.words, self.env, inject, back)
        if not leftovers("t"):
            raise SystemExit("the killed backups left nothing")
        remove(f"repo{id(self)}")
        shutil.move("t/repo", f"repo{id(self)}")


class BackupMerges(Backup):
    """A backup that finds so many index runs of its size that they become one"""
    warns = True

    def __init__(self):
        super().__init__()
        self.prepare()
        self.want = "m.raw"
        self.words = (*self.words[:-1], "m.raw")
        for n in range(20):
            shutil.copy("a.raw", "m.raw")
            with open("m.raw", "r+b") as f:
                f.write(random.Random(n).randbytes(1 << 20))
            before = len(os.listdir("t/repo/index"))
            remove(f"repo{id(self)}")
            shutil.copytree("t/repo", f"repo{id(self)}")
            must(*self.words, env=self.env)
            if len(os.listdir("t/repo/index")) < before:
                return
            must("vmbackup", "forget", "a@latest", env=self.env)
        raise SystemExit("index runs are never merged")


class PruneAgain(Prune):
    """A collection that finds what a killed one began"""
    step = 2  # it has few calls

    def __init__(self, inject):
        super().__init__()
        self.prepare()
        kill_late(self.words, self.env, inject, 8)
        remove(f"repo{id(self)}")
        shutil.move("t/repo", f"repo{id(self)}")


def kill_late(words, env, inject, back):
    """Kill a command so many calls before its end."""
    shutil.copytree("t", "t-count")
    os.rename("t", "t-real")
    os.rename("t-count", "t")
    env = {**env, "LD_PRELOAD": inject}
    must(*words, env={**env, "INJECT_COUNT": os.path.abspath("count")})
    remove("t")
    os.rename("t-real", "t")
    with open("count", encoding="ascii") as f:
        at = int(f.read()) - back
    if (r := vm(*words, env={**env, "INJECT_AT": str(at), "INJECT_HOW": "kill"})).returncode != -9:
        raise SystemExit(f"{words}: not killed at call {at}: {r.returncode}")


class Repositories:
    """A command over t/repo and t/other, which are made once; it may write to one of them"""
    program, words, writes, turn = "vmbackup", (), "t/repo", 0
    key = ()
    env = {}

    def __init__(self):
        self.env = {"VMKIT_REPOSITORY": "t/repo", "INJECT_UNLINK": "1", **self.env}
        self.content, self.template = {}, f"folder{id(self)}"
        remove("t")
        os.mkdir("t")
        for repo in ("t/repo", "t/other"):
            must("vmbackup", "-r", repo, "init", *(self.key or ("--no-encryption",)), env=self.env)
        for vm_name, image in (("a", "a.raw"), ("d", "d.raw"), ("a", "e.raw"), ("a", "b.raw")):
            must("vmbackup", "backup", "--threads=1", "--vm", vm_name, image, env=self.env)
            self.content[self.snapshots("t/repo")[-1]["id"]] = image
            if vm_name == "d":
                must("vmbackup", "copy", "--to", "t/other", env=self.env)
        self.make()
        remove(self.template)
        os.rename("t", self.template)

    def make(self):
        """What more there is"""

    def prepare(self):
        remove("t")
        shutil.copytree(self.template, "t")

    def snapshots(self, repo):
        return json.loads(must("vmbackup", "-r", repo, "list", "--json", env=self.env).stdout)

    def restores(self, repo, snap):
        remove("out.raw")
        r = vm("vmbackup", "-r", repo, "restore", f"{snap['vm']}@{snap['id']}", "out.raw", env=self.env)
        if r.returncode:
            return f"{repo}: snapshot {snap['id']} does not restore: {r.returncode} {r.stderr.decode()}"
        return None if content("out.raw") == content(self.content[snap["id"]]) else f"{repo}: {snap['id']} is WRONG"

    def whole(self, repo, least):
        """Every snapshot that is there is what it was, and there are so many."""
        snaps = self.snapshots(repo)
        if len(snaps) < least:
            return f"{repo}: only {len(snaps)} snapshots"
        # verify reads all that they have; that it is what they had is looked at by turns
        self.turn += 1
        for bad in filter(None, (self.restores(repo, s) for s in snaps[self.turn % 2::2])):
            return bad
        return self.verified(repo)

    def verified(self, repo):
        v = vm("vmbackup", "-r", repo, "verify", env=self.env)
        return f"{repo}: verify: {v.stderr.decode()} {v.stdout.decode()}" if v.returncode else None

    def run_again(self):
        r = vm(*self.words, env=self.env)
        return f"the next run: status {r.returncode}: {r.stderr.decode()} {r.stdout.decode()}" if r.returncode else None

    def tidy(self):
        """What a killed run left is gone after the next that stores something."""
        if (r := vm("vmbackup", "-r", self.writes, "backup", "--vm", "z", "c.raw", env=self.env)).returncode:
            return f"a backup that stores something: {r.returncode} {r.stderr.decode()}"
        left = leftovers(self.writes)
        return f"left behind: {left}" if left else None


class Copy(Repositories):
    """copy: two of four snapshots are there already, one of the others has deltas"""
    words, writes = ("vmbackup", "copy", "--threads=1", "--to", "t/other"), "t/other"

    def check(self, r, how):
        return self.verified("t/repo") or self.whole("t/other", 2 if r.returncode else 4)

    def again(self):
        return self.run_again() or self.whole("t/other", 4) or self.tidy()


class Forget(Repositories):
    """forget: one goes or stays, the others stay"""

    def make(self):
        self.words = ("vmbackup", "forget", f"a@{self.snapshots('t/repo')[0]['id']}")

    def check(self, r, how):
        if r.returncode == 0 and len(self.snapshots("t/repo")) != 3:
            return "status 0, but it is still there"
        return self.whole("t/repo", 3)

    def again(self):
        r = vm(*self.words, env=self.env)
        if r.returncode not in (0, 4) or len(self.snapshots("t/repo")) != 3:
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        return self.whole("t/repo", 3) or self.tidy()


class Heal(Repositories):
    """repair, or verify --heal: what parity can heal is healed or stays as it was"""
    statuses, warns = (8,), True

    def __init__(self, *words):
        self.words = words
        super().__init__()

    def make(self):
        pack = max(files("t/repo/packs"), key=os.path.getsize)
        self.pack, self.was = pack, content(pack)
        os.chmod(pack, 0o600)
        with open(pack, "r+b") as f:
            f.seek(os.path.getsize(pack) // 3)
            f.write(random.Random(7).randbytes(4000))

    def check(self, r, how):
        if r.returncode == 0 and content(self.pack) != self.was:
            return f"status 0, but the pack is not what it was: {r.stderr.decode()}"
        # A restore heals what it reads: the next run shall find what this one left.
        remove("t-kept")
        shutil.copytree("t", "t-kept")
        bad = self.whole("t/repo", 4)
        remove("t")
        os.rename("t-kept", "t")
        return bad

    def again(self):
        bad = self.run_again()
        if not bad and content(self.pack) != self.was:
            bad = "after the next run the pack is not what it was"
        return bad or self.whole("t/repo", 4) or self.tidy()


class Fetch(Repositories):
    """repair --from: a pack is gone; what is read is never wrong, and comes back; a collection forgets the lost pack"""
    statuses, warns = (8,), True
    words = ("vmbackup", "repair", "--threads=1", "--from", "t/other")

    def make(self):
        must("vmbackup", "copy", "--to", "t/other", env=self.env)
        os.remove(max(files("t/repo/packs"), key=os.path.getsize))

    def check(self, r, how):
        for s in self.snapshots("t/repo"):
            bad = self.restores("t/repo", s)
            if bad and (r.returncode == 0 or "WRONG" in bad):
                return bad
        return self.verified("t/other")

    def again(self):
        bad = self.run_again()
        if not bad and (p := vm("vmbackup", "prune", env=self.env)).returncode:
            bad = f"prune: {p.returncode} {p.stderr.decode()}"
        return bad or self.whole("t/repo", 4) or self.tidy()


class PruneRepaired(Repositories):
    """A collection after repair --from: a lost pack, and one that is damaged, leave the index, and nothing else changes"""
    words, step = ("vmbackup", "prune", "--threads=1"), 13

    def make(self):
        must("vmbackup", "copy", "--to", "t/other", env=self.env)
        for n, pack in enumerate(sorted(files("t/repo/packs"), key=os.path.getsize)[-2:]):
            if n:
                os.remove(pack)
                continue
            os.chmod(pack, 0o600)
            with open(pack, "r+b") as f:
                f.seek(4096)
                f.write(random.Random(7).randbytes(os.path.getsize(pack) // 3))
        must("vmbackup", "repair", "--from", "t/other", env=self.env)
        if vm("vmbackup", "verify", env=self.env).returncode != 8:
            raise SystemExit("there is nothing to collect")

    def check(self, r, how):
        if r.returncode == 0 and (bad := self.verified("t/repo")):
            return bad
        for bad in filter(None, (self.restores("t/repo", s) for s in self.snapshots("t/repo"))):
            return bad
        return None if len(self.snapshots("t/repo")) == 4 else "a snapshot is gone"

    def again(self):
        return self.run_again() or self.whole("t/repo", 4) or self.tidy()


class Damaged(Fetch):
    """verify of what is beyond healing, which goes on record: older disks backed up again make all of them whole"""
    words, ends = ("vmbackup", "verify", "--threads=1"), 8

    def check(self, r, how):
        if r.returncode == 0:
            return "status 0, but a pack is lost"
        return super().check(r, how)

    def run_again(self):
        if (v := vm(*self.words, env=self.env)).returncode != 8:
            return f"the next verify: status {v.returncode}"
        for image in ("a.raw", "b.raw", "d.raw", "e.raw"):
            if (r := vm("vmbackup", "backup", "--vm", "again", image, env=self.env)).returncode:
                return f"the next backup: {r.stderr.decode()}"
            self.content[self.snapshots("t/repo")[-1]["id"]] = image
        return None


class Keys(Repositories):
    """key change, add, remove: whoever could open the repository can, until a key that is known to work takes the place"""
    key = ("--scrypt-log2n=10",)

    def __init__(self, word, *options):
        for name in ("one", "two"):
            with open(name, "w", encoding="ascii") as f:
                f.write(name + " passphrase\n")
        self.word, self.options, self.env = word, options, {"VMKIT_PASSWORD_FILE": "one"}
        super().__init__()

    def make(self):
        if self.word == "remove":
            must("vmbackup", "key", "add", "--new-password-file", "two", *self.key, env=self.env)
            keys = json.loads(must("vmbackup", "key", "list", "--json", env=self.env).stdout)
            self.options = [k["id"] for k in keys if not k["current"]]
        self.words = ("vmbackup", "key", self.word, *self.options)

    def opens(self, name):
        return os.path.exists(name) and self.whole_with(name) is None

    def whole_with(self, name):
        self.env["VMKIT_PASSWORD_FILE"] = name
        r = vm("vmbackup", "list", env=self.env)
        bad = f"{name}: {r.stderr.decode()}" if r.returncode else self.whole("t/repo", 4)
        self.env["VMKIT_PASSWORD_FILE"] = "one"
        return bad

    def check(self, r, how):
        new = "t/new.key" if "t/new.key" in self.options else "two"
        old, fresh = self.opens("one"), self.opens(new)
        if not old and (self.word != "change" or not fresh):
            return "no key opens it"
        wanted = {"change": (False, True), "add": (True, True), "remove": (True, False)}[self.word]
        if r.returncode == 0 and (old, fresh) != wanted:
            return f"status 0, but old {old}, new {fresh}"
        if new != "two" and os.path.exists(new) and r.returncode > 0 and not fresh:
            return "the key's file is there, and opens nothing"
        return None

    def again(self):
        if not self.opens("one"):
            return None
        if "t/new.key" in self.options:
            remove("t/new.key")
        r = vm(*self.words, env=self.env)
        gone = self.word == "remove" and r.returncode == 4
        if r.returncode and not gone:
            return f"the next run: status {r.returncode}: {r.stderr.decode()}"
        r.returncode = 0
        bad = self.check(r, "")
        if not bad and self.word == "change":
            self.env["VMKIT_PASSWORD_FILE"] = "t/new.key" if "t/new.key" in self.options else "two"
        bad = bad or self.tidy()
        self.env["VMKIT_PASSWORD_FILE"] = "one"
        return bad


class Differential(Repositories):
    """restore --differential: whatever a run left, the next one makes right"""
    words = ("vmbackup", "restore", "--differential", "--threads=1", "a@latest", "t/target.raw")

    def make(self):
        shutil.copy("a.raw", "t/target.raw")

    def check(self, r, how):
        if r.returncode == 0 and content("t/target.raw") != content("b.raw"):
            return "status 0, but the target is not the disk"
        return self.whole("t/repo", 4)

    def again(self):
        return self.run_again() or (None if content("t/target.raw") == content("b.raw") else "the target is not the disk")


class Verify(Repositories):
    """verify, list, stats: what could not be read once is no damage that stays"""
    statuses, warns = (8,), True

    def __init__(self, *words):
        self.words = ("vmbackup", *words)
        super().__init__()

    def check(self, r, how):
        return self.whole("t/repo", 4)

    def again(self):
        return self.run_again() or self.tidy()


def files(folder):
    return [os.path.join(d, n) for d, _, names in os.walk(folder) for n in names]


INJECT, READS = "", False  # set by faults.py
JOBS = {
    "init": Init,
    "backup": Backup,
    "backup-unchanged": lambda: Backup(new=False),
    "backup-deltas": lambda: Backup(deltas=True),
    "backup-encrypted": lambda: Backup(key="secret"),
    "backup-adopts": lambda: BackupAdopts(INJECT),
    "backup-merges": BackupMerges,
    "prune": Prune,
    "prune-again": lambda: PruneAgain(INJECT),
    "forget": Forget,
    "copy": Copy,
    "heal": lambda: Heal("vmbackup", "repair", "--threads=1"),
    "verify-heal": lambda: Heal("vmbackup", "verify", "--heal", "--threads=1"),
    "repair-from": Fetch,
    "prune-repaired": PruneRepaired,
    "verify-damaged": Damaged,
    "key-change": lambda: Keys("change", "--new-password-file", "two", "--scrypt-log2n=10"),
    "key-change-file": lambda: Keys("change", "--new-key", "t/new.key"),
    "key-add": lambda: Keys("add", "--new-password-file", "two", "--scrypt-log2n=10"),
    "key-remove": lambda: Keys("remove"),
    "restore-differential": Differential,
    "verify": lambda: Verify("verify", "--threads=1"),
    "list": lambda: Verify("list"),
    "stats": lambda: Verify("stats"),
}
