# VMDK: every subformat in both directions against qemu-img and libvmdk, streams, parents, ESX's own extents, damage.
# bats file_tags=slow
# shellcheck disable=SC2086,SC2094 # names of subformats have no blanks; what is read back is another file

load common

SUBFORMATS="monolithicSparse streamOptimized monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat"

setup() {
	common_setup
	require qemu-img qemu-io jq python3
}

# describe FILE CREATE_TYPE LINE... - a descriptor with these extents; $CID, $PARENT and $HINT may be set
describe() {
	local file=$1 type=$2
	shift 2
	{
		printf '%s\n' '# Disk DescriptorFile' version=1 "CID=${CID:-12345678}" "parentCID=${PARENT:-ffffffff}" \
			"createType=\"$type\"" ${HINT:+"parentFileNameHint=\"$HINT\""} '# Extent description' "$@" \
			'ddb.adapterType = "lsilogic"'
	} >"$file"
}

# same_as RAW VMDK - by us and by qemu-img
same_as() {
	vmimg compare "$1" "$2" || fail "vmimg: $1 and $2 differ"
	assert_same_disk "$1" "$2" raw vmdk
}

le32() { od -An -v -tu4 -j "$(($2))" -N 4 "$1" | tr -d ' '; }
le64() { od -An -v -tu8 -j "$(($2))" -N 8 "$1" | tr -d ' '; }

@test "vmdk: each subformat is what qemu-img and libvmdk read" {
	random_image a.raw 50000384 3
	for sub in $SUBFORMATS vmfs; do
		vmimg convert --verify -o subformat=$sub a.raw $sub.vmdk
		same_as a.raw $sub.vmdk
		qemu-img check -q $sub.vmdk
		run -0 vmimg check --deep $sub.vmdk
		qemu-img info --output=json $sub.vmdk >info
		[ "$(jq -r '."format-specific".data."create-type"' info)" = $sub ]
		run -0 vmimg info --json $sub.vmdk
		[ "$(json .format_specific.create_type)" = $sub ]
		assert_schema vmimg-info
		! command -v vmdkinfo >/dev/null || vmdkinfo $sub.vmdk | grep -q '50000384 bytes'
	done
	assert_clean
}

@test "vmdk: each subformat of qemu-img is read" {
	random_image a.raw 30000640 7
	for sub in $SUBFORMATS; do
		qemu-img convert -O vmdk -o subformat=$sub a.raw $sub.vmdk
		run -0 vmimg compare a.raw $sub.vmdk
		run -0 vmimg check --deep $sub.vmdk
	done
	qemu-img convert -O vmdk -o zeroed_grain=on a.raw z.vmdk
	qemu-io -c 'write -z -u 1M 3M' z.vmdk >out
	qemu-img convert -O raw z.vmdk z.raw
	run -0 vmimg compare z.raw z.vmdk
	# the extents of a disk, and sizes from the list
	run -0 vmimg map --json twoGbMaxExtentSparse.vmdk
}

@test "vmdk: libvmdk shows the same bytes" {
	require vmdkmount
	[ -r /dev/fuse ] || skip "no /dev/fuse"
	random_image a.raw 20000256 11
	mkdir m
	for sub in monolithicSparse streamOptimized twoGbMaxExtentSparse vmfs; do # it does not know flat ones
		vmimg convert -o subformat=$sub a.raw $sub.vmdk
		vmdkmount $sub.vmdk m >out 2>&1 || skip "cannot mount: $(tail -1 out)"
		cmp a.raw m/vmdk1 || { umount m; fail "$sub differs"; }
		umount m
	done
}

