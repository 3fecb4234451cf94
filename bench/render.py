"""Results of bench/run.sh.

render.py --collect ROWS.jsonl RESULT.json   put the rows and what this machine is into one file
render.py RESULT.json...                     the same as a page for people, on standard output; a row that was run again counts as
                                             the last file says, with that file's number behind its name
"""
import json
import os
import statistics
import subprocess
import sys


def first_line(*command):
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    except OSError:
        return None
    return out.splitlines()[0] if out else None


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return None


def memory_bytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def collect(rows, result):
    env = os.environ
    with open(rows, encoding="utf-8") as f:
        data = {
            "date": first_line("date", "-u", "+%Y-%m-%dT%H:%M:%SZ"),
            "commit": first_line("git", "rev-parse", "HEAD"),
            "modified": bool(first_line("git", "status", "--porcelain", "-uno")),
            "processor": cpu_model(),
            "processors": len(os.sched_getaffinity(0)),
            "memory_bytes": memory_bytes(),
            "kernel": os.uname().release,
            "file_system": first_line("stat", "-f", "-c", "%T", env["base"]),
            "disk_size": env["disk_size"],
            "data_bytes": int(env["data"]),
            "runs": int(env["runs"]),
            "versions": {
                "vmimg": first_line("vmimg", "--version"),
                "qemu-img": first_line("qemu-img", "--version"),
                "zstd": first_line("zstd", "--version"),
                "borg": first_line("borg", "--version"),
                "restic": first_line("restic", "version"),
                "qemu": first_line("qemu-system-x86_64", "--version"),
            },
            "rows": [json.loads(line) for line in f],
        }
    with open(result, "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
        f.write("\n")


def median(side, key):
    return statistics.median(r[key] for r in side["runs"])


def cpu(side):
    return statistics.median(r["user_us"] + r["sys_us"] for r in side["runs"])


def seconds(us):
    return "%.1f ms" % (us / 1e3) if us < 1e5 else "%.2f s" % (us / 1e6)


def mib(n):
    return "" if n is None else "%.0f" % (n / 2**20)


def ratios(row):
    a, b = row["ours"], row["theirs"]
    return {
        "time": median(a, "wall_us") / median(b, "wall_us"),
        "cpu": cpu(a) / max(cpu(b), 1),
        "size": a["bytes"] / b["bytes"] if a["bytes"] is not None and b["bytes"] else None,
        "ms": median(a, "wall_us") / 1e3,
        "over": (median(a, "wall_us") - median(b, "wall_us")) / 1e3,
        "own": None if a["bytes"] is None else a["bytes"] / 2**20,
        "mib": median(a, "max_rss_kib") / 1024,
    }


def wanted(row):
    limits, is_now, words = row["wanted"], ratios(row), []
    for key, most in limits.items():
        unit = {"ms": " ms", "over": " ms", "mib": " MiB", "own": " MiB"}.get(key, "")
        missed = is_now[key] is None or is_now[key] > most
        words.append("%s %.4g%s%s" % ({"ms": "time", "over": "longer by", "mib": "peak", "own": "size"}.get(key, key), most, unit,
                                      " (missed: %.2f)" % is_now[key] if missed and is_now[key] else " (missed)" if missed else ""))
    return ", ".join(words)


def about(d, path, number):
    print("%s[%s](%s): %s, commit %.12s%s. %s, %d processors, %.0f GiB, Linux %s, files on %s. A disk of %s with ext4 and %.2f GiB of"
          " data (files of this machine), %d runs.\n" % (
              "%d. " % number if number else "", os.path.basename(path), os.path.relpath(path, "bench"), d["date"],
              d["commit"] or "unknown", " with changes" if d["modified"] else "", d["processor"], d["processors"],
              d["memory_bytes"] / 2**30, d["kernel"], d["file_system"], d["disk_size"], d["data_bytes"] / 2**30, d["runs"]))


def render(paths):
    rows, files = {}, []
    for number, path in enumerate(paths, 1):
        with open(path, encoding="utf-8") as f:
            files.append(json.load(f))
        for row in files[-1]["rows"]:
            rows[row["id"]] = (row, number)
    print("# Measurements\n")
    print("Written by `make bench`; the samples and the commands are in the files named here. Medians of runs in turn with the other"
          " program, caches warm; a ratio is ours divided by theirs, below 1 is faster. `disk-synced` includes writing everything to the"
          " disk: qemu-img is followed by `sync -f`, vmimg does it itself; the other convert rows do without on both sides.\n")
    for number, path in enumerate(paths, 1):
        about(files[number - 1], path, number if len(paths) > 1 else 0)
    print("| what | ours | theirs | time | CPU | peak MiB, ours / theirs | result MiB, ours / theirs | wanted |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for row, number in rows.values():
        a, b = row["ours"], row["theirs"]
        sizes = "" if a["bytes"] is None else "%s / %s" % (mib(a["bytes"]), mib(b["bytes"]))
        print("| %s%s | %s | %s | **%.2f** | %.2f | %s / %s | %s | %s |" % (
            row["title"], " (%d)" % number if number > 1 else "", seconds(median(a, "wall_us")), seconds(median(b, "wall_us")),
            ratios(row)["time"], ratios(row)["cpu"], mib(median(a, "max_rss_kib") * 1024), mib(median(b, "max_rss_kib") * 1024),
            sizes, wanted(row)))
    print("\n%s." % "; ".join(v for v in files[-1]["versions"].values() if v))


if len(sys.argv) == 4 and sys.argv[1] == "--collect":
    collect(sys.argv[2], sys.argv[3])
elif len(sys.argv) >= 2 and sys.argv[1] != "--collect":
    render(sys.argv[1:])
else:
    sys.exit(__doc__)
