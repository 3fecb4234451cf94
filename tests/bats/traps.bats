#!/usr/bin/env bats
# Traps of disk formats that the other files have no place for: what makers of images do in fact, and what a reader or
# writer that goes by the specification alone gets wrong.
# shellcheck disable=SC2016 # the shell that serve starts expands $uri
load common

setup() {
	common_setup
	require qemu-img python3 jq
}

# edit FILE CODE - Python with the bytes of FILE as d (a bytearray)
edit() {
	python3 - "$1" "$2" <<-'END'
		import struct, sys, zlib
		with open(sys.argv[1], "rb") as f:
		    d = bytearray(f.read())
		exec(sys.argv[2].replace("\n\t", "\n"))
		with open(sys.argv[1], "wb") as f:
		    f.write(d)
	END
}

vhdpy() { python3 "$ROOT/tests/tools/vhd.py" "$@" || fail "vhd.py $*"; }

@test "streamOptimized: the last grain may end with the disk, or have been padded" {
	random_bytes 1 150016 >a.raw
	vmimg convert -O vmdk -o subformat=streamOptimized a.raw padded.vmdk
	# Ours is padded to a whole grain, as VMware's are: what the last marker holds inflates to 64 KiB.
	edit padded.vmdk 'at = [a for a in range(65536, len(d), 512) if d[a:a + 8] == struct.pack("<Q", 256) and d[a + 8:a + 12] != bytes(4)][-1]; n = struct.unpack_from("<I", d, at + 8)[0]
	assert len(zlib.decompress(bytes(d[at + 12:at + 12 + n]))) == 65536'
	vmimg compare a.raw padded.vmdk
	vmimg check --deep padded.vmdk
	cp padded.vmdk short.vmdk
	edit short.vmdk 'at = [a for a in range(65536, len(d), 512) if d[a:a + 8] == struct.pack("<Q", 256) and d[a + 8:a + 12] != bytes(4)][-1]; n = struct.unpack_from("<I", d, at + 8)[0]
	z = zlib.compress(zlib.decompress(bytes(d[at + 12:at + 12 + n]))[:150016 - 131072])
	assert len(z) <= n
	d[at + 8:at + 12 + n] = struct.pack("<I", len(z)) + z + bytes(n - len(z))'
	vmimg compare a.raw short.vmdk
	vmimg check --deep short.vmdk
	vmimg convert -f vmdk -O raw - short.raw <short.vmdk
	assert_same_bytes a.raw short.raw
}

@test "streamOptimized: the sum of a grain counts, whatever it inflates to" {
	random_bytes 1 262144 >a.raw
	vmimg convert -O vmdk -o subformat=streamOptimized a.raw a.vmdk
	local how
	for how in 'd[at + 12 + n - 1] ^= 1' 'd[at + 20000:at + 20008] = b"\xff" * 8' 'd[at + 30000:at + 30600] = bytes(600)'; do
		cp a.vmdk b.vmdk
		edit b.vmdk "at = [a for a in range(65536, len(d), 512) if d[a:a + 8] == struct.pack('<Q', 128) and d[a + 8:a + 12] != bytes(4)][0]; n = struct.unpack_from('<I', d, at + 8)[0]; $how"
		refused 8 vmimg convert --force b.vmdk b.raw
		run vmimg check --deep b.vmdk
		assert_status 8
		run qemu-img convert -f vmdk -O raw b.vmdk q.raw
		[ "$status" != 0 ]
	done
}

@test "streamOptimized as other tools write it: createType without quotes, grains from overHead on, the directory in front" {
	random_image a.raw 3145728 4 12
	vmimg convert -O vmdk -o subformat=streamOptimized a.raw o.vmdk
	edit o.vmdk 'd[:] = d.replace(b"createType=\"streamOptimized\"\n", b"createType=streamOptimized\n\n\n")'
	vmimg compare a.raw o.vmdk
	[ "$(vmimg info --json o.vmdk | jq -r .format_specific.create_type)" = streamOptimized ]
	# QEMU's directory is in front of the grains, with no footer.
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized a.raw q.vmdk
	vmimg compare a.raw q.vmdk
	# shellcheck disable=SC2002 # a pipe
	cat q.vmdk | vmimg convert -f vmdk -O raw - q.raw
	assert_same_bytes a.raw q.raw
	# The grains begin at once behind the descriptor, which ends before the 10 KiB that others leave for it.
	python3 "$ROOT/tests/vmdk_make.py" stream a.raw s.vmdk
	vmimg compare a.raw s.vmdk
	vmimg check --deep s.vmdk
}