@test "vmdk: streamOptimized is a stream: a pipe gets the bytes that a file gets, with no temporary file" {
	random_image a.raw 80000512 5
	vmimg convert -c a.raw generated-stream.vmdk # the name is in it
	mv generated-stream.vmdk a.vmdk
	TMPDIR=/nonexistent vmimg convert -c -O vmdk a.raw - | cat >b.vmdk
	assert_same_bytes a.vmdk b.vmdk
	TMPDIR=/nonexistent vmimg convert -O vmdk -o subformat=streamOptimized --threads 1 a.raw - | cmp - a.vmdk
	# version 3, directory at the end, markers
	[ "$(le32 a.vmdk 4)" = 3 ]
	[ "$(le32 a.vmdk 8)" = $((0x30001)) ]
	[ "$(le64 a.vmdk 56)" = 18446744073709551615 ]
	[ "$(tail -c 1024 a.vmdk | head -c 4)" = KDMV ]
	[ "$(tail -c 512 a.vmdk | tr -d '\0' | wc -c)" = 0 ]
	# through two pipes
	# shellcheck disable=SC2002 # a pipe is the point
	cat a.vmdk | vmimg convert -f vmdk -O vmdk -c - - | vmimg convert -f vmdk -O raw - - | cmp - a.raw
	# an empty disk
	vmimg create -o subformat=streamOptimized generated-stream.vmdk 100M
	qemu-img check -q generated-stream.vmdk
	run -0 vmimg check generated-stream.vmdk
	vmimg convert -c -O vmdk generated-stream.vmdk - | cmp - generated-stream.vmdk
}

@test "vmdk: compression levels; the default is not larger than qemu-img's" {
	tar -C "$ROOT" -cf a.raw libcommon cmd
	truncate -s %512 a.raw
	qemu-img convert -O vmdk -o subformat=streamOptimized a.raw q.vmdk
	vmimg convert -c a.raw d.vmdk
	[ "$(stat -c %s d.vmdk)" -le "$(stat -c %s q.vmdk)" ]
	for level in 1 2 12; do
		vmimg convert -czlib:$level a.raw $level.vmdk
		same_as a.raw $level.vmdk
	done
	[ "$(stat -c %s 12.vmdk)" -lt "$(stat -c %s 1.vmdk)" ]
	refused 2 vmimg convert -czlib:13 a.raw x.vmdk
	refused 2 vmimg convert -czstd a.raw x.vmdk
	refused 2 vmimg convert -c -o subformat=vmfs a.raw x.vmdk
	# what does not compress
	random_bytes 5 1000448 >r.raw
	for level in 1 5; do
		vmimg convert -czlib:$level r.raw r$level.vmdk
		same_as r.raw r$level.vmdk
	done
}

@test "vmdk: the same bytes whatever the number of threads; random ids on request" {
	random_image a.raw 40000000 9
	for sub in $SUBFORMATS; do
		mkdir -p $sub.1 $sub.4
		vmimg convert --threads 1 -o subformat=$sub a.raw $sub.1/d.vmdk
		vmimg convert --threads 4 -o subformat=$sub a.raw $sub.4/d.vmdk
		diff -r $sub.1 $sub.4
	done
	# content decides the content ID
	cp a.raw b.raw
	printf x | dd of=b.raw bs=1 seek=4096 conv=notrunc status=none
	vmimg convert a.raw a.vmdk
	vmimg convert b.raw b.vmdk
	refute [ "$(vmimg info --json a.vmdk | jq -r .format_specific.cid)" = "$(vmimg info --json b.vmdk | jq -r .format_specific.cid)" ]
}

@test "vmdk: disks are split at 2047 MiB" {
	truncate -s 5G a.raw
	for at in 0 2146369536 2146435072 4292870144 5368705024; do
		random_bytes "$((at / 4096))" 65536 | dd of=a.raw bs=64k seek=$at oflag=seek_bytes conv=notrunc status=none
	done
	truncate -s 5G a.raw
	for sub in twoGbMaxExtentSparse twoGbMaxExtentFlat; do
		vmimg convert -o subformat=$sub a.raw $sub.vmdk
		assert_same_disk a.raw $sub.vmdk raw vmdk
		run -0 vmimg compare a.raw $sub.vmdk
		[ "$(find . -name "$sub-?00?.vmdk" | wc -l)" = 3 ]
		qemu-img check -q $sub.vmdk
	done
	run -0 grep -c '^RW 4192256 SPARSE' twoGbMaxExtentSparse.vmdk
	assert_output 2
	[ "$(allocated twoGbMaxExtentFlat-f001.vmdk)" -lt 1000000 ]
}

