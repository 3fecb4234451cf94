#!/usr/bin/env bats
# Encrypted qcow2 (LUKS inside): read and written in place, against qemu-img and qemu-io with the same passphrase.
load common
# bats file_tags=slow

# make FILE OPTIONS - an empty encrypted image of 12 MiB. qemu-img measures its processor for the iterations, which takes seconds,
# and gives up where it got no time
make() {
	local _
	for _ in {1..20}; do
		qemu-img create -q "${Q[@]}" -f qcow2 -o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10$2" "$1" 12M 2>luks.log && return
	done
	fail "$(cat luks.log)"
}

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	printf 'correct horse' >key
	Q=(--object "secret,id=s,file=$PWD/key")
	make plain.qcow2 ""
	make odd.qcow2 ,cluster_size=512,encrypt.cipher-alg=aes-128,encrypt.hash-alg=sha1
	make extended.qcow2 ,extended_l2=on,cluster_size=64k
}

setup() {
	common_setup
	require qemu-img qemu-io
	D=$BATS_FILE_TMPDIR
	export VMKIT_PASSWORD_FILE=$D/key
	Q=(--object "secret,id=s,file=$D/key")
}

# check_clean FILE - by qemu-img
check_clean() { qemu-img check "${Q[@]}" --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$1" >.check 2>&1 || fail "$(cat .check)"; }

# theirs FILE OUT - what QEMU reads
theirs() { qemu-img convert "${Q[@]}" --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$1" -O raw "$2"; }

# fill FILE SEED COUNT - random writes by qemu-io, of odd lengths too
fill() {
	local state=$2 i off len
	for ((i = 0; i < $3; i++)); do
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		off=$((state % 4100000))
		state=$(((state * 1103515245 + 12345) & 0x7fffffff))
		len=$((state % 70000 + 1))
		((off + len <= 4194304)) || len=$((4194304 - off))
		echo "write -P $((state >> 12 & 255)) $((off / 512 * 512)) $(((len + 511) / 512 * 512))"
	done | qemu-io "${Q[@]}" --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=$1" >.io 2>&1
}

@test "what QEMU wrote is read: clusters of each kind, keys of 128 and 256 bits, under an overlay" {
	local kind
	for kind in plain odd extended; do
		cp "$D/$kind.qcow2" .
		fill $kind.qcow2 7 30
		theirs $kind.qcow2 want.raw
		vmimg convert --force $kind.qcow2 got.raw
		assert_same_bytes want.raw got.raw
		vmimg compare $kind.qcow2 want.raw
	done
	theirs plain.qcow2 want.raw
	[ "$(vmimg digest plain.qcow2 | cut -d' ' -f1)" = "$(sha256 want.raw)" ]
	qemu-img create -q -f qcow2 -u -b plain.qcow2 -F qcow2 over.qcow2 12M
	vmimg convert -c over.qcow2 flat.qcow2
	assert_same_disk flat.qcow2 want.raw qcow2 raw
	run_split vmimg map --json plain.qcow2
	assert_schema vmimg-map
	[ "$(json '[.[] | select(.kind == "data") | .codec] | unique | join(" ")')" = opaque ]
}

@test "what we write QEMU reads: overlays committed, files put into it, a larger disk" {
	require mke2fs e2fsck
	mkdir t && echo old >t/hostname
	mke2fs -q -t ext4 -F -b 1024 -d t fs.raw 12M
	cp "$D/plain.qcow2" a.qcow2
	qemu-img convert "${Q[@]}" -n -f raw fs.raw --target-image-opts driver=qcow2,encrypt.key-secret=s,file.filename=a.qcow2
	[ "$(vmimg cat a.qcow2 /hostname)" = old ]
	random_bytes 4 3000001 >big
	vmimg put --force a.qcow2 big /hostname
	theirs a.qcow2 back.raw
	e2fsck -fn back.raw
	debugfs -R "cat /hostname" back.raw 2>/dev/null | cmp - big
	check_clean a.qcow2
	qemu-img create -u -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 12M
	qemu-io "${Q[@]}" --image-opts "driver=qcow2,file.filename=top.qcow2,backing.driver=qcow2,backing.encrypt.key-secret=s,backing.file.filename=a.qcow2" -c "write -P 7 1000448 700416" >/dev/null
	cp back.raw want.raw
	dd if=<(head -c 700416 /dev/zero | tr '\0' '\7') of=want.raw bs=512 seek=1954 conv=notrunc status=none iflag=fullblock
	vmimg commit top.qcow2
	theirs a.qcow2 back.raw
	assert_same_bytes want.raw back.raw
	check_clean a.qcow2
	# grown: what is new reads as zeros
	vmimg resize a.qcow2 16M
	truncate -s 16M want.raw
	theirs a.qcow2 back.raw
	assert_same_bytes want.raw back.raw
}

@test "random writes of single bytes and long ranges, zeros and discards, as on a raw file; QEMU reads the same" {
	local kind
	for kind in plain odd extended; do
		cp "$D/$kind.qcow2" a.qcow2
		truncate -s 12M want.raw
		IMGIO_PASSWORD="correct horse" "$VMKIT_TOOLS/imgio" a.qcow2 "random 5 150 1" >script
		"$VMKIT_TOOLS/imgio" -f raw want.raw <script >out
		theirs a.qcow2 back.raw
		assert_same_bytes want.raw back.raw
		check_clean a.qcow2
		rm want.raw
	done
}

@test "a wrong passphrase, none, damage, and what is not read here" {
	cp "$D/plain.qcow2" a.qcow2
	fill a.qcow2 5 5
	printf wrong >wrong
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmimg convert a.qcow2 b.raw
	[[ $stderr == *"opens none"* ]]
	[ ! -e b.raw ]
	(
		unset VMKIT_PASSWORD_FILE
		refused 12 vmimg convert a.qcow2 b.raw </dev/null
	)
	# info needs no passphrase; check neither
	VMKIT_PASSWORD_FILE=$PWD/wrong vmimg info --json a.qcow2 | jq -e '.format_specific.encryption == "luks"'
	VMKIT_PASSWORD_FILE=$PWD/wrong vmimg check a.qcow2
	local at
	at=$(LC_ALL=C grep -abo $'LUKS\xba\xbe' a.qcow2 | head -1 | cut -d: -f1)
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 $((at + 212)) ffffffff
	refused 8 vmimg convert b.qcow2 b.raw
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 $((at + 248)) ffffffff
	refused 8 vmimg convert b.qcow2 b.raw
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 $((at + 6)) 0002
	refused 9 vmimg convert b.qcow2 b.raw
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 $((at + 40)) 78747a
	refused 9 vmimg convert b.qcow2 b.raw
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 $((at + 112)) 00
	refused 12 vmimg convert b.qcow2 b.raw
	cp a.qcow2 b.qcow2 && patch_bytes b.qcow2 "$at" 00
	refused 8 vmimg convert b.qcow2 b.raw
}
