# shellcheck shell=bash disable=SC2034,SC2154
# Images of the same content: qcow2 and raw, compressed and not, against qemu-img.

row info-qcow2 "info of a qcow2 image" ms=5 - "vmimg info disk.qcow2" "qemu-img info disk.qcow2"
warm=$((data * 3 / 2 >> 20))
for where in tmpfs disk disk-synced; do
	dir=$work sync=' --no-sync' after=
	if [ $where = tmpfs ]; then
		[ -n "$shm" ] || continue
		dir=$shm
	elif [ $where = disk-synced ]; then
		sync='' after=' && sync -f'
	fi
	q() { if [ -n "$after" ]; then echo "sh -c '$1$after $2'"; else echo "$1"; fi; }
	row raw-qcow2-$where "raw to qcow2, $where" time=1.0 "$dir/out" \
		"vmimg convert$sync -f raw -O qcow2 $dir/disk.raw $dir/out" \
		"$(q "qemu-img convert -W -f raw -O qcow2 $dir/disk.raw $dir/out" "$dir/out")"
	row qcow2-raw-$where "qcow2 to raw, $where" time=1.0 "$dir/out" \
		"vmimg convert$sync -f qcow2 -O raw $dir/disk.qcow2 $dir/out" \
		"$(q "qemu-img convert -W -f qcow2 -O raw $dir/disk.qcow2 $dir/out" "$dir/out")"
done
where=disk dir=$work
[ -z "$shm" ] || where=tmpfs dir=$shm
row raw-qcow2-zstd "raw to qcow2 with zstd, $where" time=0.667 "$dir/out" \
	"vmimg convert --no-sync -f raw -O qcow2 -czstd $dir/disk.raw $dir/out" \
	"qemu-img convert -W -m 16 -c -o compression_type=zstd -f raw -O qcow2 $dir/disk.raw $dir/out"
if [[ qcow2-zstd-raw =~ $regex ]]; then
	qemu-img convert -W -m 16 -c -o compression_type=zstd -f raw -O qcow2 "$dir/disk.raw" "$dir/zstd.qcow2"
	row qcow2-zstd-raw "qcow2 with zstd to raw, $where" - "$dir/out" \
		"vmimg convert --no-sync -f qcow2 -O raw $dir/zstd.qcow2 $dir/out" \
		"qemu-img convert -W -m 16 -f qcow2 -O raw $dir/zstd.qcow2 $dir/out"
	rm -f "$dir/zstd.qcow2"
fi
warm=''
# Half a second for 1.3 GB
row compare "compare raw with qcow2" ms=$((500 * (data / 1000000) / 1300)) - "vmimg compare disk.raw disk.qcow2" "qemu-img compare disk.raw disk.qcow2"
row check "check of a qcow2 image" - - "vmimg check disk.qcow2" "qemu-img check disk.qcow2"
[ -z "$shm" ] || rm -rf "$shm"