@test "vmdk: measure says the size" {
	random_image a.raw 70000128 21
	for sub in monolithicSparse streamOptimized; do
		vmimg convert -o subformat=$sub a.raw $sub.vmdk
		run -0 vmimg measure --json --scan -O vmdk -o subformat=$sub a.raw
		[ "$(json .required)" = "$(stat -c %s $sub.vmdk)" ]
	done
	run -0 vmimg measure --json -O vmdk -o subformat=monolithicFlat --size 1G
	[ "$(json .fully_allocated)" = $((1 << 30)) ]
}

@test "vmdk: what a descriptor says" {
	vmimg create -o subformat=vmfs,adapter_type=buslogic,hwversion=13,toolsversion=10 a.vmdk 10M
	run -0 cat a.vmdk
	assert_line 'createType="vmfs"'
	assert_line 'RW 20480 VMFS "a-flat.vmdk"'
	assert_line 'ddb.adapterType = "buslogic"'
	assert_line 'ddb.virtualHWVersion = "13"'
	assert_line 'ddb.toolsVersion = "10"'
	assert_line 'ddb.thinProvisioned = "1"'
	refused 2 vmimg create -o hwversion=x b.vmdk 1M
	refused 2 vmimg create -o subformat=nosuch b.vmdk 1M
	refused 2 vmimg create b.vmdk 3T
	vmimg create -o subformat=vmfs b.vmdk 3T
	qemu-img info b.vmdk >out
	refused 2 vmimg create -o subformat=streamOptimized c.vmdk 63T
}

@test "vmdk: files beside the descriptor appear with it, and are not overwritten" {
	random_image a.raw 1000448
	echo precious >d-flat.vmdk
	refused 5 vmimg convert -o subformat=monolithicFlat a.raw d.vmdk
	[ "$(cat d-flat.vmdk)" = precious ]
	assert_not_exists d.vmdk
	vmimg convert --force -o subformat=monolithicFlat a.raw d.vmdk
	same_as a.raw d.vmdk
	refused 5 vmimg convert -o subformat=twoGbMaxExtentSparse a.raw d.vmdk
	assert_not_exists d-s001.vmdk
	refused 2 vmimg convert -O vmdk -o subformat=vmfs a.raw -
	# a source that cannot be read to its end
	vmimg convert -c a.raw s.vmdk
	patch_bytes s.vmdk 0x10010 ffffffffffffffff
	refused 8 vmimg convert -o subformat=monolithicFlat s.vmdk e.vmdk
	refused 8 vmimg convert -o subformat=twoGbMaxExtentSparse s.vmdk e.vmdk
	run find . -name 'e*'
	assert_output ""
	assert_clean
}

@test "vmdk: parents by qemu-img" {
	random_image a.raw 20000256 3
	vmimg convert a.raw base.vmdk
	qemu-img create -q -f vmdk -b base.vmdk -F vmdk child.vmdk
	qemu-io -c 'write -P 7 1M 100k' -c 'write -P 9 10M 64k' child.vmdk >out
	qemu-img create -q -f vmdk -b child.vmdk -F vmdk -o zeroed_grain=on grand.vmdk
	qemu-io -c 'write -z 0 4M' -c 'write -P 3 18M 1k' grand.vmdk >out
	for f in child grand; do
		qemu-img convert -O raw $f.vmdk $f.raw
		run -0 vmimg compare $f.raw $f.vmdk
	done
	run -0 vmimg info --json --chain grand.vmdk
	[ "$(json length)" = 3 ]
	assert_schema vmimg-info
}

@test "vmdk: children of ours, as qemu-img sees them" {
	random_image a.raw 20000256 3
	cp a.raw b.raw
	random_bytes 8 200000 | dd of=b.raw bs=64k seek=3000000 oflag=seek_bytes conv=notrunc status=none
	dd if=/dev/zero of=b.raw bs=64k seek=64 count=40 conv=notrunc status=none
	vmimg convert a.raw base.vmdk
	for sub in monolithicSparse twoGbMaxExtentSparse; do
		vmimg convert -B base.vmdk -F vmdk -o subformat=$sub b.raw $sub.vmdk
		same_as b.raw $sub.vmdk
		run -0 vmimg check $sub.vmdk
	done
	[ "$(stat -c %s monolithicSparse.vmdk)" -lt 1000000 ]
	vmimg create -b base.vmdk -F vmdk empty.vmdk
	same_as a.raw empty.vmdk
	refused 2 vmimg create -b a.raw -F raw x.vmdk
	refused 2 vmimg create -b base.vmdk -F vmdk -o subformat=vmfs x.vmdk
}

