#!/usr/bin/env bats
# Bytes that are not made anew: compressed clusters that keep the form they have, blocks that files share.
load common

setup() {
	common_setup
	require qemu-img jq python3
}

# passed ARGS... - of vmimg convert --json ARGS
passed() {
	run_split vmimg convert --force --json "$@"
	assert_status 0
	assert_schema vmimg-convert
	json .passed_bytes
}

# A disk whose data compress, but for a run in the middle, with clusters of written zeros.
a_disk() {
	truncate -s 20971008 a.raw
	yes 'what compresses well, though not too well' | head -c 5000000 | dd of=a.raw bs=64k seek=3 conv=notrunc status=none
	random_bytes 4 700000 | dd of=a.raw bs=64k seek=50 conv=notrunc status=none
	seq 1 400000 | head -c 2700000 | dd of=a.raw bs=1 seek=18270000 oflag=seek_bytes bs=64k conv=notrunc status=none
}

# streams FILE - the deflate streams of a qcow2 (as qcow2) or streamOptimized VMDK, one a line, in hexadecimal
streams() {
	python3 - "$1" <<-'END'
		import struct, sys, zlib
		d = open(sys.argv[1], "rb").read()
		def deflate_at(at, window):
		    z = zlib.decompressobj(window)
		    z.decompress(d[at:at + 70000])
		    return d[at:at + len(d[at:at + 70000]) - len(z.unused_data)]
		if d[:4] == b"QFI\xfb":
		    bits, = struct.unpack(">I", d[20:24])
		    n, l1 = struct.unpack(">IQ", d[36:48])
		    for i in range(n):
		        l2 = struct.unpack(">Q", d[l1 + 8 * i:l1 + 8 * i + 8])[0] & 0xfffffffffffe00
		        for j in range(1 << bits - 3 if l2 else 0):
		            e, = struct.unpack(">Q", d[l2 + 8 * j:l2 + 8 * j + 8])
		            if e >> 62 & 1:
		                print(deflate_at(e & (1 << 62 - (bits - 8)) - 1, -15).hex())
		else:
		    at = struct.unpack("<Q", d[64:72])[0] * 512
		    while at < len(d):
		        lba, size, kind = struct.unpack("<QII", d[at:at + 16])
		        if size:
		            z = d[at + 12:at + 12 + size]
		            zlib.decompress(z)      # the sum holds
		            print(z[2:-4].hex())
		            at += -(-(12 + size) // 512) * 512
		        elif kind == 0:
		            break
		        else:
		            at += 512 * (1 + lba)
	END
}

@test "qcow2 with zlib to streamOptimized VMDK and OVA: the same deflate streams, with header and sum around" {
	require vmdkinfo
	a_disk
	qemu-img convert -c -f raw -O qcow2 a.raw q.qcow2
	vmimg convert -czlib a.raw o.qcow2
	local source
	for source in q.qcow2 o.qcow2; do
		[ "$(passed -O vmdk -o subformat=streamOptimized --digest sha256 $source a.vmdk)" -gt 7000000 ]
		run_split vmimg convert --force --json -c --digest sha256 $source a.vmdk
		[ "$(json .digest.value)" = "$(sha256sum <a.raw | cut -d' ' -f1)" ]
		assert_same_disk a.raw a.vmdk raw vmdk
		vmimg check --deep a.vmdk
		vmdkinfo a.vmdk >/dev/null
		streams $source | sort >s
		streams a.vmdk | sort >t
		# All of the source's are there but for its last cluster, which is no whole grain; besides, what it has plain.
		[ "$(comm -23 s t | wc -l)" -le 1 ]
		[ "$(comm -12 s t | wc -l)" -gt 100 ]
		vmimg convert --force $source a.ova
		tar xf a.ova a-disk1.vmdk
		[ "$(streams a-disk1.vmdk | sort | comm -12 s - | wc -l)" -gt 100 ]
		assert_same_disk a.raw a-disk1.vmdk raw vmdk
		# The number of threads is all the same, and a pipe.
		vmimg convert --threads 1 -O vmdk -c $source - >b.vmdk
		streams b.vmdk | sort | cmp - t
	done
}

@test "the same codec and cluster size: compressed clusters stay as they are" {
	a_disk
	local how
	for how in compression_type=zlib compression_type=zstd compression_type=zlib,cluster_size=4k \
		compression_type=zstd,cluster_size=2M; do
		qemu-img convert -c -f raw -O qcow2 -o $how a.raw q.qcow2
		[ "$(passed -c -O qcow2 -o $how q.qcow2 b.qcow2)" -gt 4000000 ] || fail "$how: nothing passed"
		assert_qemu_clean b.qcow2
		assert_same_disk a.raw b.qcow2 raw qcow2
		[ $how != compression_type=zlib ] || [ "$(streams b.qcow2 | sort | comm -23 <(streams q.qcow2 | sort) - | wc -l)" -le 1 ]
	done
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized a.raw q.vmdk
	[ "$(passed -c q.vmdk b.vmdk)" -gt 7000000 ]
	assert_same_disk a.raw b.vmdk raw vmdk
	# A chain: of each layer what it has.
	qemu-img create -q -f qcow2 -b q.qcow2 -F qcow2 top.qcow2
	qemu-img convert -c -f raw -O qcow2 a.raw q.qcow2
	qemu-io -c 'write -P 5 1M 192k' top.qcow2 >/dev/null
	[ "$(passed -czlib -O qcow2 top.qcow2 b.qcow2)" -gt 4000000 ]
	assert_same_disk top.qcow2 b.qcow2 qcow2 qcow2
	assert_qemu_clean b.qcow2
}

@test "another codec, another size, a level that is asked for, an overlay: all is compressed anew" {
	a_disk
	qemu-img convert -c -f raw -O qcow2 a.raw q.qcow2
	qemu-img convert -f raw -O vmdk -o subformat=streamOptimized a.raw q.vmdk
	[ "$(passed -czstd -O qcow2 q.qcow2 b.qcow2)" = 0 ]
	[ "$(passed -czlib -O qcow2 -o cluster_size=128k q.qcow2 b.qcow2)" = 0 ]
	[ "$(passed -czlib:9 -O qcow2 q.qcow2 b.qcow2)" = 0 ]
	[ "$(passed -czlib:9 q.qcow2 b.vmdk)" = 0 ]
	# A window of 32 KiB is more than readers of qcow2 have.
	[ "$(passed -czlib -O qcow2 q.vmdk b.qcow2)" = 0 ]
	assert_same_disk a.raw b.qcow2 raw qcow2
	[ "$(passed -O qcow2 q.qcow2 b.qcow2)" = 0 ]
	vmimg create base.qcow2 20971008
	[ "$(passed -czlib -O qcow2 -B base.qcow2 q.qcow2 b.qcow2)" = 0 ]
	assert_same_disk a.raw b.qcow2 raw qcow2
	# Compressed zeros are zeros: no cluster of the new image holds them.
	truncate -s 1M z.raw
	python3 - <<-'END'
		import struct, zlib
		z = zlib.compressobj(9, zlib.DEFLATED, -12)
		z = z.compress(bytes(65536)) + z.flush()
		d = bytearray(5 * 65536)
		struct.pack_into(">4sIQIIQIIQQIIQ", d, 0, b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 3 * 65536, 65536, 1, 0, 0)
		struct.pack_into(">Q", d, 65536, 2 * 65536)
		struct.pack_into(">5H", d, 2 * 65536, 1, 1, 1, 1, 1)
		struct.pack_into(">H", d, 2 * 65536 + 10, 1)
		struct.pack_into(">Q", d, 3 * 65536, 4 * 65536 | 1 << 63)
		struct.pack_into(">Q", d, 4 * 65536, 1 << 62 | 5 * 65536)
		open("z.qcow2", "wb").write(d + z.ljust(512, b"\0"))
	END
	qemu-img check -q z.qcow2
	vmimg convert --force -czlib -O qcow2 z.qcow2 b.qcow2
	[ "$(vmimg map --json b.qcow2 | jq '[.[] | select(.data)] | length')" = 0 ]
}

@test "damage in a compressed cluster is found, not passed on" {
	a_disk
	qemu-img convert -c -f raw -O qcow2 a.raw q.qcow2
	python3 - <<-'END'
		import struct
		d = bytearray(open("q.qcow2", "rb").read())
		l1, = struct.unpack(">Q", d[40:48])
		l2 = struct.unpack(">Q", d[l1:l1 + 8])[0] & 0xfffffffffffe00
		e, = struct.unpack(">Q", d[l2 + 8 * 10:l2 + 8 * 11])
		assert e >> 62 & 1
		at = e & (1 << 54) - 1
		d[at + 3:at + 40] = b"\xff" * 37
		open("q.qcow2", "wb").write(d)
	END
	refused 8 vmimg convert -c q.qcow2 b.vmdk
	refused 8 vmimg convert -czlib -O qcow2 q.qcow2 b.qcow2
	assert_file_not_exist b.vmdk
}

# bats test_tags=slow,release
@test "XFS: raw to and from each format shares every block" {
	require_root
	require mkfs.xfs
	truncate -s 400M fs.img
	mkfs.xfs -q -m reflink=1 fs.img
	mkdir mnt
	mount -o loop fs.img mnt || skip "cannot mount"
	run reflink_pairs
	umount mnt
	assert_success
}

reflink_pairs() {
	local format option cloned theirs
	cd mnt || return 1
	random_bytes 3 41943040 >a.raw
	truncate -s 60M a.raw
	random_bytes 4 8388608 | dd of=a.raw bs=1M seek=50 conv=notrunc status=none
	sync -f .
	while read -r format option; do
		# shellcheck disable=SC2086 # options
		cloned=$(vmimg convert --json -O $format $option a.raw t.img | jq .cloned_bytes)
		[ "$cloned" -ge 50331648 ] || { echo "raw to $format $option: $cloned" && return 1; }
		vmimg check -q t.img || [ $? = 9 ] || return 1
		theirs=$format
		[ "$format" != vhd ] || theirs=vpc
		qemu-img compare -f raw -F "$theirs" a.raw t.img >/dev/null 2>&1 || { echo "$format differs" && return 1; }
		vmimg compare a.raw t.img || return 1
		cloned=$(vmimg convert --json -f "$format" -O raw t.img b.raw | jq .cloned_bytes)
		[ "$cloned" -ge 50331648 ] || { echo "$format $option to raw: $cloned" && return 1; }
		cmp a.raw b.raw || return 1
		# Not one data block more than the source has, but for tables
		sync -f .
		[ $(($(df --output=used -B 1M . | tail -n 1))) -lt 100 ] || { df . && return 1; }
		rm -f t.img b.raw
	done <<-'END'
		qcow2
		qcow2 -ocluster_size=2M
		vhdx
		vdi
		vdi -ostatic=on
		vhd
		vhd -osubformat=fixed
		vmdk
		vmdk -osubformat=monolithicFlat
		raw
	END
}
