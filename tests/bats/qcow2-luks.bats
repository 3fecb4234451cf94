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

# random_disk FILE - 12 MiB with data, holes, and a tail that is no whole cluster
random_disk() {
	truncate -s $((12582912 - 1536)) "$1"
	random_bytes 6 1500000 | dd of="$1" bs=64k seek=3 conv=notrunc status=none
	random_bytes 7 700000 | dd of="$1" bs=512 seek=$((12582912 / 512 - 3 - 1368)) conv=notrunc status=none
	truncate -s $((12582912 - 1536)) "$1"
}

@test "new encrypted images: QEMU reads and writes them, as we do" {
	local options
	random_disk want.raw
	for options in "" ,cluster_size=512 ,cluster_size=2M ,extended_l2=on ,refcount_bits=1; do
		vmimg convert -O qcow2 -o encryption=luks,iter_time=10"$options" --verify want.raw a.qcow2
		check_clean a.qcow2
		vmimg check a.qcow2
		theirs a.qcow2 back.raw
		assert_same_bytes want.raw back.raw
		vmimg compare a.qcow2 want.raw
		fill a.qcow2 9 10
		theirs a.qcow2 back.raw
		vmimg compare a.qcow2 back.raw
		run vmimg compare a.qcow2 want.raw
		assert_status 3
		rm a.qcow2
	done
}

@test "new encrypted images: what lies in the file" {
	local described
	random_disk want.raw
	# a line that must not be found again
	printf 'plain text that nobody may read' | dd of=want.raw bs=1 seek=300000 conv=notrunc status=none
	vmimg convert -o encryption=luks,iter_time=1 want.raw a.qcow2
	vmimg convert -o encryption=luks,iter_time=1 want.raw b.qcow2
	grep -aq "plain text that" want.raw
	[ "$(grep -ac "plain text that" a.qcow2)" = 0 ]
	[ "$(sha256 a.qcow2)" != "$(sha256 b.qcow2)" ]
	described=$(qemu-img info --output=json a.qcow2)
	qemu_says() { jq -e "$1" <<<"$described" >/dev/null || fail "$1 in $described"; }
	qemu_says '.encrypted and .["format-specific"].data.encrypt.format == "luks"'
	qemu_says '.["format-specific"].data.encrypt | .["cipher-alg"] == "aes-256" and .["cipher-mode"] == "xts" and .["ivgen-alg"] == "plain64" and .["hash-alg"] == "sha256"'
	# one slot, and not a cheap one, however short the time asked for
	qemu_says '.["format-specific"].data.encrypt.slots | map(select(.active)) | length == 1 and .[0].iters >= 100000'
	vmimg info --json a.qcow2 | jq -e '.format_specific.encryption == "luks"'
	# more time, more iterations: the floor is passed
	vmimg create -o encryption=luks,iter_time=2000 slow.qcow2 1M
	described=$(qemu-img info --output=json slow.qcow2)
	qemu_says '.["format-specific"].data.encrypt.slots[0].iters > 100000'
	# also when a hypervisor takes a second away while the processor is measured
	LD_PRELOAD=$(preload clock.so) TEST_STEAL=2 vmimg create -o encryption=luks,iter_time=2000 stolen.qcow2 1M
	described=$(qemu-img info --output=json stolen.qcow2)
	qemu_says '.["format-specific"].data.encrypt.slots[0].iters > 100000'
	# as large as measure says
	[ "$(vmimg measure --json --scan -O qcow2 -o encryption=luks want.raw | jq .required)" = "$(stat -c %s a.qcow2)" ]
	printf wrong >wrong
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmimg compare a.qcow2 want.raw
}

@test "new encrypted images: empty, over a backing file, written in place, through a pipe" {
	random_disk want.raw
	vmimg create -o encryption=luks,iter_time=1 a.qcow2 8M
	check_clean a.qcow2
	theirs a.qcow2 back.raw
	truncate -s 8M zero.raw
	assert_same_bytes zero.raw back.raw
	vmimg create -o encryption=luks,iter_time=1 -b want.raw -F raw top.qcow2
	vmimg compare top.qcow2 want.raw
	cp want.raw new.raw
	printf 'changed' | dd of=new.raw bs=1 seek=1000000 conv=notrunc status=none
	fallocate -p -o $((3 * 65536)) -l 131072 new.raw
	vmimg convert -o encryption=luks,iter_time=1 -B want.raw -F raw new.raw over.qcow2
	[ "$(stat -c %s over.qcow2)" -lt 3500000 ]
	theirs over.qcow2 back.raw
	assert_same_bytes new.raw back.raw
	check_clean over.qcow2
	IMGIO_PASSWORD="correct horse" "$VMKIT_TOOLS/imgio" a.qcow2 "random 8 60 1" >script
	"$VMKIT_TOOLS/imgio" -f raw zero.raw <script >out
	theirs a.qcow2 back.raw
	assert_same_bytes zero.raw back.raw
	vmimg convert -O qcow2 -o encryption=luks,iter_time=1 - - <want.raw >piped.qcow2
	vmimg compare piped.qcow2 want.raw
	check_clean piped.qcow2
	# from one encrypted image to another
	vmimg convert -o encryption=luks,iter_time=1 piped.qcow2 again.qcow2
	vmimg compare again.qcow2 want.raw
}

@test "new encrypted images: what does not go together is a usage error" {
	local options
	truncate -s 1M want.raw
	refused 2 vmimg convert -c -o encryption=luks want.raw a.qcow2
	[[ $stderr == *"encryption and compression exclude"* ]]
	for options in compat=v2 data_file=d.raw preallocation=metadata iter_time=0 iter_time=100000; do
		refused 2 vmimg create -o encryption=luks,$options a.qcow2 1M
		[ ! -e a.qcow2 ]
	done
	refused 2 vmimg create -o iter_time=10 a.qcow2 1M
	refused 2 vmimg create -o encryption=aes a.qcow2 1M
	(
		unset VMKIT_PASSWORD_FILE
		refused 12 vmimg create -o encryption=luks a.qcow2 1M </dev/null
	)
	[ ! -e a.qcow2 ]
}