@test "vmdk: a parent that has changed is refused" {
	random_image a.raw 3000320
	vmimg convert a.raw base.vmdk
	vmimg create -b base.vmdk -F vmdk child.vmdk
	qemu-io -c 'write -P 7 1M 100k' base.vmdk >out
	refused 8 vmimg convert child.vmdk x.raw
	[[ $stderr == *"content ID"* ]]
	run -0 vmimg info child.vmdk
	# a parent that is not named, and one elsewhere
	PARENT=11111111 describe d.vmdk monolithicFlat 'RW 8 ZERO'
	refused 8 vmimg convert d.vmdk x.raw
	mkdir sub
	PARENT=11111111 HINT=../base.vmdk describe sub/d.vmdk monolithicFlat 'RW 8 ZERO'
	refused 12 vmimg convert sub/d.vmdk x.raw
	PARENT=12345678 HINT=d2.vmdk describe d2.vmdk monolithicFlat 'RW 8 ZERO'
	refused 8 vmimg convert d2.vmdk x.raw
	[[ $stderr == *loop* ]]
}

@test "vmdk: vmfsSparse (COWD) and seSparse snapshots" {
	random_image a.raw 20000768 3
	random_image b.raw 20000768 4
	vmimg convert -o subformat=vmfs a.raw base.vmdk
	cid=$(vmimg info --json base.vmdk | jq -r .format_specific.cid)
	python3 "$ROOT/tests/vmdk_make.py" cowd b.raw cowd-delta.vmdk
	python3 "$ROOT/tests/vmdk_make.py" sesparse b.raw se-sesparse.vmdk
	python3 "$ROOT/tests/vmdk_make.py" sesparse b.raw whole-sesparse.vmdk whole
	sectors=$((20000768 / 512))
	PARENT=$cid HINT=base.vmdk describe cowd.vmdk vmfsSparse "RW $sectors VMFSSPARSE \"cowd-delta.vmdk\""
	PARENT=$cid HINT=base.vmdk describe se.vmdk seSparse "RW $sectors SESPARSE \"se-sesparse.vmdk\""
	PARENT=$cid HINT=base.vmdk describe whole.vmdk seSparse "RW $sectors SESPARSE \"whole-sesparse.vmdk\""
	for f in cowd se whole; do
		qemu-img convert -O raw $f.vmdk $f.raw
		run -0 vmimg compare $f.raw $f.vmdk
		run -0 vmimg check $f.vmdk
		# an extent alone would show zeros where the parent has data
		extent=$(echo $f-*.vmdk)
		refused 9 vmimg convert "$extent" x.raw
		run -0 vmimg info "$extent"
	done
	cmp whole.raw b.raw
	refused 8 vmimg convert -f vmdk whole.raw x.raw
	# a journal to replay
	patch_bytes se-sesparse.vmdk $((512 + 24)) 01
	refused 9 vmimg convert se.vmdk x.raw
}

@test "vmdk: small grains, grains in any order, extents by qemu-img" {
	random_image a.raw 5000192 3
	for kind in hosted stream; do
		python3 "$ROOT/tests/vmdk_make.py" $kind a.raw $kind.vmdk
		same_as a.raw $kind.vmdk
		run -0 vmimg check --deep $kind.vmdk
	done
	python3 "$ROOT/tests/vmdk_make.py" hosted a.raw zeros.vmdk whole
	same_as a.raw zeros.vmdk
	run -0 vmimg check zeros.vmdk
	# compressed ones off the grid of the disk
	describe m.vmdk custom 'RW 7 ZERO' 'RW 9766 SPARSE "stream.vmdk"'
	{ head -c 3584 /dev/zero; cat a.raw; } >want.raw
	run -0 vmimg compare want.raw m.vmdk
	run -0 vmimg digest m.vmdk
	[ "${output%% *}" = "$(sha256 want.raw)" ]
}

