"""One figure of a machine that says "." when its guest runs, as a line of JSON like those of bench/run.sh's rows.

machine.py teardown COMMAND...      microseconds from its word, after which it powers off, to the end of the process
machine.py private MIB COMMAND...   bytes that the process has changed for itself, beside the guest's memory of MIB
"""
import json
import os
import resource
import subprocess
import sys
import time


def private_bytes(pid, guest_bytes):
    total, size = 0, 0
    with open("/proc/%d/smaps" % pid, encoding="ascii") as f:
        for line in f:
            word = line.split()
            if word[0] == "Size:":
                size = int(word[1]) * 1024
            elif word[0].startswith("Private_Dirty") and size < guest_bytes:
                total += int(word[1]) * 1024
    return total


def main(what, args):
    guest = int(args.pop(0)) << 20 if what == "private" else 0
    child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    size = None
    if child.stdout.read(1) != b".":
        sys.exit("it did not start")
    began = time.monotonic()
    if what == "private":
        size = private_bytes(child.pid, guest)
        child.kill()
    child.wait()
    took = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if what == "teardown" and child.returncode:
        sys.exit("status %d" % child.returncode)
    print(json.dumps({"bytes": size, "wall_us": int(took * 1e6), "user_us": int(used.ru_utime * 1e6),
                      "sys_us": int(used.ru_stime * 1e6), "max_rss_kib": used.ru_maxrss}))


if len(sys.argv) < 3 or sys.argv[1] not in ("teardown", "private"):
    sys.exit(__doc__)
os.environ.setdefault("LC_ALL", "C")
main(sys.argv[1], sys.argv[2:])
