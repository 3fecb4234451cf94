# VHD: what we write is what qemu-img (vpc) and libvhdi read, what they write is what we read, and what neither can.
# bats file_tags=slow
#
# Where qemu-img is wrong the specification decides: it reads differencing disks without their parent (its vpc driver
# never looks at the disk type), takes a fixed disk for raw when it probes, and ignores bitmaps. Differencing samples
# come from tests/tools/vhd.py, which is written from the specification alone.

SIZE=$((20 * 1048576 + 512))

setup() {
	load common
	common_setup
	require qemu-img qemu-io vhdiinfo python3 jq
}

vhdpy() { python3 "$ROOT/tests/tools/vhd.py" "$@" || fail "vhd.py $*"; }

# same_as FILE RAW - we, and qemu-img, read RAW's content
same_as() {
	vmimg compare -q "$1" "$2" || fail "$1 is not $2"
	qemu-img compare -f vpc -F raw "$1" "$2" >.cmp || fail "qemu-img: $1 is not $2: $(cat .cmp)"
}

clean() {
	run vmimg check --deep "$1"
	assert_success
}

@test "dynamic and fixed: qemu-img and libvhdi read what we write, at exactly the size" {
	random_image a.raw $SIZE 5 30
	for o in subformat=dynamic subformat=fixed block_size=512k; do
		vmimg convert --force -o $o a.raw a.vhd
		same_as a.vhd a.raw
		clean a.vhd
		run vmimg info --json a.vhd
		assert_schema vmimg-info
		[ "$(json .virtual_size)" = $SIZE ]
		[ "$(json .format)" = vhd ]
		[ "$(json .format_specific.size_from)" = current_size ]
		[ "$(qemu-img info -f vpc --output=json a.vhd | jq '."virtual-size"')" = $SIZE ]
		run vhdiinfo a.vhd
		assert_output --partial "($SIZE bytes)"
		assert_output --partial "$(vhdpy uuid a.vhd)"
		run vmimg measure --json --scan -O vhd -o $o a.raw
		[ "$(json .required)" = "$(stat -c %s a.vhd)" ]
		vmimg convert --force -O raw a.vhd b.raw
		assert_same_bytes a.raw b.raw
	done
	assert_clean
}

@test "every block lies at a multiple of 4096, so that it can be shared by reflink" {
	random_image a.raw $SIZE 5 30
	vmimg convert a.raw a.vhd
	vmimg map --json a.vhd | jq -e '[.extents? // . | .[] | select(.kind == "data") | .host_offset - .offset] |
		length > 5 and all(. % 4096 == 0)' || fail "$(vmimg map --json a.vhd | head -c 600)"
}

@test "we read what qemu-img writes: sizes from the geometry and from the footer" {
	random_image a.raw $SIZE 6 30
	for o in subformat=dynamic subformat=fixed subformat=dynamic,force_size subformat=fixed,force_size; do
		qemu-img convert -f raw -O vpc -o $o a.raw q.vhd
		vmimg compare -q a.raw q.vhd || fail "$o"
		clean q.vhd
		run vmimg info --json q.vhd
		[ "$(json .format)" = vhd ] # qemu-img itself says raw of a fixed one
		[ "$(json .virtual_size)" = "$(qemu-img info -f vpc --output=json q.vhd | jq '."virtual-size"')" ]
	done
	qemu_writes q.vhd vpc $SIZE 4 40
	qemu-img convert -f vpc -O raw q.vhd q.raw
	vmimg compare -q q.raw q.vhd
}

@test "the creator tells whether the geometry or the footer's size counts; the largest geometry never counts" {
	vmimg create -o subformat=fixed a.vhd $SIZE
	vhdpy footer a.vhd cylinders=100 heads=4 sectors=17
	local c
	for c in 'win ' qem2 'd2v ' tap CTXS wa; do
		vhdpy footer a.vhd "creator=$c"
		[ "$(vmimg info --json a.vhd | jq .virtual_size)" = $SIZE ]
		[ "$c" = wa ] || # Azure's: known to QEMU since 8
			[ "$(qemu-img info -f vpc --output=json a.vhd | jq '."virtual-size"')" = $SIZE ]
	done
	for c in 'vpc ' qemu; do
		vhdpy footer a.vhd "creator=$c"
		[ "$(vmimg info --json a.vhd | jq .virtual_size)" = $((100 * 4 * 17 * 512)) ]
		[ "$(qemu-img info -f vpc --output=json a.vhd | jq '."virtual-size"')" = $((100 * 4 * 17 * 512)) ]
	done
	vhdpy footer a.vhd cylinders=65535 heads=16 sectors=255
	[ "$(vmimg info --json a.vhd | jq .virtual_size)" = $SIZE ]
}