@test "vmdk: extents of several kinds, parts of one file, lines with CR" {
	random_image f.raw 3000320 3
	random_image s.raw 2000384 4
	vmimg convert -o subformat=twoGbMaxExtentSparse s.raw s.vmdk
	vmimg convert -c s.raw c.vmdk
	describe a.vmdk custom 'RW 1000 FLAT "f.raw" 100' 'RW 63 ZERO' 'RW 3907 SPARSE "s-s001.vmdk"' \
		'RW 4000 FLAT "f.raw" 1500' 'RW 3907 SPARSE "c.vmdk"'
	qemu-img convert -f vmdk -O raw a.vmdk q.raw 2>/dev/null || rm -f q.raw
	{
		dd if=f.raw bs=512 skip=100 count=1000 status=none
		head -c $((63 * 512)) /dev/zero
		cat s.raw
		dd if=f.raw bs=512 skip=1500 count=4000 status=none
		cat s.raw
	} >want.raw
	run -0 vmimg compare want.raw a.vmdk
	run -0 vmimg check --deep a.vmdk
	sed -i 's/$/\r/' a.vmdk
	run -0 vmimg compare want.raw a.vmdk
	# small reads, off every grid
	run -0 vmimg digest a.vmdk
	[ "${output%% *}" = "$(sha256 want.raw)" ]
	# for reading only: qemu-img leaves such extents out
	sed -i 's/^RW 1000/RDONLY 1000/' a.vmdk
	run -0 vmimg compare want.raw a.vmdk
}

@test "vmdk: names in another encoding" {
	random_image "dé-flat.raw" 1000448
	describe a.vmdk monolithicFlat $'RW 1954 FLAT "d\xe9-flat.raw" 0'
	sed -i '2a encoding="windows-1252"' a.vmdk
	run -0 vmimg compare dé-flat.raw a.vmdk
	sed -i 's/windows-1252/klingon/' a.vmdk
	refused 9 vmimg compare dé-flat.raw a.vmdk
}

@test "vmdk: extents lie in the folder of their descriptor" {
	mkdir sub other
	head -c 4096 /etc/passwd | dd of=secret bs=4096 conv=sync status=none
	cp secret other/secret
	for name in ../secret "$PWD/secret" /etc/passwd ../other/secret; do
		describe sub/a.vmdk monolithicFlat "RW 8 FLAT \"$name\" 0"
		refused 12 vmimg convert sub/a.vmdk x.raw
	done
	ln -s ../secret sub/link
	describe sub/a.vmdk monolithicFlat 'RW 8 FLAT "link" 0'
	refused 12 vmimg convert sub/a.vmdk x.raw
	describe sub/a.vmdk monolithicFlat 'RW 8 FLAT "../other/secret" 0'
	vmimg convert --allow-backing other sub/a.vmdk x.raw
	cmp x.raw secret
	describe sub/a.vmdk monolithicFlat 'RW 8 FLAT "/dev/zero" 0'
	refused 12 vmimg convert sub/a.vmdk y.raw
	describe sub/a.vmdk monolithicFlat 'RW 8 FLAT "a.vmdk" 0'
	refused 8 vmimg convert sub/a.vmdk y.raw
	# info opens none of them
	run -0 vmimg info sub/a.vmdk
}

@test "vmdk: a damaged grain directory: the redundant one is used" {
	random_image a.raw 50000384 3
	vmimg convert a.raw a.vmdk
	gd=$(($(le64 a.vmdk 56) * 512))
	for bytes in 00000000 ffffffff; do
		cp a.vmdk b.vmdk
		patch_bytes b.vmdk $gd $bytes
		run --separate-stderr vmimg compare a.raw b.vmdk
		assert_status 0
		[[ $stderr == *redundant* ]]
		run vmimg check b.vmdk
		assert_status 8
	done
	# an entry of a table; the whole directory somewhere else
	cp a.vmdk b.vmdk
	gt=$(($(le32 a.vmdk $gd) * 512))
	patch_bytes b.vmdk $gt ffffffff
	run -0 vmimg compare a.raw b.vmdk
	run vmimg check b.vmdk
	assert_status 8
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk 56 ffffff7f00000000
	run -0 vmimg compare a.raw b.vmdk
	# both
	patch_bytes b.vmdk 48 ffffff7f00000000
	refused 8 vmimg compare a.raw b.vmdk
}

