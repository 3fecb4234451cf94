#!/bin/bash
# tests/fuzz/seeds-qcow2.sh [DIR] - make the seeds of fuzz_qcow2 anew (default: tests/fuzz/corpus/fuzz_qcow2): one small
# image for each feature, with small clusters so that tables are within reach of a mutation. Needs qemu-img and qemu-io.
set -eu
dir=${1:-$(dirname "$0")/corpus/fuzz_qcow2}
mkdir -p "$dir"
cd "$dir"

# seed NAME SIZE OPTIONS [qemu-io COMMAND]...
seed() {
	local name=$1 size=$2 options=$3 c args=()
	shift 3
	qemu-img create -q -f qcow2 -o "$options" "$name" "$size"
	for c; do args+=(-c "$c"); done
	[ $# -eq 0 ] || qemu-io "${args[@]}" "$name" >/dev/null
}

seed v2 64k compat=0.10,cluster_size=512 'write -P 1 0 3k' 'write -P 2 40k 1k'
seed v3 64k cluster_size=512 'write -P 1 0 3k' 'write -z 8k 1k' 'write -z -u 9k 512'
seed lazy 64k cluster_size=1k,lazy_refcounts=on 'write -P 1 3k 2k'
seed bits1 64k cluster_size=512,refcount_bits=1 'write -P 1 0 1k'
seed bits64 64k cluster_size=512,refcount_bits=64 'write -P 1 0 1k'
seed extl2 64k cluster_size=16k,extended_l2=on 'write -P 1 512 1k' 'write -z 4k 1k' 'write -P 3 20k 512'
seed snapshots 64k cluster_size=512 'write -P 1 0 3k'
qemu-img snapshot -c one snapshots
qemu-io -c 'write -P 2 1k 1k' snapshots >/dev/null
qemu-img snapshot -c two snapshots
seed bitmaps 64k cluster_size=1k
qemu-img bitmap --add -g 512 bitmaps b0
qemu-io -c 'write -P 2 1k 1k' bitmaps >/dev/null
qemu-img create -q -f qcow2 -o cluster_size=512,data_file=data.raw,data_file_raw=on data 32k
rm -f data.raw
qemu-img create -q -f qcow2 -u -F raw -b base.raw -o cluster_size=1k backing 32k
for t in zlib zstd; do
	qemu-img convert -q -c -f qcow2 -O qcow2 -o cluster_size=2k,compression_type=$t v3 $t
done