@test "VMDK descriptors: NOACCESS and ZERO extents, RDONLY, blanks and comments between" {
	random_image a.raw 1048576 4 6
	printf '# Disk DescriptorFile\r\nversion = 1\nCID=0f0f0f0f\nparentCID=ffffffff\ncreateType = "custom"\n\n# extents\n  RW   2048 FLAT "a.raw" 0 \nRW 100 ZERO\nNOACCESS 28 ZERO\n' >d.vmdk
	vmimg convert d.vmdk d.raw
	{
		cat a.raw
		head -c $((128 * 512)) /dev/zero
	} >want.raw
	assert_same_bytes want.raw d.raw
	sed -i 's/RW   2048 FLAT/NOACCESS 2048 FLAT/' d.vmdk
	refused 9 vmimg convert d.vmdk e.raw
}

@test "VHD: a table with an entry too many, as QEMU 2.2 wrote; blocks in any order" {
	random_image a.raw 8388608 3 20
	vmimg convert -o block_size=2M a.raw a.vhd
	# The table has room for it in its sector.
	edit a.vhd 'struct.pack_into(">I", d, 512 + 28, 5)
	struct.pack_into(">I", d, 512 + 36, 0); struct.pack_into(">I", d, 512 + 36, ~sum(d[512:1536]) & 0xffffffff)'
	vmimg compare a.raw a.vhd
	vmimg check a.vhd
	[ "$(vmimg info --json a.vhd | jq .virtual_size)" = 8388608 ]
	# Two whole blocks change places.
	edit a.vhd 'bat = struct.unpack_from(">Q", d, 512 + 16)[0]
	a, b = (struct.unpack_from(">I", d, bat + 4 * i)[0] for i in (0, 1))
	size = 2097152 + 512
	assert a != 0xffffffff and b != 0xffffffff
	x, y = bytes(d[a * 512:a * 512 + size]), bytes(d[b * 512:b * 512 + size])
	d[a * 512:a * 512 + size], d[b * 512:b * 512 + size] = y, x
	struct.pack_into(">II", d, bat, b, a)'
	vmimg compare a.raw a.vhd
	vmimg check a.vhd
	qemu-img compare -f raw -F vpc a.raw a.vhd
}

@test "disks of 4096-byte sectors: another sector size is another partition table, and said so" {
	random_image a.raw 8388608 3 20
	vmimg convert -o logical_sector_size=4096 a.raw a.vhdx
	run_split vmimg convert a.vhdx b.qcow2
	assert_status 0
	[[ $stderr == *"sectors of 4096 bytes"* ]]
	run_split vmimg convert --force -O vhdx -o logical_sector_size=4096 a.vhdx c.vhdx
	assert_status 0
	[ -z "$stderr" ]
	run_split vmimg convert --force -O vhdx a.vhdx c.vhdx
	assert_status 0
	[[ $stderr == *"sectors of 4096 bytes"* ]]
	run_split vmimg convert a.raw d.qcow2
	[ -z "$stderr" ]
}

@test "a block device has no holes: zeros on it become holes" {
	require_root
	random_image a.raw 33554432 3 10
	local dev
	dev=$(losetup -f --show a.raw) || skip "no loop devices"
	run vmimg convert "$dev" b.raw
	run vmimg convert "$dev" b.qcow2
	losetup -d "$dev"
	assert_same_bytes a.raw b.raw
	[ "$(du -k b.raw | cut -f1)" -le $(($(du -k a.raw | cut -f1) + 64)) ]
	assert_same_disk a.raw b.qcow2 raw qcow2
}

# bats test_tags=release
@test "qcow2 version 2 has no zero clusters: zeros over a backing file are bytes" {
	random_bytes 3 1048576 >base.raw
	cp base.raw a.raw
	dd if=/dev/zero of=a.raw bs=64k seek=3 count=5 conv=notrunc status=none
	vmimg convert -O qcow2 -B base.raw -F raw -o compat=v2 a.raw a.qcow2
	assert_qemu_clean a.qcow2
	qemu-img compare -f raw -F qcow2 a.raw a.qcow2
	[ "$(qemu-img info --output=json a.qcow2 | jq -r '."format-specific".data.compat')" = 0.10 ]
	# Written in place, too
	vmimg serve --writable a.qcow2 -- sh -c 'qemu-io -f raw -c "write -z 512k 128k" "$uri"' >/dev/null
	dd if=/dev/zero of=a.raw bs=64k seek=8 count=2 conv=notrunc status=none
	assert_qemu_clean a.qcow2
	qemu-img compare -f raw -F qcow2 a.raw a.qcow2
}