@test "vmdk: repair mends from the redundant copy what can only be right there" {
	random_image a.raw 200000000 3 60
	vmimg convert a.raw a.vmdk
	local gd rgd gt rgt at places
	gd=$(($(le64 a.vmdk 56) * 512)) rgd=$(($(le64 a.vmdk 48) * 512))
	gt=$(($(le32 a.vmdk $gd) * 512)) rgt=$(($(le32 a.vmdk $rgd) * 512))
	# entries of directories, first, in the middle and last; of tables; of both, many
	for places in "$gd" "$rgd" "$((gd + 8)) $((gd + 12)) $((rgd + 20))" "$gt $((gt + 4)) $((rgt + 2040))" "$((gd + 4)) $((gt + 40))"; do
		cp a.vmdk b.vmdk
		for at in $places; do patch_bytes b.vmdk "$at" ffffffff; done
		run vmimg check b.vmdk
		assert_status 8
		run vmimg check --repair b.vmdk
		assert_status 0
		assert_same_bytes a.vmdk b.vmdk
		assert_same_disk a.raw b.vmdk raw vmdk
	done
	# What differs and may be right in either is left: the first is what readers see. So is a table whose place is the
	# guest's data: a damaged directory said that it was one.
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk $((rgt + 2044)) 01
	cp b.vmdk c.vmdk
	run vmimg check --repair b.vmdk
	assert_status 8
	assert_same_bytes b.vmdk c.vmdk
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk $rgd "$(printf '%08x' $(($(le32 a.vmdk $gt) + 128)) | sed -E 's/(..)(..)(..)(..)/\4\3\2\1/')"
	cp b.vmdk c.vmdk
	run vmimg check --repair b.vmdk
	assert_status 8
	assert_same_bytes b.vmdk c.vmdk
}

@test "vmdk: check finds what is wrong" {
	random_image a.raw 50000384 3
	vmimg convert a.raw a.vmdk
	gd=$(($(le64 a.vmdk 56) * 512)) rgd=$(($(le64 a.vmdk 48) * 512))
	gt=$(($(le32 a.vmdk $gd) * 512)) rgt=$(($(le32 a.vmdk $rgd) * 512))
	first=$(od -An -v -tx1 -j $gt -N 2048 a.vmdk | tr -d ' \n' | sed 's/^\(00000000\)*//; s/^\(........\).*/\1/')
	# two grains at one place
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk $((gt + 2040)) "$first"
	patch_bytes b.vmdk $((rgt + 2040)) "$first"
	run vmimg check b.vmdk
	assert_status 8
	assert_output --partial "share bytes"
	# copies that differ
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk $((rgt + 2044)) 01
	run vmimg check b.vmdk
	assert_status 8
	assert_output --partial "redundant copy differ"
	# beyond the end
	cp a.vmdk b.vmdk
	truncate -s -70000 b.vmdk
	run vmimg check b.vmdk
	assert_status 8
	assert_output --partial "end of the file"
	run -0 vmimg check a.vmdk
}

@test "vmdk: check walks the markers of a stream, and decodes" {
	random_image a.raw 50000384 3
	vmimg convert -c a.raw a.vmdk
	# a byte of the first grain's data
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk $((65536 + 40)) ff
	run -0 vmimg check b.vmdk
	run vmimg check --deep b.vmdk
	assert_status 8
	assert_output --partial "cannot be decoded"
	# its marker
	cp a.vmdk b.vmdk
	patch_bytes b.vmdk 65536 ffff
	run vmimg check b.vmdk
	assert_status 8
	refused 8 vmimg convert b.vmdk x.raw
	# cut off: no footer
	head -c -600 a.vmdk >b.vmdk
	refused 8 vmimg convert b.vmdk x.raw
	[[ $stderr == *footer* ]]
	# padded, as some copiers do
	{ cat a.vmdk; head -c 5000 /dev/zero; } >b.vmdk
	run -0 vmimg compare a.raw b.vmdk
}

