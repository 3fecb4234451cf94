# Damaged and hostile qcow2 images: one sentence, status 8 or 9, little memory, never a crash.
# bats file_tags=slow

setup() {
	load common
	load qcow2
	common_setup
	require qemu-img qemu-io python3
}

# bounded STATUS[|STATUS] CMD... - refused with one sentence, within 32 MiB and without a crash
bounded() {
	local want=$1
	shift
	run --separate-stderr python3 -c '
import resource, subprocess, sys
r = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, timeout=20)
print("rss", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(r.returncode if r.returncode >= 0 else 128 - r.returncode)' "$@"
	[[ "|$want|" == *"|$status|"* ]] || fail "status $status instead of $want: $* : $output $stderr"
	local rss=${stderr##*rss } said=${stderr%rss *}
	sanitized || [ "$rss" -lt 32768 ] || fail "$rss KiB of memory: $*"
	[ "$status" = 0 ] && return
	[[ $said == vmimg:\ * ]] || fail "not a sentence: $stderr"
}

base() {
	qemu-img create -q -f qcow2 -o "${1:-cluster_size=65536}" a.qcow2 16M
	qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -P 2 9M 1M' a.qcow2
}

# hurt NAME OFFSET HEX STATUS - info and digest refuse the image
hurt() {
	cp a.qcow2 "$1"
	patch_bytes "$1" "$2" "$3"
	bounded "$4" vmimg digest "$1"
	bounded "${5:-$4}" vmimg info "$1"
}

@test "fields of the header out of their bounds" {
	base
	hurt cluster0 20 00000000 8
	hurt cluster8 20 00000008 8
	hurt cluster31 20 0000001f "8|9"
	hurt cluster63 20 0000003f 8
	hurt cluster-max 20 ffffffff 8
	hurt version4 4 00000004 9
	hurt version1 4 00000001 9
	hurt size-max 24 ffffffffffffffff 8
	hurt size-big 24 7fffffffffffffff 8
	hurt l1-huge 36 ffffffff 8
	hurt l1-4m 36 00400000 8
	hurt l1-small 36 00000000 8
	hurt l1-beyond 40 0000000100000000 8
	hurt l1-unaligned 40 0000000000030008 8
	hurt l1-wrap 40 ffffffffffff0000 8
	hurt reftable-beyond 48 0000700000000000 8
	hurt reftable-huge 56 ffffffff 8
	hurt reftable-none 56 00000000 8
	hurt snapshots-many 60 ffffffff 8
	hurt snapshots-beyond 60 000000010000000100000000 8
	hurt refcount7 96 00000007 8
	hurt refcount-max 96 ffffffff 8
	hurt header-short 100 00000048 8
	hurt header-odd 100 00000069 8
	hurt header-long 100 7ffffff8 8
	hurt compression 104 01 8
	hurt crypt 32 00000009 9
	hurt zstd-unnamed 79 08 8
	hurt extl2-ok 79 00 0
}

@test "unknown incompatible features are refused by the name that the image has for them" {
	base
	# The first entry of the feature name table becomes bit 40
	at=$(python3 -c 'print(open("a.qcow2","rb").read(512).index(b"dirty bit")-1)')
	patch_bytes a.qcow2 "$at" 28
	patch_bytes a.qcow2 $((at + 1)) "$(printf 'time travel\0' | od -An -tx1 | tr -d ' \n')"
	patch_bytes a.qcow2 74 01
	bounded 9 vmimg info a.qcow2
	[[ $stderr == *"time travel"*"bit 40"* ]] || fail "$stderr"
	# Escape codes in it do not reach the terminal
	patch_bytes a.qcow2 $((at + 1)) 1b5b316d
	bounded 9 vmimg info a.qcow2
	[[ $stderr != *$'\e'* ]]
}

@test "header extensions that overlap, repeat or run out" {
	base
	hurt ext-long 116 7fffffff 8
	hurt ext-wrap 116 fffffff8 8
	qemu-img create -q -f qcow2 -u -F raw -b base.raw b.qcow2 1M
	mv b.qcow2 a.qcow2
	hurt name-beyond 8 0000000000010000 8
	hurt name-long 16 00000400 8
	hurt name-in-header 8 0000000000000008 8
}

@test "version 2 with nonsense where version 3 has fields" {
	base compat=0.10
	cp a.qcow2 b.qcow2
	python3 - <<'EOF'
# The extensions of version 2 begin at 72: an end mark, then anything
f = open("b.qcow2", "r+b")
f.seek(72)
f.write(bytes(8) + b"\xff" * 400)
EOF
	assert_equal "$(vmimg digest a.qcow2 | cut -d' ' -f1)" "$(vmimg digest b.qcow2 | cut -d' ' -f1)"
}

@test "cut off at every class of place" {
	base
	size=$(stat -c %s a.qcow2)
	for n in 1 4 8 71 72 103 104 111 512 65535 65536 131072 196608 $(($(l1_at a.qcow2) + 4)) $(l2_at a.qcow2) \
		$(($(l2_at a.qcow2) + 100)); do
		head -c "$n" a.qcow2 >b.qcow2
		bounded "8|9" vmimg digest -f qcow2 b.qcow2
		bounded "0|8|9" vmimg info -f qcow2 b.qcow2
		bounded "8|9" vmimg check -f qcow2 -q b.qcow2 || true
	done
	head -c $((size - 65537)) a.qcow2 >b.qcow2
	bounded 8 vmimg digest b.qcow2
}

@test "tables that point outside, at themselves or at each other" {
	base
	l1=$(l1_at a.qcow2)
	l2=$(l2_at a.qcow2)
	for v in 0x7fffffff0000 0x30200 $((1 << 60)); do
		cp a.qcow2 b.qcow2
		poke64 b.qcow2 "$l1" $v
		bounded "8|0" vmimg digest b.qcow2
		cp a.qcow2 b.qcow2
		poke64 b.qcow2 "$l2" $v
		bounded "8|0" vmimg digest b.qcow2
	done
	# The L2 table is the L1 table, and maps itself
	cp a.qcow2 b.qcow2
	poke64 b.qcow2 "$l1" $((l1 | COPIED))
	bounded "0|8" vmimg digest b.qcow2
	run vmimg check -q b.qcow2
	assert_failure 8
	# Compressed data beyond the end
	cp a.qcow2 b.qcow2
	poke64 b.qcow2 "$l2" $(((1 << 62) | 0x3fffffffff000))
	bounded 8 vmimg digest b.qcow2
	# Zero flag in version 2
	rm a.qcow2
	base compat=0.10
	poke64 a.qcow2 "$(l2_at a.qcow2)" 1
	bounded 8 vmimg digest a.qcow2
}

@test "subclusters that are allocated and zero at once" {
	base extended_l2=on
	poke64 a.qcow2 $(($(l2_at a.qcow2) + 8)) $(((1 << 32) | 1))
	bounded 8 vmimg digest a.qcow2
	run vmimg check a.qcow2
	assert_failure 8
	assert_output --partial "allocated and zero at once"
}

@test "chains that loop end" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img create -q -f qcow2 -u -F qcow2 -b a.qcow2 b.qcow2 1M
	qemu-img rebase -u -F qcow2 -b b.qcow2 a.qcow2
	bounded "8|9" vmimg digest a.qcow2
	qemu-img rebase -u -F qcow2 -b a.qcow2 a.qcow2
	bounded "8|9" vmimg digest a.qcow2
	bounded 0 vmimg info a.qcow2
}

