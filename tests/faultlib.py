"""What the jobs of faults.py share: programs, files, and what an error may look like."""
import hashlib
import os
import random
import shutil
import subprocess
import sys

BIN = ""  # set by faults.py


def vm(*words, env=None, stdin=subprocess.DEVNULL):
    words = [os.path.join(BIN, words[0]), *words[1:]]
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


def one_sentence(r, program, warns=False):
    lines = r.stderr.decode(errors="replace").splitlines()
    if warns:
        lines = [ln for ln in lines if not ln.startswith(program + ": warning: ")]
    return (lines and lines[0].startswith(program + ": ")
            and (len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))))