@test "vmdk: hostile headers" {
	vmimg create a.vmdk 10M
	try() { # OFFSET HEX STATUS
		cp a.vmdk b.vmdk
		patch_bytes b.vmdk "$1" "$2"
		refused "$3" vmimg convert b.vmdk x.raw
		assert_not_exists x.raw
	}
	try 4 04000000 9	      # version
	try 12 ffffffffffffffff 8     # capacity
	try 12 ffffffffffffff00 8     # no directory for so much
	try 20 0000000000000000 8     # grain
	try 20 0300000000000000 8
	try 20 0000000001000000 8
	try 28 ffffffffffffff7f 8     # descriptor
	try 36 ffffffffffffff00 8
	try 44 00000000 8	      # entries of a table
	try 44 ffffffff 8
	try 73 0a200a0a 8	      # transferred as text
	describe a.vmdk custom 'RW 99999999999999999999 FLAT "x" 0'
	refused 8 vmimg convert a.vmdk x.raw
	describe a.vmdk custom 'RW 8 FLAT'
	refused 8 vmimg convert a.vmdk x.raw
	describe a.vmdk custom 'RW 8 VMFSRDM "x"'
	refused 9 vmimg convert a.vmdk x.raw
	describe a.vmdk custom
	refused 8 vmimg convert a.vmdk x.raw
	: >f
	describe a.vmdk custom 'RW 8 FLAT "f" 0'
	refused 8 vmimg convert a.vmdk x.raw
	for ((i = 0; i < 5000; i++)); do echo 'RW 8 ZERO'; done >>a.vmdk
	refused 9 vmimg convert a.vmdk x.raw
}

@test "vmdk: random writes, as qemu-io sees them" {
	imgio=$VMKIT_TOOLS/imgio
	[ -x "$imgio" ] || skip "build it: make tools"
	random_image a.raw 20000768 3
	vmimg convert a.raw base.vmdk
	vmimg create -b base.vmdk -F vmdk child.vmdk
	for sub in monolithicSparse monolithicFlat twoGbMaxExtentSparse vmfs; do
		vmimg convert -o subformat=$sub a.raw $sub.vmdk
	done
	before=$(vmimg info --json monolithicFlat.vmdk | jq -r .format_specific.cid)
	cp a.raw want.raw
	qemu-io -f raw -c 'write -P 5 0 100k' -c 'write -P 6 1000k 3M' -c 'write -P 0 64k 200k' -c 'write -P 8 19M 1000' \
		-c 'write -P 0 12M 4M' want.raw >out
	for f in child monolithicSparse monolithicFlat twoGbMaxExtentSparse vmfs; do
		"$imgio" $f.vmdk 'write 0 100k 5' 'write 1000k 3M 6' 'zero 64k 200k' 'write 19M 1000 8' 'unmap 12M 4M' \
			flush 'read 0 64k 5' 'read 64k 200k 0' 'read 1000k 3M 6'
		same_as want.raw $f.vmdk
		run -0 vmimg check $f.vmdk
		qemu-img check -q $f.vmdk
	done
	# children of what it was must see that
	refute [ "$before" = "$(vmimg info --json monolithicFlat.vmdk | jq -r .format_specific.cid)" ]
	vmimg convert -c a.raw s.vmdk
	run "$imgio" s.vmdk 'write 0 512 1'
	assert_failure
	run -0 vmimg compare a.raw s.vmdk
}

@test "vmdk: random writes of qemu-io are read" {
	for o in subformat=monolithicSparse subformat=twoGbMaxExtentSparse zeroed_grain=on; do
		qemu-img create -q -f vmdk -o $o a.vmdk 20000256
		qemu_writes a.vmdk vmdk 20000256 7 60
		qemu-img convert -f vmdk -O raw a.vmdk a.raw
		run -0 vmimg compare a.raw a.vmdk
		rm -f a.vmdk a-* a.raw
	done
}

