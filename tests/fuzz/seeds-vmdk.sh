#!/bin/bash
# tests/fuzz/seeds-vmdk.sh [DIR] - make the seeds of fuzz_vmdk anew (default: tests/fuzz/corpus/fuzz_vmdk): one small
# image of each kind with tables, with grains of 4 KiB, and descriptors.
set -eu
make=$(realpath "$(dirname "$0")/../vmdk_make.py")
dir=${1:-$(dirname "$0")/corpus/fuzz_vmdk}
mkdir -p "$dir"
cd "$dir"

truncate -s 65024 raw
for at in 0 9000 30000 64000; do
	printf 'some text at %d' $at | dd of=raw bs=1 seek=$at conv=notrunc status=none
done
for kind in cowd sesparse hosted stream; do python3 "$make" $kind raw $kind; done
python3 "$make" sesparse raw sesparse-zero whole
python3 "$make" hosted raw hosted-zero whole
rm raw
cat >descriptor <<'D'
# Disk DescriptorFile
version=1
encoding="windows-1252"
CID=12345678
parentCID=fffffffe
createType="custom"
parentFileNameHint="base.vmdk"
RW 1000 FLAT "a-flat.vmdk" 100
RDONLY 4192256 SPARSE "a-s001.vmdk"
RW 63 ZERO
RW 8 VMFSSPARSE "b"
RW 8 SESPARSE "c"
ddb.adapterType = "ide"
D
printf 'version = 1\r\nRW 4096 ZERO\r\nRW 8 ZERO\r\n' >zeros
