# shellcheck shell=bash disable=SC2034,SC2154
# The other formats: compressed VMDK and qcow2, OVA, plain pairs against a loop that only copies, reflinks, scattered blocks,
# hostile files.

where=disk dir=$work
if [ -n "$shm" ]; then
	where=tmpfs dir=$shm
	mkdir -p "$shm"
	cp --sparse=always disk.raw disk.qcow2 "$shm/"
fi
raw=$dir/disk.raw out=$dir/out
loop=$work/loop
${CC:-cc} -O2 -o "$loop" "$root/bench/loop.c" || die "loop.c"
ours="vmimg convert --no-sync -f raw"
theirs="qemu-img convert -W -m 16 -f raw"
warm=$((data * 3 / 2 >> 20))

# ---- compressed

stream="-O vmdk -o subformat=streamOptimized"
row raw-stream "raw to streamOptimized VMDK, $where" time=0.1667,size=1.0 "$out" "$ours $stream $raw $out" "$theirs $stream $raw $out"
row raw-stream-fast "raw to streamOptimized VMDK, fast level, $where" time=0.0833 "$out" \
	"$ours $stream -czlib:1 $raw $out" "$theirs $stream $raw $out"
row raw-qcow2-zlib "raw to qcow2 with zlib, fast, $where" time=0.125 "$out" \
	"$ours -O qcow2 -czlib $raw $out" "$theirs -O qcow2 -c $raw $out"
row raw-qcow2-zlib-best "raw to qcow2 with zlib, best; qemu-img without -W, $where" time=0.556,size=1.0 "$out" \
	"$ours -O qcow2 -czlib:6 $raw $out" "qemu-img convert -c -f raw -O qcow2 $raw $out"
row raw-ova "raw to OVA with its manifest; against the bare streamOptimized VMDK, $where" time=1.05,mib=64 "$out.ova" \
	"$ours $raw $out.ova" "$ours $stream $raw $out.ova"
if [[ zlib-stream =~ $regex || stream-raw =~ $regex ]]; then
	vmimg convert --no-sync -czlib -f raw -O qcow2 "$raw" "$dir/zlib.qcow2"
	row zlib-stream "qcow2 with zlib to streamOptimized VMDK, passed through, $where" time=0.1 "$out" \
		"vmimg convert --no-sync $stream $dir/zlib.qcow2 $out" "qemu-img convert -W -m 16 $stream $dir/zlib.qcow2 $out"
	vmimg convert --no-sync -f raw -O vmdk -c "$raw" "$dir/stream.vmdk"
	row stream-raw "streamOptimized VMDK to raw, $where" - "$out" \
		"vmimg convert --no-sync -O raw $dir/stream.vmdk $out" "qemu-img convert -W -m 16 -O raw $dir/stream.vmdk $out"
	rm -f "$dir/zlib.qcow2" "$dir/stream.vmdk"
fi

# ---- plain pairs: no more processor time than a loop that copies, and a fifth

for format in qcow2 vhd vhdx vdi vmdk raw; do
	[[ loop-$format =~ $regex || loop-from-$format =~ $regex ]] || continue
	row "loop-$format" "raw to $format; against a pread/pwrite loop, $where" cpu=1.2 "$out" \
		"$ours -O $format $raw $out" "$loop $raw $out"
	[ $format != raw ] || continue
	vmimg convert --no-sync -f raw -O "$format" "$raw" "$dir/in.$format"
	row "loop-from-$format" "$format to raw; against a pread/pwrite loop, $where" cpu=1.2 "$out" \
		"vmimg convert --no-sync -f $format -O raw $dir/in.$format $out" "$loop $raw $out"
	rm -f "$dir/in.$format"
done
warm=''

# ---- reflinks: XFS on a loop device

if [[ reflink =~ $regex || $regex == *reflink* ]] && [ "$(id -u)" = 0 ] && command -v mkfs.xfs >/dev/null; then
	truncate -s $((data * 2 + (1 << 30))) xfs.img && mkfs.xfs -q -m reflink=1 xfs.img && mkdir -p xfs
	if mount -o loop xfs.img xfs; then
		trap 'umount "$work/xfs" 2>/dev/null; rm -rf "$work" "${shm:-$work}"' EXIT
		cp --sparse=always disk.raw xfs/a.raw
		truncate -s 4G xfs/a.raw # with the data that lie below
		for format in qcow2 vhd vhdx vdi vmdk; do
			row "reflink-$format" "raw to $format by reflink on XFS; against cp --reflink" ms=50 xfs/out \
				"$ours -O $format xfs/a.raw xfs/out" "cp --reflink=always xfs/a.raw xfs/out"
			vmimg convert --no-sync -f raw -O $format xfs/a.raw xfs/in
			row "reflink-from-$format" "$format to raw by reflink on XFS; against cp --reflink" ms=50 xfs/out \
				"vmimg convert --no-sync -f $format -O raw xfs/in xfs/out" "cp --reflink=always xfs/a.raw xfs/out"
			rm -f xfs/in
		done
		umount xfs
	fi
	rm -f xfs.img
fi

# ---- 64 GiB with 60 000 separate blocks

if [[ $regex == . || $regex == *scattered* ]]; then
	python3 - "$dir/scattered.raw" <<-'END'
		import os, random, sys
		random.seed(3)
		f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)
		os.ftruncate(f, 64 << 30)
		for block in sorted(random.sample(range((64 << 30) // 8192), 60000)):
		    os.pwrite(f, random.randbytes(4096), block * 8192)
	END
	for format in qcow2 vdi vmdk vhdx vhd; do
		row "scattered-$format" "64 GiB with 60 000 scattered blocks to $format; against cp, $where" ms=2000 "$out" \
			"$ours -O $format $dir/scattered.raw $out" "cp --sparse=always $dir/scattered.raw $out"
	done
	rm -f "$dir/scattered.raw"
fi

# ---- looking

for format in vmdk vhdx vdi vhd; do
	[[ info-$format =~ $regex ]] || continue
	vmimg convert --no-sync -f raw -O $format disk.raw in.$format
	name=$format
	[ $format != vhd ] || name=vpc
	row info-$format "info of a $format image" ms=3 - "vmimg info in.$format" "qemu-img info -f $name in.$format"
	rm -f in.$format
done
if [[ hostile-qcow2 =~ $regex || hostile-qcow1 =~ $regex ]]; then
	# An L1 table of 32 MiB full of entries, 65 536 snapshots claimed; a qcow1 of 516 bytes that claims 2 EiB
	python3 - <<-'END'
		import struct
		with open("hostile.qcow2", "wb") as f:
		    f.write(struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 50, 0, 1 << 22, 65536, 1 << 30, 1, 65536, 1 << 26))
		    f.truncate(1 << 32)
		with open("hostile.qcow", "wb") as f:
		    f.write(struct.pack(">4sIQIIQBBHIQ", b"QFI\xfb", 1, 0, 0, 0, 1 << 61, 12, 9, 0, 0, 48).ljust(516, b"\0"))
	END
	row hostile-qcow2 "info of a hostile qcow2" ms=20,mib=16 - \
		"sh -c 'vmimg info hostile.qcow2 || true'" "sh -c 'qemu-img info hostile.qcow2 || true'"
	row hostile-qcow1 "info of a hostile qcow1 of 516 bytes" ms=20,mib=16 - \
		"sh -c 'vmimg info hostile.qcow || true'" "sh -c 'qemu-img info hostile.qcow || true'"
	rm -f hostile.qcow2 hostile.qcow
fi
[ -z "$shm" ] || rm -rf "$shm"