@test "sizes: Azure's whole MiB, a geometry for Virtual PC, at most 2040 GiB" {
	truncate -s $SIZE a.raw
	vmimg convert -o subformat=fixed,size_multiple=1M a.raw m.vhd
	[ "$(stat -c %s m.vhd)" = $((21 * 1048576 + 512)) ]
	[ "$(qemu-img info -f vpc --output=json m.vhd | jq '."virtual-size"')" = $((21 * 1048576)) ]
	vmimg convert -o force_size=off a.raw g.vhd
	[ "$(vmimg info --json g.vhd | jq -r .format_specific.size_from)" = geometry ]
	qemu-img convert -f raw -O vpc a.raw q.vhd
	[ "$(vmimg info --json g.vhd | jq .virtual_size)" = "$(qemu-img info -f vpc --output=json q.vhd | jq '."virtual-size"')" ]
	vmimg create big.vhd 2040G
	[ "$(vmimg info --json big.vhd | jq .virtual_size)" = $((2040 << 30)) ]
	refused 2 vmimg create bigger.vhd 2041G
	refused 2 vmimg create -o force_size=off,size_multiple=1M x.vhd 1M
	refused 2 vmimg create -o subformat=fixed,block_size=1M x.vhd 1M
	refused 9 vmimg convert -c -O vhd a.raw x.vhd
	# The table has exactly the entries that the disk needs
	[ "$(vmimg info --json big.vhd | jq .format_specific.table_entries)" = $((2040 * 512)) ]
}

@test "the footer: its copy when it is missing or damaged, 511 bytes of old Virtual PC" {
	random_image a.raw $SIZE 7 20
	vmimg convert a.raw a.vhd
	cp a.vhd cut.vhd
	truncate -s -512 cut.vhd
	run --separate-stderr vmimg compare a.raw cut.vhd
	assert_success
	[[ $stderr == *"the copy at its head is used"* ]]
	run vmimg check cut.vhd
	assert_failure 8
	vmimg check -q --repair cut.vhd >/dev/null
	assert_same_bytes a.vhd cut.vhd
	cp a.vhd sum.vhd
	patch_bytes sum.vhd $(($(stat -c %s sum.vhd) - 500)) ff
	run --separate-stderr vmimg compare a.raw sum.vhd
	assert_success
	[[ $stderr == *damaged* ]]
	vmimg check -q --repair sum.vhd >/dev/null
	assert_same_bytes a.vhd sum.vhd
	cp a.vhd head.vhd
	patch_bytes head.vhd 100 ff
	run vmimg check head.vhd
	assert_failure 8
	assert_output --partial "copy of the footer"
	vmimg check -q --repair head.vhd >/dev/null
	assert_same_bytes a.vhd head.vhd
	vmimg convert -o subformat=fixed a.raw old.vhd
	vhdpy old old.vhd
	run vmimg compare a.raw old.vhd
	assert_success
	[ "$(vmimg info --json old.vhd | jq -r .format)" = vhd ]
}

@test "differencing: the parent by each kind of locator, sector by sector; qemu-img gives zeros for the parent's data" {
	random_image p.raw $SIZE 8 30
	vmimg convert p.raw p.vhd
	mkdir sub
	cp p.vhd sub/q.vhd
	cp p.raw want.raw
	local s how
	for s in 0 9 4095 4096 9000; do
		yes $'\x41' | tr -d '\n' | head -c 512 | dd of=want.raw bs=512 seek=$s conv=notrunc status=none
	done
	for how in "-l ru" "-l ku" "-l name" "-l ru -l ku" "-l none -l ru" "-l ru -n sub/q.vhd" "-l ru -b 524288"; do
		# shellcheck disable=SC2086 # options
		vhdpy child p.vhd c.vhd $how 0=65 9=65 4095=65 4096=65 9000=65
		vmimg compare -q want.raw c.vhd || fail "$how"
		run vmimg check c.vhd
		assert_success
	done
	run vmimg info --json --chain c.vhd
	assert_schema vmimg-info
	[ "$(json '.[0].format_specific.parent_uuid')" = "$(vhdpy uuid p.vhd)" ]
	[ "$(json '.[1].format')" = vhd ]
	# The specification: what the bitmap does not have is the parent's. qemu-img 7.2 reads zeros, with status 0.
	qemu-img convert -f vpc -O raw c.vhd theirs.raw
	run cmp -s theirs.raw want.raw
	assert_failure
}