@test "vmdk: a content ID of fewer digits, as QEMU writes them, changes with the first write too" {
	for cid in 1 0 abcdef7 12345678; do
		# Room for eight digits: one image of QEMU's in sixteen has fewer
		until qemu-img create -q -f vmdk a.vmdk 1M && grep -aqE '^CID=[0-9a-f]{8}$' a.vmdk; do :; done
		python3 - "$cid" <<-'X'
			import re, sys
			d = open("a.vmdk", "rb").read()
			m = re.search(rb"\nCID=[0-9a-f]*\n", d)
			d = d[:m.start()] + (b"\nCID=" + sys.argv[1].encode()).ljust(m.end() - m.start(), b"\n") + d[m.end():]
			open("a.vmdk", "wb").write(d)
		X
		"$VMKIT_TOOLS/imgio" a.vmdk "write 4096 4096 7" "write 8192 512 8"
		now=$(grep -a -m 1 -o '^CID=.*' a.vmdk)
		[ "${now#CID=}" != "$cid" ]
		[ ${#now} = $((${#cid} + 4)) ]
		qemu-io -f vmdk -c "read -P 7 4096 4096" -c "read -P 8 8192 512" -c "read -P 0 0 4096" a.vmdk >log
		! grep -q failed log
	done
}

# resized FILE RAW SIZE - by us; then written to by qemu-io, and by vmimg once more
resized() {
	vmimg resize -q --shrink --force "$1" "$3"
	truncate -s "$3" "$2"
	vmimg check -q "$1" || [ $? = 3 ] || fail "$1: $(vmimg check "$1")"
	assert_same_disk "$1" "$2" vmdk raw
	[ "$(qemu-img info -f vmdk --output=json "$1" | jq '."virtual-size"')" = "$3" ]
	qemu-io -f vmdk -c "write -q -P 9 $(($3 - 65536)) 64k" "$1"
	qemu-io -f raw -c "write -q -P 9 $(($3 - 65536)) 64k" "$2"
	assert_same_disk "$1" "$2" vmdk raw
	vmimg compare "$1" "$2"
	vmdkinfo "$1" >info
}

@test "vmdk: resize: one extent, sparse or flat, of both makers; a directory that is too short is made anew" {
	local maker kind size
	for maker in ours qemu; do
		for kind in monolithicSparse monolithicFlat; do
			rm -f r*.vmdk r.raw
			random_image r.raw 9437696 4 20
			if [ $maker = ours ]; then
				vmimg convert -q -o "subformat=$kind" r.raw r.vmdk
			else
				qemu-img convert -O vmdk -o "subformat=$kind" r.raw r.vmdk
			fi
			# What is beyond the end of the last grain, or of the disk, is nothing
			for size in 31457280 5000192 12582912 $((kind == monolithicFlat ? 300 << 20 : 5 << 30)) 1048576 4194304; do
				resized r.vmdk r.raw $size
			done
			grep -aq "RW 8192 " r.vmdk
		done
	done
	qemu-img create -q -f vmdk -b r.vmdk -F vmdk c.vmdk
	refused 9 vmimg resize c.vmdk 10M
	refused 2 vmimg resize --shrink r.vmdk 1000
	vmimg convert -q -o subformat=streamOptimized r.raw s.vmdk
	refused 9 vmimg resize s.vmdk 10M
}

# bats test_tags=release
@test "vmdk: resize, killed before each change of the file: the old disk or the new one, and it can be resized again" {
	local to n size
	random_image a.raw 9437184 4 30
	qemu-img convert -O vmdk a.raw a.vmdk
	cp a.raw small.raw && truncate -s 3145728 small.raw
	cp a.raw large.raw && truncate -s $((3 << 30)) large.raw
	for to in large small; do
		size=$(stat -c %s $to.raw)
		for ((n = 1; ; n++)); do
			cp a.vmdk k.vmdk
			run env INJECT_AT=$n INJECT_HOW=kill LD_PRELOAD="$(preload inject.so)" "$VMKIT_BIN/vmimg" resize -q --shrink --force k.vmdk "$size"
			[ "$status" != 0 ] || break
			[ "$status" = 137 ]
			case $(vmimg info --json k.vmdk | jq .virtual_size) in
			9437184) head -c 3145728 a.raw >want; vmimg convert -q --force k.vmdk got.raw; [ $to = small ] || cp a.raw want; cmp -n "$(stat -c %s want)" want got.raw ;;
			"$size") vmimg compare $to.raw k.vmdk ;;
			*) fail "killed at $n: $(vmimg info k.vmdk)" ;;
			esac
			vmimg resize -q --shrink --force k.vmdk "$size"
			vmimg compare $to.raw k.vmdk
			assert_same_disk k.vmdk $to.raw vmdk raw
		done
		[ $n -gt 6 ]
	done
}
