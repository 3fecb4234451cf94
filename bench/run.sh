#!/bin/bash
# bench/run.sh [-n RUNS] [-r ROW-REGEX] [-d DIR] [-g DATA] [-s DISK] [BUILD] - paired measurements against other programs
#
# Makes a disk of DISK (8G) with an ext4 file system that holds DATA (1600M) of this machine's own files, below DIR (default
# /var/tmp), and runs each row's two commands in turn RUNS (5) times after one unmeasured run of each, caches warm. Rows on
# tmpfs use /dev/shm. Result: bench/results/DATE-HOST.json and, from it, bench/RESULTS.md. What is needed: about eight times DATA
# in DIR, four times DATA in /dev/shm, and scripts/deps.sh bench.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
runs=5 regex=. base=/var/tmp data_size=1600M disk_size=8G
while getopts n:r:d:g:s: opt; do
	case $opt in
	n) runs=$OPTARG ;;
	r) regex=$OPTARG ;;
	d) base=$OPTARG ;;
	g) data_size=$OPTARG ;;
	s) disk_size=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
build=$(realpath "${1:-build}")
export PATH=$build/bin:$PATH:/usr/sbin:/sbin LC_ALL=C
unset "${!VMKIT_@}" "${!BORG_@}"
die() {
	echo "bench: $*" >&2
	exit 1
}
for c in vmimg vmbackup qemu-img zstd borg mke2fs python3; do
	command -v $c >/dev/null || die "$c is missing: make, scripts/deps.sh bench"
done

work=$(mktemp -d "$base/vmkit-bench.XXXXXX") || exit 1
shm=
trap 'rm -rf "$work" "${shm:-$work}"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
measure=$work/measure
${CC:-cc} -O2 -o "$measure" bench/measure.c || exit 1
export TMPDIR=$work HOME=$work BORG_PASSPHRASE=bench BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
cd "$work" || exit 1

# ---- the disk

bytes=$(numfmt --from=iec "${data_size^^}") || die "-g $data_size: no size"
echo "making a $disk_size disk with $data_size of files ..."
mkdir files
find /usr /opt /etc /var/lib -xdev -type f -readable -size -256M -printf '%s %p\0' 2>/dev/null | sort -z -t' ' -k2 -u |
	awk -v RS='\0' -v ORS='\0' -v max="$bytes" '{ sum += $1; if (sum > max) exit; sub(/^[0-9]+ /, ""); print }' >list
tar -C / --null -T list -cf - --ignore-failed-read 2>/dev/null | tar -C files -xf -
truncate -s "$disk_size" disk.raw
mke2fs -q -t ext4 -F -d files disk.raw || die "mke2fs failed"
rm -rf files list
# The data alone, holes left out: what a compressor has to read.
python3 - <<'END' || exit 1
import os
src = os.open("disk.raw", os.O_RDONLY)
dst = os.open("data.bin", os.O_WRONLY | os.O_CREAT, 0o644)
size = os.fstat(src).st_size
at = 0
while at < size:
    try:
        at = os.lseek(src, at, os.SEEK_DATA)
    except OSError:
        break
    end = os.lseek(src, at, os.SEEK_HOLE)
    while at < end:
        block = os.pread(src, min(1 << 20, end - at), at)
        os.write(dst, block)
        at += len(block)
END
data=$(stat -c %s data.bin)
qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2 || exit 1
free=$(($(df --output=avail -B 1 /dev/shm 2>/dev/null | tail -n 1)))
if [ "$free" -gt $((data * 4)) ]; then
	shm=$(mktemp -d /dev/shm/vmkit-bench.XXXXXX)
	cp --sparse=always disk.raw disk.qcow2 "$shm/"
else
	echo "bench: /dev/shm has too little room: no rows on tmpfs"
fi
sync

# ---- rows