@test "differencing: a wrong, a missing, a foreign parent, and loops are refused" {
	vmimg create p.vhd 4M
	vhdpy child p.vhd c.vhd 0=65
	mkdir other
	mv p.vhd other
	refused 4 vmimg digest c.vhd
	vmimg create -o block_size=1M p.vhd 4M # other tables, another UUID
	refused 8 vmimg digest c.vhd
	[[ $stderr == *UUID* ]]
	rm p.vhd
	vhdpy child other/p.vhd c.vhd -n ../other/p.vhd 0=65
	mkdir jail
	mv c.vhd jail
	refused 12 vmimg digest jail/c.vhd
	run vmimg digest --allow-backing other jail/c.vhd
	assert_success
	cp other/p.vhd p.vhd
	vhdpy child p.vhd c.vhd 0=65
	vhdpy child c.vhd p2.vhd -n p2.vhd 0=65
	refused 8 vmimg digest p2.vhd
}

@test "differencing: our children hold what differs, of any number of layers; libvhdi names the parent" {
	random_image a.raw $SIZE 9 30
	vmimg convert a.raw a.vhd
	cp a.raw b.raw
	random_bytes 3 70000 | dd of=b.raw bs=512 seek=700 conv=notrunc status=none
	head -c 300000 /dev/zero | dd of=b.raw bs=512 seek=8000 conv=notrunc status=none
	vmimg convert -B a.vhd b.raw b.vhd
	vmimg compare -q b.raw b.vhd
	cp b.raw c.raw
	random_bytes 4 5000 | dd of=c.raw bs=512 seek=20000 conv=notrunc status=none
	vmimg convert -B b.vhd c.raw c.vhd
	vmimg compare -q c.raw c.vhd
	for f in b c; do
		run vmimg check $f.vhd
		assert_success
		run vhdiinfo $f.vhd
		assert_output --partial Differential
	done
	assert_output --partial "Parent filename		: b.vhd"
	assert_output --partial "$(vhdpy uuid b.vhd)"
	refused 2 vmimg create -b a.raw -F raw x.vhd
	refused 2 vmimg create -b a.vhd -o subformat=fixed x.vhd
}

@test "bitmaps of dynamic disks count: a sector that was never written reads as zero, whatever the block holds" {
	vhdpy sparse x.vhd $SIZE 0=65 100=66 5000=67
	truncate -s $SIZE want.raw
	for p in 0:A 100:B 5000:C; do
		yes "${p#*:}" | tr -d '\n' | head -c 512 | dd of=want.raw bs=512 seek="${p%:*}" conv=notrunc status=none
	done
	vmimg compare -q want.raw x.vhd
	run vmimg check x.vhd
	assert_success
	run vmimg check --deep x.vhd
	assert_failure 8
	assert_output --partial "never written"
}

@test "random writes: fixed, dynamic, differencing, as raw has them" {
	require qemu-io
	local kind seed
	random_image p.raw 9437184 3 20
	vmimg convert p.raw p.vhd
	for kind in fixed dynamic differencing sparse; do
		rm -f w.vhd w.raw
		truncate -s 9437184 w.raw
		case $kind in
		differencing) vmimg create -b p.vhd w.vhd; cp p.raw w.raw ;;
		sparse) vhdpy sparse w.vhd 9437184 0=65
			yes A | tr -d '\n' | head -c 512 | dd of=w.raw conv=notrunc status=none ;;
		*) vmimg create -o subformat=$kind w.vhd 9M ;;
		esac
		for seed in 1 2; do
			"$VMKIT_TOOLS/imgio" -f vhd w.vhd "random $seed 120" >.script
			grep -v flush .script | qemu-io -f raw w.raw >/dev/null
			vmimg compare -q w.raw w.vhd || fail "$kind $seed"
			vmimg check -q w.vhd || fail "$kind: $(vmimg check w.vhd)"
		done
		case $kind in fixed | dynamic) same_as w.vhd w.raw ;; esac
	done
}

