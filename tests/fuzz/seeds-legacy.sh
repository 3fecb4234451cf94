#!/bin/bash
# tests/fuzz/seeds-legacy.sh [DIR] - make the seeds of fuzz_legacy anew (default: tests/fuzz/corpus/fuzz_legacy): small
# images of each format that is only read. Needs qemu-img, qemu-io and python3.
set -eu
mkdmg=$(realpath "$(dirname "$0")/../mkdmg.py")
dir=${1:-$(dirname "$0")/corpus/fuzz_legacy}
mkdir -p "$dir"
cd "$dir"

# seed NAME FORMAT SIZE [OPTION]... -- [qemu-io COMMAND]...
seed() {
	local name=$1 format=$2 size=$3 args=() options=()
	shift 3
	while [ "$1" != -- ]; do
		options+=(-o "$1")
		shift
	done
	shift
	qemu-img create -q -f "$format" "${options[@]}" "$name" "$size"
	for c; do args+=(-c "$c"); done
	[ $# -eq 0 ] || qemu-io -f "$format" "${args[@]}" "$name" >/dev/null
}

seed parallels parallels 64k cluster_size=4k -- 'write -P 1 0 4k' 'write -P 2 20k 8k'
seed qed qed 64k cluster_size=4k table_size=2 -- 'write -P 1 0 3k' 'write -P 2 40k 8k' 'write -z 60k 4k'
seed qcow qcow 64k -- 'write -P 1 0 3k' 'write -P 2 40k 8k'
# QEMU 7.2 writes all of it, and ends with status 1 without a word
qemu-img convert -q -c -f qcow -O qcow qcow qcow-compressed || true
qemu-img create -q -f qcow -u -b base.qcow2 -F qcow2 qcow-backing 64k
qemu-img create -q -f qed -u -b base.raw -F raw -o cluster_size=4k,table_size=2 qed-backing 64k
python3 -c 'import sys; sys.stdout.buffer.write((b"dmg seed " * 455 + b"\0")[:4096] * 8 + bytes(32768))' >disk.raw
"$mkdmg" disk.raw dmg-zlib auto 30
"$mkdmg" disk.raw dmg-mixed bzip2,raw,zlib,zero,ignore 9
"$mkdmg" disk.raw dmg-other lzfse,adc,lzma 30
rm disk.raw