rows=$work/rows.jsonl
: >"$rows"
median_ms() { cut -d' ' -f1 "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] / 1000 }'; }
# on_disk PATH - bytes it takes, or null
on_disk() { if [ -e "$1" ]; then du -s -B 1 "$1" | cut -f1; else echo null; fi; }

# row ID TITLE WANTED OUTPUT OURS THEIRS - OURS and THEIRS are shell commands that make OUTPUT (removed before each run; - for
# none; "grown:A:B": what the folders A and B grow by is the size). WANTED, or -: what ours may take at most, a list with
# commas of time=, cpu=, size= (ratios to theirs), ms= and mib= (wall time and peak memory of ours), own= (MiB of its
# result), over= (milliseconds more than theirs). $before is run,
# unmeasured, ahead of each; $warm MiB of memory are touched and the data of $cached is read then, see measure.c.
before='' warm='' cached=''
row() {
	local id=$1 title=$2 wanted=$3 output=$4 n=$runs i who command at size_ours=null size_theirs=null grown=''
	[[ $id =~ $regex ]] || return 0
	if [[ $output == grown:* ]]; then
		grown=${output#grown:} output=-
	fi
	rm -f ours.times theirs.times
	[[ $id != info* ]] || n=$((runs * 10))
	for ((i = 0; i <= n; i++)); do
		for who in ours theirs; do
			[ "$output" = - ] || rm -rf "$output"
			[ -z "$before" ] || eval "$before" >log 2>&1 || die "$id: $(tail -n 3 log)"
			command=$5 at=${grown%:*}
			[ $who = ours ] || command=$6 at=${grown#*:}
			[ -z "$at" ] || eval "size_$who=$(on_disk "$at")"
			sync
			"$measure" ${warm:+-w "$warm"} ${cached:+-c "$cached"} $who.times sh -c "exec $command" >log 2>&1 ||
				die "$id, $who: $command: $(tail -n 5 log)"
			[ $i -gt 0 ] || : >$who.times
			[ -z "$at" ] || eval "size_$who=\$(($(on_disk "$at") - size_$who))"
			[ "$output" = - ] || eval "size_$who=$(on_disk "$output")"
		done
	done
	[ "$output" = - ] || rm -rf "$output"
	printf '  %-34s %9.1f ms  %9.1f ms\n' "$id" "$(median_ms ours.times)" "$(median_ms theirs.times)"
	python3 - "$id" "$title" "$wanted" "$size_ours" "$size_theirs" "$5" "$6" >>"$rows" <<-'END'
		import json, os, sys
		def times(name):
		    keys = ["wall_us", "user_us", "sys_us", "max_rss_kib"]
		    return [dict(zip(keys, map(int, line.split()))) for line in open(name)]
		a = sys.argv
		wanted = dict(w.split("=") for w in a[3].split(",")) if a[3] != "-" else {}
		clean = lambda s: s.replace(os.environ["TMPDIR"], "DIR")
		print(json.dumps({"id": a[1], "title": a[2], "wanted": {k: float(v) for k, v in wanted.items()},
		    "ours": {"command": clean(a[6]), "bytes": json.loads(a[4]), "runs": times("ours.times")},
		    "theirs": {"command": clean(a[7]), "bytes": json.loads(a[5]), "runs": times("theirs.times")}}))
	END
}

echo "  row                                       ours         theirs"
for f in "$root"/bench/rows/*.bash; do
	before='' warm='' cached=''
	# shellcheck source=/dev/null
	. "$f"
done

# ---- the result

stamp=$(date -u +%Y-%m-%d)
result=$root/bench/results/$stamp-$(hostname -s).json
for ((i = 2; ; i++)); do
	[ -e "$result" ] || break
	result=$root/bench/results/$stamp-$(hostname -s)-$i.json
done
mkdir -p "$root/bench/results"
export runs data disk_size base
cd "$root" && python3 bench/render.py --collect "$rows" "$result" && python3 bench/render.py "$result" >bench/RESULTS.md &&
	echo "wrote ${result#"$root"/} and bench/RESULTS.md"
