#!/bin/bash
# tests/fuzz/seeds-vhdx.sh [DIR] - make the seeds of fuzz_vhdx anew (default: tests/fuzz/corpus/fuzz_vhdx): the parts of
# VHDX files that are not zero, as fuzz_vhdx.c puts them together. Needs python3, qemu-img, qemu-io, and vmimg in PATH.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/corpus/fuzz_vhdx}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

pieces() {
	python3 - "$1" "$dir/$1" <<'PY'
import struct, sys
data = open(sys.argv[1], "rb").read()
out = struct.pack(">H", (len(data) >> 20) - 1)
at = 512
while at < len(data):
    end = at
    while end < len(data) and end - at < 32768 and any(data[end:end + 512]):
        end += 512
    if end > at:
        piece = data[at:end].rstrip(b"\0")
        out += struct.pack(">IH", at // 512, len(piece)) + piece
    at = max(end, at + 512)
open(sys.argv[2], "wb").write(out)
PY
}

vmimg create -f vhdx dynamic 4M
vmimg create -f vhdx -o subformat=fixed,logical_sector_size=4096 fixed 2M
truncate -s 4M raw
printf data | dd of=raw bs=1 seek=1048600 conv=notrunc status=none
vmimg convert -f raw -O vhdx -B dynamic -F vhdx raw child
qemu-img create -q -f vhdx -o block_size=1M,log_size=1M old 3M
qemu-io -f vhdx -c 'write -P 1 0 512' old >/dev/null
cp old new
qemu-io -f vhdx -c 'write -P 2 2M 512' new >/dev/null
python3 "$here/../tools/vhdx.py" dirty old new log --one --zeros
for f in dynamic fixed child log; do pieces $f; done
