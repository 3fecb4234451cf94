# Formats that are only read: parallels, qed, qcow (version 1), dmg; against qemu-img, and damaged.
# bats file_tags=slow

setup() {
	load common
	common_setup
	require qemu-img qemu-io jq python3
}

SIZE=$((6 * 1048576 + 512))

poke() { patch_bytes "$@"; }
le32() { printf %08x "$(($1))" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/'; }
mkdmg() { "$ROOT/tests/mkdmg.py" "$@"; }

# same FILE FORMAT - probed, and read as qemu-img reads it; converted, digested, compared, mapped
same() {
	[ "$(vmimg info --json "$1" | jq -r .format)" = "$2" ] || fail "$1 is not probed as $2"
	qemu-img convert -f "${3:-$2}" -O raw "$1" .theirs
	vmimg convert -q --force "$1" -O raw .ours
	assert_same_bytes .ours .theirs
	[ "$(vmimg digest "$1" | cut -d' ' -f1)" = "$(sha256 .theirs)" ]
	vmimg compare "$1" .theirs || fail "$1 differs"
	vmimg map "$1" >/dev/null
}

# hurt BASE OFFSET HEX STATUS [FORMAT] - refused with one sentence
hurt() {
	cp "$1" .hurt
	poke .hurt "$2" "$3"
	refused "$4" vmimg digest ${5:+-f "$5"} .hurt
}

# cut_off BASE FORMAT - at every kind of place: refused or read, never more than that
cut_off() {
	local size n
	size=$(stat -c %s "$1")
	for n in 1 47 63 100 511 4096 $((size / 2)) $((size - 1)); do
		[ "$n" -lt "$size" ] || continue
		head -c "$n" "$1" >.cut
		run vmimg digest -f "$2" .cut
		[[ $status =~ ^(0|8|9)$ ]] || fail "cut at $n: status $status: $output"
		run vmimg info -f "$2" .cut
		[[ $status =~ ^(0|8|9)$ ]] || fail "cut at $n: status $status: $output"
	done
}

# read_only FORMAT FILE - no such target, no writing, nothing to check
read_only() {
	refused 9 vmimg create -f "$1" new 1M
	truncate -s 1M .raw
	refused 9 vmimg convert -O "$1" .raw new
	[ ! -e new ]
	run "$VMKIT_TOOLS/imgio" "$2" "write 0 512 1"
	[ "$status" != 0 ]
}

# ---- parallels

@test "parallels: both makers' layouts read as by qemu-img" {
	for cs in 1M 4k; do
		qemu-img create -q -f parallels -o cluster_size=$cs a-$cs.hdd $SIZE
		qemu_writes a-$cs.hdd parallels $SIZE 3 40
		same a-$cs.hdd parallels
	done
	[ "$(head -c 16 a-1M.hdd)" = WithouFreSpacExt ]
	random_image a.raw $SIZE 4
	qemu-img convert -f raw -O parallels a.raw c.hdd
	same c.hdd parallels
	read_only parallels c.hdd
}

@test "parallels: the old table counts sectors, clusters of 63 of them" {
	random_image a.raw $((100 * 63 * 512)) 5
	python3 - <<'EOF'
import struct
disk = open("a.raw", "rb").read()
cs = 63 * 512
n = len(disk) // cs
head = struct.pack("<16sIIIIIQIII", b"WithoutFreeSpace", 2, 16, 400, 63, n, n * 63 | 0xABCD << 32, 0, 0, 0)
at, table, body = 5, [], b""
for i in reversed(range(n)):
    data = disk[i * cs:(i + 1) * cs]
    table.insert(0, at if data.strip(b"\0") else 0)
    if table[0]:
        body += data
        at += 63
with open("a.hdd", "wb") as f:
    f.write((head.ljust(64, b"\0") + struct.pack(f"<{n}I", *table)).ljust(5 * 512, b"\0") + body)
EOF
	same a.hdd parallels
	assert_same_bytes .ours a.raw
	# An unclosed image can be read, and says so
	poke a.hdd 44 "$(le32 0x746f6e59)"
	run --separate-stderr vmimg digest a.hdd
	assert_status 0
	[[ $stderr == *"not closed"* ]]
	[ "$(vmimg info --json a.hdd | jq .format_specific.dirty)" = true ]
}

@test "parallels: damage" {
	qemu-img create -q -f parallels a.hdd 8M
	qemu-io -f parallels -c 'write -q -P 1 0 2M' a.hdd
	hurt a.hdd 16 03000000 9
	hurt a.hdd 28 00000000 8
	hurt a.hdd 28 ffffffff 9
	hurt a.hdd 32 01000000 8
	hurt a.hdd 32 ffffffff 8
	hurt a.hdd 36 ffffffffffffffff 8
	hurt a.hdd 36 0000000000000001 8
	hurt a.hdd 64 ffffffff 8
	hurt a.hdd 0 00 8 parallels
	cut_off a.hdd parallels
}

# ---- qed

@test "qed: cluster and table sizes read as by qemu-img" {
	for o in cluster_size=64k cluster_size=4k,table_size=4 cluster_size=1M,table_size=2; do
		qemu-img create -q -f qed -o $o a.qed $SIZE
		qemu_writes a.qed qed $SIZE 6 40
		same a.qed qed
	done
	read_only qed a.qed
}

@test "qed: backing chains, with and without the format said" {
	random_image base.raw $SIZE 7
	qemu-img create -q -f qed -b base.raw -F raw a.qed 8M
	qemu_writes a.qed qed $SIZE 8 20
	same a.qed qed
	qemu-img create -q -f qcow2 -b a.qed -F qed b.qcow2
	qemu-io -c 'write -q -P 9 1M 70k' b.qcow2
	same b.qcow2 qcow2
	vmimg convert -q -O qcow2 base.raw base.qcow2
	qemu-img create -q -f qed -b base.qcow2 -F qcow2 c.qed
	same c.qed qed
	[ "$(vmimg info --json c.qed | jq -r .backing_file)" = base.qcow2 ]
	# Raw without a word: a guest could have written any header
	qemu-img create -q -f qed -u -b base.raw -F qcow2 d.qed 1M
	refused 9 vmimg digest d.qed
	# Names that lead elsewhere
	mkdir sub other
	mv base.qcow2 sub/
	qemu-img create -q -f qed -u -b "$PWD/sub/base.qcow2" -F qcow2 other/e.qed 1M
	refused 12 vmimg digest other/e.qed
	vmimg digest --allow-backing sub other/e.qed
}

@test "qed: damage" {
	qemu-img create -q -f qed a.qed 8M
	qemu-io -f qed -c 'write -q -P 1 0 2M' a.qed
	hurt a.qed 4 00100100 8
	hurt a.qed 4 00000000 8
	hurt a.qed 4 00000080 8
	hurt a.qed 8 00000000 8
	hurt a.qed 8 03000000 8
	hurt a.qed 8 20000000 8
	hurt a.qed 12 00000000 8
	hurt a.qed 12 ffffffff 8
	hurt a.qed 16 0800000000000000 9
	[[ $stderr == *0x8* ]]
	hurt a.qed 16 01 8
	hurt a.qed 40 0000000000000000 8
	hurt a.qed 40 0100010000000000 8
	hurt a.qed 40 0000ffffffffffff 8
	hurt a.qed 48 ffffffffffffffff 8
	hurt a.qed 48 0102000000000000 8
	l1=$(od -An -tu8 -j 40 -N 8 a.qed | tr -d ' ')
	l2=$(od -An -tu8 -j "$l1" -N 8 a.qed | tr -d ' ')
	hurt a.qed "$l1" 0100 8
	hurt a.qed "$l1" 00000000ffffff7f 8
	hurt a.qed "$l2" 0300 8
	hurt a.qed "$l2" 000000ffffffff00 8
	hurt a.qed "$l2" 000000ffffffffff 8
	cut_off a.qed qed
}

# ---- qcow

@test "qcow: plain and compressed clusters read as by qemu-img" {
	qemu-img create -q -f qcow a.qcow $SIZE
	qemu_writes a.qcow qcow $SIZE 9 40
	same a.qcow qcow
	random_image a.raw $((6 * 1048576)) 10
	# QEMU 7.2 writes all of it, and ends with status 1 without a word
	qemu-img convert -c -f raw -O qcow a.raw c.qcow || true
	vmimg compare a.raw c.qcow
	same c.qcow qcow
	qemu_writes c.qcow qcow $((6 * 1048576)) 11 10
	same c.qcow qcow
	read_only qcow a.qcow
}

@test "qcow: backing chains" {
	random_image base.raw $SIZE 12
	vmimg convert -q -O qcow2 base.raw base.qcow2
	qemu-img create -q -f qcow -b base.qcow2 -F qcow2 a.qcow
	qemu_writes a.qcow qcow $SIZE 13 20
	same a.qcow qcow
	qemu-img create -q -f qcow2 -b a.qcow -F qcow b.qcow2
	same b.qcow2 qcow2
	# Nothing in this format says that a backing file is raw
	qemu-img create -q -f qcow -b base.raw -F raw r.qcow
	refused 9 vmimg digest r.qcow
	qemu-img create -q -f qcow -u -b r.qcow -F qcow r2.qcow 1M
	refused 9 vmimg digest r2.qcow
	qemu-img create -q -f qcow -u -b l.qcow -F qcow m.qcow 1M
	mv m.qcow l.qcow
	refused 8 vmimg digest l.qcow
}

@test "qcow: encrypted ones are named, not read" {
	qemu-img create -q -f qcow -o encrypt.format=aes,encrypt.key-secret=s --object secret,id=s,data=geheim a.qcow 1M
	refused 9 vmimg digest a.qcow
	[[ $stderr == *AES* ]]
	[ "$(vmimg info --json a.qcow | jq .format_specific.encrypted)" = true ]
}

@test "qcow: damage" {
	qemu-img create -q -f qcow a.qcow 8M
	qemu-io -f qcow -c 'write -q -P 1 0 2M' a.qcow
	hurt a.qcow 32 08 9
	hurt a.qcow 32 11 9
	hurt a.qcow 32 ff 9
	hurt a.qcow 33 05 9
	hurt a.qcow 33 0e 9
	hurt a.qcow 36 00000002 9
	hurt a.qcow 24 ffffffffffffffff 8
	hurt a.qcow 24 7fffffffffffffff 8
	hurt a.qcow 40 7fffffffffffffff 8
	hurt a.qcow 40 fffffffffffffff8 8
	hurt a.qcow 8 000000000000003000000400 8
	hurt a.qcow 8 ffffffffffffffff00000010 8
	hurt a.qcow 48 0000000000000001 8
	hurt a.qcow 48 7fffffffffff0000 8
	hurt a.qcow 48 ffffffffffff0000 8
	l2=$((0x$(od -An -tx1 -j 48 -N 8 a.qcow | tr -d ' ')))
	hurt a.qcow $l2 0000000000000201 8
	hurt a.qcow $l2 0000ffffffff0000 8
	hurt a.qcow $l2 ffffffffffffffff 8
	hurt a.qcow $l2 8010000000000000 8
	hurt a.qcow $l2 8000000000000400 8
	cut_off a.qcow qcow
}

@test "qcow: a small file that claims a huge disk" {
	# 630 MB of memory in QEMU
	qemu-img create -q -f qcow a.qcow 64G
	truncate -s 516 a.qcow
	run python3 -c '
import resource, subprocess, sys
r = subprocess.run(["vmimg", "info", "a.qcow"], stderr=subprocess.DEVNULL)
print(r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)'
	[ "${output%% *}" = 8 ]
	sanitized || [ "${output##* }" -lt 16384 ]
}

# ---- dmg

@test "dmg: zlib, bzip2, plain and zero chunks, two tables out of order" {
	random_image a.raw $((1048576 * 3 + 512 * 7)) 14
	for how in "zlib 1000" "bzip2 512" "raw 100" "auto 8192" "zlib,bzip2,raw 100"; do
		# shellcheck disable=SC2086 # two words
		mkdmg a.raw a.dmg $how
		[ "$(vmimg info --json a.dmg | jq -r .format)" = dmg ]
		vmimg compare a.dmg a.raw || fail "$how"
	done
	[ "$(vmimg digest a.dmg | cut -d' ' -f1)" = "$(sha256 a.raw)" ]
	vmimg convert -q a.dmg -O raw b.raw
	assert_same_bytes a.raw b.raw
	"$VMKIT_TOOLS/imgio" -r a.dmg "read 12345 700000" sum >/dev/null
	vmimg check -q --deep a.dmg
	vmimg convert -q a.dmg a.vdi
	vmimg compare a.vdi a.raw
	refused 9 vmimg convert -O dmg a.raw new.dmg
	cut_off a.dmg dmg
}

@test "dmg: as qemu-img reads it" {
	random_image a.raw 2097152 15
	mkdmg a.raw a.dmg zlib,raw 256 order=ascending
	qemu-img convert -f dmg -O raw a.dmg q.raw
	assert_same_bytes a.raw q.raw
	same a.dmg dmg
}

@test "dmg: codecs that we do not have are named" {
	random_image a.raw 1048576 16
	for k in adc lzfse lzma; do
		mkdmg a.raw a.dmg raw,$k
		refused 9 vmimg digest a.dmg
		[[ $stderr == *"compressed with ${k^^}"* ]] || fail "$stderr"
		vmimg info --json a.dmg | jq -e ".format_specific.compression_type == \"${k^^}\""
	done
	mkdmg a.raw a.dmg zlib 100 type=0x80000099
	refused 9 vmimg digest a.dmg
	printf encrcdsa >e.dmg
	random_bytes 1 4096 >>e.dmg
	refused 9 vmimg digest e.dmg
	[[ $stderr == *encrypted* ]]
}

# wrong STATUS FIELD=VALUE...
wrong() {
	local want=$1
	shift
	mkdmg a.raw h.dmg zlib,raw,bzip2 100 "$@"
	refused "$want" vmimg digest h.dmg
}

@test "dmg: damage in the trailer, the tables, the chunks" {
	random_image a.raw 1048576 17
	wrong 9 version=5
	wrong 9 segments=2
	wrong 8 plist_offset=0xffffffffffffffff
	wrong 8 plist_offset=0x7fffffff
	wrong 8 plist_length=0xffffffffffffffff
	wrong 8 plist_length=100
	wrong 9 plist_length=0
	wrong 8 sectors=0x7fffffffffffffff
	wrong 8 data_offset=0xfffffffffffffff0
	wrong 8 data_offset=0x7fffffff
	wrong 8 stored=0xffffffffffffffff
	wrong 8 first=0xffffffffffffff00
	wrong 8 first=1024 # onto the next one
	wrong 8 count=0xffffffff
	wrong 8 count=100
	wrong 8 sector=0xffffffffffffffff
	wrong 8 sector=50
	wrong 9 n=0x7fffffff
	wrong 8 n=0x7fffffffffffffff
	wrong 8 n=99
	wrong 8 n=101
	wrong 9 n=100000
	wrong 8 off=0xffffffffffffffff
	wrong 8 off=0x1000000
	wrong 8 off=4
	wrong 8 len=0xffffffffffffffff
	wrong 8 len=0x1000000
	wrong 8 len=10
	wrong 8 len=0
	for xml in '' '<plist>' '<key>blkx</key><array>' '<key>blkx</key><array/>' '<key>blkx</key><array></arra' \
		'<key>blkx</key><array><key>Data</key><data>' '<key>blkx</key><array><key>Data</key><data></data></array>' \
		'<key>blkx</key><array><key>Data</key><data>bWlzaA==</data></array>' '<!-- x' '<!----' '<' \
		'<key>blkx</key><array><key>Data</key><data>&amp;</data></array>' \
		"<key>blkx</key>$(printf '<array>%.0s' {1..200})"; do
		mkdmg a.raw h.dmg zlib 100 "xml=$xml"
		run vmimg digest h.dmg
		[[ $status =~ ^(8|9)$ ]] || fail "$xml: status $status"
	done
	# Tables of nothing are a disk of zeros
	mkdmg a.raw h.dmg zlib 100 'xml=<key>blkx</key><array></array>'
	[ "$(vmimg digest h.dmg | cut -d' ' -f1)" = "$(head -c 1048576 /dev/zero | sha256sum | cut -d' ' -f1)" ]
}

@test "dmg: a damaged chunk fails where it is read, check --deep names it" {
	random_image a.raw 1048576 18
	mkdmg a.raw a.dmg zlib 100
	poke a.dmg 12 00112233445566778899aabbccddeeff
	refused 8 vmimg digest a.dmg
	[[ $stderr == *"chunk of sector 0 at offset"* ]]
	vmimg check -q a.dmg
	run vmimg check --deep a.dmg
	assert_status 8
	assert_output --partial "chunk of sector 0"
}

@test "dmg: a hole of 60 MiB for a property list, and through a pipe" {
	random_image a.raw 1048576 19
	mkdmg a.raw a.dmg
	vmimg digest -f dmg - <a.dmg >/dev/null
	cat a.dmg | vmimg digest -f dmg - >/dev/null
	python3 - <<'EOF'
import struct
b = bytearray(open("a.dmg", "rb").read()[-512:])
struct.pack_into(">QQ", b, 216, 0, 60 << 20)
with open("h.dmg", "wb") as f:
    f.seek(60 << 20)
    f.write(b)
EOF
	refused 8 vmimg info h.dmg
	[[ $stderr == *"zero byte"* ]]
}