# bats test_tags=release
@test "qcow2 with a raw data file: what a guest writes lies in it where the guest has it" {
	vmimg create -o data_file=d.raw,data_file_raw=on a.qcow2 4M
	vmimg serve --writable a.qcow2 -- sh -c 'qemu-io -f raw -c "write -P 7 1M 64k" -c "write -z 1M 4k" -c "discard 2M 64k" "$uri"' >/dev/null
	truncate -s 4M want.raw
	yes $'\x07' | tr -d '\n' | head -c 61440 | dd of=want.raw bs=4k seek=257 conv=notrunc status=none
	assert_same_bytes want.raw d.raw
	assert_qemu_clean a.qcow2
	# The flag says that this holds: it stays.
	qemu-img info --output=json a.qcow2 | jq -e '."format-specific".data."data-file-raw"'
}

@test "OVF of many makers: names of formats, of controllers, of units" {
	random_image d.raw 1048576 7 6
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized d.raw d.vmdk
	local format units controller
	while read -r format units controller; do
		cat >p.ovf <<-END
			<?xml version="1.0"?>
			<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
			 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
			<References><File ovf:href="d.vmdk" ovf:id="f1"/></References>
			<DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="${units%%/*}"
			 ovf:capacityAllocationUnits="$(tr _ ' ' <<<"${units#*/}")" ovf:format="$format" ovf:populatedSize="9223372036854775807"/></DiskSection>
			<VirtualSystem ovf:id="m"><Info/><Name>m</Name><VirtualHardwareSection><Info/>
			<Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>$(tr _ ' ' <<<"$controller")</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
			<Item><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:ResourceType>17</rasd:ResourceType></Item>
			</VirtualHardwareSection></VirtualSystem></Envelope>
		END
		tar --format=ustar -cf p.ova p.ovf d.vmdk
		run_split vmimg convert --force p.ova o.raw
		assert_status 0
		assert_same_bytes d.raw o.raw
		run -0 vmimg info --json p.ova
		assert_schema vmimg-info
		vmimg check p.ova || fail "$format $units $controller"
	done <<-'END'
		http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized 1048576/byte lsilogic
		http://www.vmware.com/specifications/vmdk.html#sparse 1/byte_*_2^20 someother,_lsilogic
		http://www.vmware.com/specifications/vmdk.html#compressed 1024/byte_*_2^10 VirtualSCSI
		http://www.vmware.com/interfaces/specifications/vmdk.html#monolithicSparse 1/MegaBytes buslogic
		http://www.vmware.com/interfaces/specifications/vmdk.html 1/byte*2^20 lsilogicsas
		http://www.gnome.org/~markmc/qcow-image-format.html 2048/byte_*_512 nonsense
	END
}

@test "a file system that takes data for holes, as ZFS before 2.1.14 and 2.2.2, is not asked" {
	local liar f
	liar=$(preload liar.so)
	random_bytes 7 3000000 >a.raw
	truncate -s 4M a.raw
	vmimg convert -O vmdk -o subformat=monolithicFlat a.raw flat.vmdk
	vmimg convert -O vhd -o subformat=fixed a.raw fixed.vhd
	vmimg convert a.raw a.qcow2
	# it does lie, and is believed where nothing is known against it
	LD_PRELOAD=$liar vmimg convert -O raw a.raw lost.raw
	[ "$(tr -d '\0' <lost.raw | wc -c)" = 0 ]
	local how=(VMKIT_HOLES=read VMKIT_HOLES=1)
	[ -e /sys/module/zfs ] || how+=(LIAR_FS=0x2fc12fc1) # where it is, its own version decides
	for h in "${how[@]}"; do
		for f in a.raw flat.vmdk fixed.vhd a.qcow2; do
			env LD_PRELOAD="$liar" "$h" vmimg convert --force -O raw $f got.raw
			cmp a.raw got.raw
		done
		[ "$(stat -c %b got.raw)" -lt $((4 << 11)) ] # zeros are found by reading
		[ "$(env LD_PRELOAD="$liar" "$h" vmimg digest a.raw)" = "$(vmimg digest a.raw)" ]
		vmbackup init -r repo --no-encryption
		env LD_PRELOAD="$liar" "$h" vmbackup backup -r repo --vm m a=a.raw
		vmbackup restore -r repo m - | cmp - a.raw
		rm -r repo
	done
}