@test "the snapshot table points outside, its entries claim too much" {
	base
	qemu-img snapshot -c one a.qcow2
	t=$(be64 a.qcow2 64)
	hurt table-beyond 64 0000700000000000 8
	for at in 36:7fffffff 12:ffffffff 36:00000401; do
		cp a.qcow2 b.qcow2
		patch_bytes b.qcow2 $((t + ${at%:*})) "${at#*:}"
		bounded 8 vmimg digest --snapshot one b.qcow2
		bounded 8 vmimg info b.qcow2
		run vmimg check -q b.qcow2
		assert_failure 8
	done
	for at in 0:0000700000000000 0:0000000000000010 8:ffffffff 48:7fffffffffffffff; do
		cp a.qcow2 b.qcow2
		patch_bytes b.qcow2 $((t + ${at%:*})) "${at#*:}"
		bounded 8 vmimg digest --snapshot one b.qcow2
		bounded 0 vmimg digest b.qcow2
	done
}

@test "a sparse file that claims everything: info in 32 MiB" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	truncate -s 64M a.qcow2
	poke32 a.qcow2 36 $((4 << 20))
	poke64 a.qcow2 40 $((32 << 20))
	poke64 a.qcow2 24 $((1 << 40))
	bounded 0 vmimg info a.qcow2
	bounded "0|8" vmimg map a.qcow2
	# 65536 snapshots, all of the same huge L1 table
	python3 - <<'EOF'
import struct
f = open("a.qcow2", "r+b")
f.seek(60); f.write(struct.pack(">IQ", 65536, 4 << 20))
f.seek(4 << 20)
f.write((struct.pack(">QIHHIIQII", 32 << 20, 4 << 20, 0, 0, 0, 0, 0, 0, 16) + bytes(16)) * 65536)
EOF
	bounded 0 vmimg info --json a.qcow2
	run -8 timeout 60 vmimg check -q a.qcow2
}

@test "flipped bits: hundreds of seeds, no crash, no hang" {
	qemu-img create -q -f qcow2 -o cluster_size=4096 a.qcow2 2M
	qemu-io -c 'write -q -P 1 0 100k' -c 'write -q -z 200k 64k' a.qcow2
	qemu-img snapshot -c one a.qcow2
	qemu-io -c 'write -q -P 2 50k 100k' a.qcow2
	qemu-img convert -c -O qcow2 -o cluster_size=4096,compression_type=zstd a.qcow2 z.qcow2
	seeds=100
	! sanitized || seeds=30 # fuzz_qcow2 does the rest
	python3 - $seeds a.qcow2 z.qcow2 <<'EOF' || fail "see above"
import random, subprocess, sys
bad = 0
for name in sys.argv[2:]:
    whole = open(name, "rb").read()
    for seed in range(int(sys.argv[1])):
        r = random.Random(seed)
        data = bytearray(whole)
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(112) if r.random() < .5 else r.randrange(len(data))
            data[at] ^= 1 << r.randrange(8)
        open("f.qcow2", "wb").write(data)
        for cmd in (["digest"], ["check", "-q", "--deep"], ["check", "-q", "--repair"], ["digest"]):
            p = subprocess.run(["vmimg", cmd[0], "-f", "qcow2", *cmd[1:], "f.qcow2"], capture_output=True, timeout=60)
            if p.returncode not in (0, 4, 8, 9, 12):
                print(name, seed, cmd, p.returncode, p.stderr.decode(errors="replace")[-300:])
                bad += 1
sys.exit(bad != 0)
EOF
}