@test "resize: fixed and dynamic, larger and smaller; a table that has no room moves" {
	local kind size
	for kind in fixed dynamic; do
		rm -f r.vhd r.raw
		random_image r.raw 9437184 4 20
		vmimg convert -o subformat=$kind r.raw r.vhd
		for size in 31457280 5000192 12582912 34359738368; do
			"$VMKIT_TOOLS/imgio" -f vhd r.vhd "resize $size"
			truncate -s $size r.raw
			same_as r.vhd r.raw
		done
		run vmimg check r.vhd
		refute_output --partial corruption
		"$VMKIT_TOOLS/imgio" -f vhd r.vhd "write 34359738000 368 7" "flush" "read 34359738000 368 7"
	done
}

@test "the same bytes from the same content, whatever the threads and the source format; another UUID from other content" {
	random_image a.raw $SIZE 5 60
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	for o in subformat=dynamic subformat=fixed; do
		vmimg convert --force --threads 1 -o $o a.raw 1.vhd
		vmimg convert --force --threads 4 -o $o a.qcow2 4.vhd
		assert_same_bytes 1.vhd 4.vhd
	done
	printf x | dd of=a.raw bs=1 seek=9999999 conv=notrunc status=none
	vmimg convert --force a.raw 2.vhd
	[ "$(vhdpy uuid 1.vhd)" != "$(vhdpy uuid 2.vhd)" ]
	SOURCE_DATE_EPOCH=1600000000 vmimg convert --force a.raw 2.vhd
	[ "$(vmimg info --json 2.vhd | jq -r .format_specific.created)" = 2020-09-13T12:26:40Z ]
	vmimg convert -O vhd a.raw - >p.vhd
	vmimg convert --force a.raw 2.vhd
	assert_same_bytes 2.vhd p.vhd
}

@test "QEMU calls it vpc: overlays name it so, both ways" {
	head -c 3000000 /dev/urandom >a.raw
	truncate -s 4M a.raw
	vmimg convert a.raw a.vhd
	qemu-img create -q -f qcow2 -b a.vhd -F vpc theirs.qcow2
	run vmimg compare theirs.qcow2 a.raw
	assert_success
	vmimg create -b a.vhd -F vhd ours.qcow2
	qemu-img compare -q -F raw ours.qcow2 a.raw
	vmimg create other.qcow2 4M
	vmimg rebase -u -b a.vhd -F vpc other.qcow2
	qemu-img compare -q -F raw other.qcow2 a.raw
	vmimg convert -O vpc a.raw b.vhd
	cmp a.vhd b.vhd
}

@test "hostile headers are refused with the offset" {
	vmimg create a.vhd 64M
	"$VMKIT_TOOLS/imgio" -f vhd a.vhd "write 0 512 1" "write 4M 512 2"
	local bat=1536
	cp a.vhd x.vhd # a block beyond the end
	patch_bytes x.vhd $bat 7fffffff
	refused 8 vmimg digest x.vhd
	run vmimg check x.vhd
	assert_failure 8
	cp a.vhd x.vhd # a block over the header, and two at one place
	patch_bytes x.vhd $bat 00000001
	run vmimg check x.vhd
	assert_output --partial "lies over the tables"
	cp a.vhd x.vhd
	dd if=a.vhd of=x.vhd bs=4 count=1 skip=$((bat / 4)) seek=$((bat / 4 + 2)) conv=notrunc status=none
	run vmimg check x.vhd
	assert_failure 8
	assert_output --partial "lie over each other"
	cp a.vhd x.vhd
	vhdpy footer x.vhd offset=4398046511104
	refused 8 vmimg info x.vhd
	cp a.vhd x.vhd
	vhdpy footer x.vhd type=5
	refused 9 vmimg info x.vhd
	cp a.vhd x.vhd
	vhdpy footer x.vhd size=70368744177664
	refused 8 vmimg info x.vhd
	vmimg create -o subformat=fixed f.vhd 1M
	vhdpy footer f.vhd size=1048577024
	refused 8 vmimg info f.vhd
	truncate -s 100 tiny.vhd
	refused 8 vmimg info -f vhd tiny.vhd
}
