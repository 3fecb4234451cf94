#!/usr/bin/env bats
# bats file_tags=slow
# vmimg commit and rebase against qemu-img: what a chain shows before and after, killed in between, refused.
load common

setup() {
	common_setup
	require qemu-img qemu-io
}

# three_layers - base.raw <- mid.qcow2 <- top.qcow2, with data, zeros and holes in each; top shows what full.raw holds
three_layers() {
	random_image base.raw 6291456 3
	vmimg create -o "${1:-cluster_size=64k}" -b base.raw -F raw mid.qcow2
	qemu_writes mid.qcow2 qcow2 6291456 5 15
	vmimg create -o "${1:-cluster_size=64k}" -b mid.qcow2 top.qcow2
	qemu_writes top.qcow2 qcow2 6291456 7 15
	qemu-img convert -O raw top.qcow2 full.raw
}

@test "commit: the backing file shows what the overlay did, layer by layer" {
	local how
	for how in cluster_size=64k cluster_size=512 compat=v2 extended_l2=on; do
		rm -f ./*.raw ./*.qcow2
		three_layers $how
		run vmimg commit --json top.qcow2
		assert_status 0
		assert_schema vmimg-commit
		[ "$(json '"\(.backing_file) \(.emptied) \(.backing_grown)"')" = "mid.qcow2 true false" ]
		[ "$(json .data_bytes)" -gt 0 ]
		assert_same_disk full.raw mid.qcow2 raw
		assert_same_disk full.raw top.qcow2 raw
		assert_qemu_clean top.qcow2
		assert_qemu_clean mid.qcow2
		run vmimg map --json top.qcow2
		[ "$(json '[.[] | select(.depth == 0 and .data)] | length')" = 0 ]
		vmimg commit mid.qcow2
		assert_same_disk full.raw base.raw raw raw
		assert_same_disk full.raw top.qcow2 raw
		assert_qemu_clean mid.qcow2
	done
}

@test "commit gives what qemu-img commit gives; --keep; a compressed overlay" {
	three_layers
	mkdir q
	cp base.raw mid.qcow2 top.qcow2 q
	(cd q && qemu-img commit -q top.qcow2)
	cp top.qcow2 keep.qcow2
	vmimg commit --keep top.qcow2
	assert_same_bytes keep.qcow2 top.qcow2
	assert_same_disk q/mid.qcow2 mid.qcow2
	assert_same_disk full.raw top.qcow2 raw
	random_image new.raw 6291456 9
	vmimg convert -c -B base.raw -F raw new.raw over.qcow2
	vmimg commit over.qcow2
	assert_same_disk new.raw base.raw raw raw
	assert_same_disk new.raw over.qcow2 raw
}

@test "commit grows a smaller backing file; a larger one keeps its rest" {
	random_image base.raw 2097152 3
	vmimg create -b base.raw -F raw a.qcow2 4M
	qemu-io -c 'write -P 7 3M 512k' a.qcow2 >/dev/null
	qemu-img convert -O raw a.qcow2 full.raw
	run vmimg commit --json a.qcow2
	[ "$(json .backing_grown)" = true ]
	assert_same_bytes full.raw base.raw
	vmimg create -b base.raw -F raw b.qcow2 1M
	qemu-io -c 'write -P 9 0 64k' b.qcow2 >/dev/null
	vmimg commit b.qcow2
	[ "$(stat -c %s base.raw)" = 4194304 ]
	cmp <(tail -c +65537 full.raw) <(tail -c +65537 base.raw)
}

@test "rebase onto another file, onto a layer further down, onto none" {
	local how
	for how in cluster_size=64k cluster_size=512 compat=v2 extended_l2=on; do
		rm -f ./*.raw ./*.qcow2
		three_layers $how
		cp base.raw other.raw
		qemu-io -f raw -c 'write -P 1 100k 70k' -c 'write -z 1M 300k' -c 'write -P 2 3M 1M' other.raw >/dev/null
		cp top.qcow2 t1.qcow2
		run vmimg rebase --json -b other.raw -F raw t1.qcow2
		assert_status 0
		assert_schema vmimg-rebase
		[ "$(json .backing_file)" = other.raw ]
		assert_same_disk full.raw t1.qcow2 raw
		assert_qemu_clean t1.qcow2
		run qemu-img info --output=json t1.qcow2
		[ "$(json '."backing-filename" + " " + ."backing-filename-format"')" = "other.raw raw" ]
		cp top.qcow2 t2.qcow2
		vmimg rebase -b base.raw -F raw t2.qcow2
		assert_same_disk full.raw t2.qcow2 raw
		assert_qemu_clean t2.qcow2
		# what mid.qcow2 does not hold has not been copied
		[ "$(vmimg map --json t2.qcow2 | jq '[.[] | select(.depth == 1)] | length')" -gt 0 ]
		cp top.qcow2 t3.qcow2
		run vmimg rebase --json -b '' t3.qcow2
		[ "$(json .backing_file)" = null ]
		run qemu-img info --output=json t3.qcow2
		[ "$(json '."backing-filename"')" = null ]
		rm mid.qcow2 base.raw
		assert_same_disk full.raw t3.qcow2 raw
		assert_qemu_clean t3.qcow2
	done
}

@test "rebase: backing files of other sizes" {
	random_image base.raw 2097152 3
	vmimg create -b base.raw -F raw a.qcow2 4100096
	qemu-img convert -O raw a.qcow2 full.raw
	random_image long.raw 6291456 4
	random_image short.raw 700416 5
	vmimg rebase -b long.raw -F raw a.qcow2
	assert_same_disk full.raw a.qcow2 raw
	vmimg rebase -b short.raw -F raw a.qcow2
	assert_same_disk full.raw a.qcow2 raw
	qemu-img rebase -F raw -b base.raw a.qcow2
	assert_same_disk full.raw a.qcow2 raw
	assert_qemu_clean a.qcow2
	# a backing file with the same content costs nothing
	cp base.raw same.raw
	vmimg create -b base.raw -F raw b.qcow2
	run vmimg rebase --json -b same.raw -F raw b.qcow2
	[ "$(json '.data_bytes + .zero_bytes')" = 0 ]
}

@test "rebase -u changes the header alone, long names and small clusters too" {
	local name how
	random_image base.raw 1048576 3
	name=$(printf 'd%.0s' {1..200})
	mkdir "$name"
	cp base.raw "$name/moved.raw"
	for how in cluster_size=512 cluster_size=1k cluster_size=64k compat=v2,cluster_size=512 data_file=ext.raw; do
		rm -f ext.raw
		vmimg create --force -o "$how" -b base.raw -F raw a.qcow2
		qemu-io -c 'write -P 5 64k 10k' a.qcow2 >/dev/null
		qemu-img convert -O raw a.qcow2 full.raw
		vmimg rebase -u -b "$name/moved.raw" -F raw a.qcow2
		assert_same_disk full.raw a.qcow2 raw
		assert_qemu_clean a.qcow2
		run qemu-img info --output=json a.qcow2
		[ "$(json '."backing-filename"')" = "$name/moved.raw" ]
		vmimg rebase -u -b "$name/../base.raw" -F raw a.qcow2
		vmimg rebase -u -b base.raw -F raw a.qcow2
		assert_same_disk full.raw a.qcow2 raw
	done
	vmimg create --force -b base.raw -F raw a.qcow2
	vmimg rebase -u -b gone.vmdk -F raw a.qcow2
	refused 4 vmimg info --chain a.qcow2
	vmimg rebase -u -b '' a.qcow2
	[ "$(vmimg info --json a.qcow2 | jq .backing_file)" = null ]
	# a format that was never stated
	vmimg create --force -b base.raw -F raw a.qcow2
	patch_bytes a.qcow2 112 12345679
	refused 9 vmimg digest a.qcow2
	vmimg rebase -u -F raw a.qcow2
	assert_same_disk base.raw a.qcow2 raw
	[ "$(vmimg info --json a.qcow2 | jq -r .backing_file)" = base.raw ]
}

@test "extensions that nobody knows, names of features and bitmaps stay" {
	random_image base.raw 1048576 3
	vmimg create -b base.raw -F raw a.qcow2
	qemu-img bitmap --add a.qcow2 b0
	vmimg rebase -u -b ./base.raw -F raw a.qcow2
	run qemu-img info --output=json a.qcow2
	[ "$(json '."format-specific".data.bitmaps[0].name')" = b0 ]
	[ "$(json '."backing-filename"')" = ./base.raw ]
	assert_qemu_clean a.qcow2
	python3 - a.qcow2 <<-'END'
		import struct, sys
		f = open(sys.argv[1], 'r+b')
		d = bytearray(f.read(65536))
		name_off, = struct.unpack_from('>Q', d, 8)
		pos = struct.unpack_from('>I', d, 100)[0]
		while struct.unpack_from('>I', d, pos)[0]:
		    pos += 8 + (struct.unpack_from('>I', d, pos + 4)[0] + 7) // 8 * 8
		name = d[name_off:name_off + struct.unpack_from('>I', d, 16)[0]]
		d[pos:] = struct.pack('>II', 0x12345678, 5) + b'hello\0\0\0' + bytes(8) + name + bytes(65536 - pos - 24 - len(name))
		struct.pack_into('>Q', d, 8, pos + 24)
		f.seek(0); f.write(d)
	END
	vmimg rebase -u -b base.raw -F raw a.qcow2
	vmimg rebase -u -b '' a.qcow2
	vmimg rebase -u -b base.raw -F raw a.qcow2
	head -c 4096 a.qcow2 | grep -aq hello
	head -c 4096 a.qcow2 | grep -aq 'lazy refcounts'
	assert_same_disk base.raw a.qcow2 raw
}

# killed_after SECONDS CMD... - by SIGKILL, unless it was quicker
killed_after() {
	"${@:2}" 2>/dev/null 3>&- &
	local pid=$!
	sleep "$1"
	kill -KILL $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
}

@test "killed in the middle, the image shows what it did" {
	random_bytes 1 50331648 >base.raw
	vmimg create -b base.raw -F raw a.qcow2
	qemu-io -c 'write -P 5 1M 20M' a.qcow2 >/dev/null
	local want ms
	want=$(vmimg digest a.qcow2 | cut -d' ' -f1)
	for ms in 0.005 0.02 0.04 0.08; do
		cp --sparse=always a.qcow2 k.qcow2
		killed_after $ms vmimg rebase -b '' k.qcow2
		[ "$(vmimg digest k.qcow2 | cut -d' ' -f1)" = "$want" ]
		run vmimg check k.qcow2
		refute_output --partial corrupt
		killed_after $ms vmimg commit k.qcow2
		[ "$(vmimg digest k.qcow2 | cut -d' ' -f1)" = "$want" ]
	done
	vmimg rebase -b '' a.qcow2
	[ "$(vmimg digest a.qcow2 | cut -d' ' -f1)" = "$want" ]
}

@test "refusals and dry runs" {
	three_layers
	local before
	before=$(cat ./*.qcow2 base.raw | sha256sum)
	refused 2 vmimg commit base.raw
	refused 2 vmimg rebase top.qcow2
	refused 2 vmimg rebase -b base.raw top.qcow2
	refused 2 vmimg rebase -b base.raw -F rwa top.qcow2
	refused 2 vmimg rebase -b top.qcow2 top.qcow2
	refused 2 vmimg rebase -b top.qcow2 mid.qcow2
	[[ $stderr == *"leads to the image itself"* ]]
	refused 4 vmimg rebase -b none.qcow2 top.qcow2
	refused 4 vmimg rebase -u -b none.qcow2 top.qcow2
	mkdir sub
	cp base.raw sub/../../out.raw
	refused 12 vmimg rebase -b ../out.raw -F raw top.qcow2
	rm ../out.raw
	run vmimg commit --dry-run --json top.qcow2
	assert_schema vmimg-commit
	[ "$(json .data_bytes)" -gt 0 ]
	run vmimg commit --dry-run top.qcow2
	assert_output --partial "into mid.qcow2"
	run vmimg rebase --dry-run --json -b base.raw -F raw top.qcow2
	assert_schema vmimg-rebase
	[ "$(json .data_bytes)" -gt 0 ]
	[ "$(cat ./*.qcow2 base.raw | sha256sum)" = "$before" ]
	qemu-img snapshot -c s1 top.qcow2
	refused 9 vmimg commit top.qcow2
	refused 9 vmimg rebase -b base.raw -F raw top.qcow2
	vmimg rebase -u -b ./mid.qcow2 top.qcow2
	refused 9 vmimg rebase -b '' base.raw
}

# ---- formats that know the layer below by an ID of its content

# chain_of FORMAT - a, b over it, c over that, with a.raw, b.raw and c.raw
chain_of() {
	local f=$1
	rm -f [abc]."$f" [abc].raw
	random_image a.raw 9437184 5 20
	cp a.raw b.raw
	random_bytes 3 400000 | dd of=b.raw bs=512 seek=3000 conv=notrunc status=none
	head -c 2000000 /dev/zero | dd of=b.raw bs=512 seek=9000 conv=notrunc status=none
	cp b.raw c.raw
	random_bytes 4 5000 | dd of=c.raw bs=512 seek=3100 conv=notrunc status=none
	vmimg convert -q a.raw "a.$f"
	vmimg convert -q -B "a.$f" b.raw "b.$f"
	vmimg convert -q -B "b.$f" c.raw "c.$f"
}

@test "commit of VMDK, VHD and VHDX overlays: they and theirs can still be read; rebase -u takes a parent that was changed" {
	local f keep
	for f in vmdk vhd vhdx; do
		for keep in "" --keep; do
			chain_of $f
			run vmimg commit --json $keep b.$f
			assert_schema vmimg-commit
			[ "$(json .emptied)" = false ]
			[ $f = vhd ] || qemu-img compare -q -F raw a.$f b.raw # QEMU rounds the size of a VHD
			vmimg compare -q a.$f b.raw
			vmimg compare -q b.$f b.raw
			vmimg compare -q c.$f c.raw
			vmimg check -q a.$f
			vmimg check -q b.$f
		done
		[ $f != vmdk ] || qemu-img compare -q -F raw c.vmdk c.raw # it looks at content IDs
		vmimg commit -q c.$f
		vmimg commit -q b.$f
		vmimg compare -q a.$f c.raw
		vmimg compare -q c.$f c.raw
		# Another program writes to the parent: the user's word counts
		if [ $f = vhd ]; then
			vmimg convert -q --force -o subformat=dynamic c.raw a.vhd
		fi
		[ $f = vhd ] || qemu-io -f $f -c "write -q 0 512" a.$f
		refused 8 vmimg digest b.$f
		[[ $stderr == *"rebase -u -F $f"* ]]
		vmimg rebase -u --dry-run -F $f b.$f
		refused 8 vmimg digest b.$f
		vmimg rebase -u -F $f b.$f
		vmimg digest b.$f
		vmimg digest c.$f
		refused 4 vmimg rebase -u -b none.$f -F $f b.$f
	done
}

@test "commit of a VMDK overlay whose note of its parent has no leading zeros, as QEMU writes it" {
	chain_of vmdk
	python3 - <<-'END'
		import re
		for name, key in (("a", b"\nCID="), ("b", b"\nparentCID=")):
		    with open(name + ".vmdk", "r+b") as f:
		        head = bytearray(f.read(16384))
		        at = head.index(key) + len(key)
		        end = head.index(0, at)
		        text = b"0000abcd" if name == "a" else b"abcd"
		        head[at:end] = (text + head[at + 8:end]).ljust(end - at, b"\0")
		        f.seek(0)
		        f.write(head)
	END
	vmimg compare -q b.vmdk b.raw
	vmimg commit -q b.vmdk
	qemu-img compare -q -F raw b.vmdk b.raw
	vmimg compare -q c.vmdk c.raw
	"$VMKIT_TOOLS/imgio" b.vmdk "write 0 512 1"
	vmimg check -q b.vmdk
	refused 8 vmimg digest c.vmdk
}

# bats test_tags=slow,release
@test "commit of VMDK and VHDX overlays, killed before each change: the overlay shows what it did, and it is done again" {
	local f n refusals
	for f in vmdk vhdx; do
		chain_of $f
		mkdir base
		cp [ab].$f base
		refusals=0
		for ((n = 1; ; n++)); do
			cp base/[ab].$f .
			run env INJECT_AT=$n INJECT_HOW=kill LD_PRELOAD="$(preload inject.so)" "$VMKIT_BIN/vmimg" commit -q --threads 1 b.$f
			[ "$status" != 0 ] || break
			[ "$status" = 137 ]
			# between the new content ID and the overlay's note of it
			if ! vmimg digest b.$f >/dev/null 2>.err; then
				grep -q "rebase -u" .err || fail "$f $n: $(cat .err)"
				vmimg rebase -u -F $f b.$f
				((refusals += 1))
			fi
			vmimg compare -q b.$f b.raw || fail "$f $n"
			vmimg compare -q c.$f c.raw || fail "$f $n: the overlay's overlay"
			((n % 4)) || {
				vmimg commit -q b.$f
				vmimg compare -q a.$f b.raw
				vmimg compare -q b.$f b.raw
			}
		done
		[ "$n" -gt 12 ]
		[ "$refusals" -lt 9 ] || fail "$refusals"
		rm -r base
	done
}

@test "rebase of VMDK, VHD and VHDX overlays onto another backing file of their format; its name alone" {
	local f long
	long="a longer name, $(printf 'x%.0s' {1..150})"
	for f in vmdk vhd vhdx; do
		chain_of $f
		cp a.raw n.raw
		random_bytes 9 700000 | dd of=n.raw bs=512 seek=3500 conv=notrunc status=none
		vmimg convert -q n.raw "$long.$f"
		run vmimg rebase --json -b "$long.$f" b.$f
		assert_status 0
		assert_schema vmimg-rebase
		[ "$(json ".data_bytes + .zero_bytes")" -gt 0 ]
		mkdir -p sub
		mv a.$f sub/
		vmimg compare -q b.$f b.raw
		vmimg check -q b.$f
		[ $f != vmdk ] || qemu-img compare -q -F raw b.vmdk b.raw
		if [ $f = vhd ]; then
			[[ $(vhdiinfo b.vhd) == *"Parent identifier"*"$(vhdiinfo "$long.vhd" | awk '/Identifier/ { print $NF }')"*"Parent filename"*"$long.vhd"* ]]
		fi
		# what was written to it made it another disk for its own overlays; VHD has no ID for that
		[ $f = vhd ] || refused 8 vmimg digest c.$f
		vmimg rebase -u -F $f c.$f
		vmimg compare -q c.$f c.raw
		# back, from a folder; then the name alone, shorter and longer
		vmimg rebase -q -b sub/a.$f b.$f
		rm "$long.$f"
		vmimg compare -q b.$f b.raw
		mv sub/a.$f m.$f
		refused 4 vmimg digest b.$f
		vmimg rebase -u -b m.$f -F $f b.$f
		[ "$(vmimg info --json b.$f | jq -r .backing_file)" = m.$f ]
		vmimg compare -q b.$f b.raw
		mv m.$f "$long.$f"
		vmimg rebase -u -b "$long.$f" b.$f
		vmimg compare -q b.$f b.raw
		vmimg check -q b.$f
		# what is no layer for it
		cp b.$f before
		qemu-img create -q -f qcow2 q.qcow2 9M
		refused 9 vmimg rebase -b q.qcow2 b.$f
		refused 9 vmimg rebase -u -b q.qcow2 b.$f
		refused 9 vmimg rebase -b "" b.$f
		refused 9 vmimg rebase -u -b "" b.$f
		refused 4 vmimg rebase -u -b none.$f -F $f b.$f
		refused 6 vmimg rebase -u -b b.$f b.$f # its own lock
		refused 6 vmimg rebase -u -b c.$f b.$f
		assert_same_bytes before b.$f
		rm q.qcow2 "$long.$f"
	done
}

# bats test_tags=slow,release
@test "rebase of VMDK, VHD and VHDX overlays, killed before each change: the overlay shows what it did" {
	local f n
	for f in vmdk vhd vhdx; do
		chain_of $f
		cp a.raw n.raw
		random_bytes 9 700000 | dd of=n.raw bs=512 seek=3500 conv=notrunc status=none
		vmimg convert -q n.raw "another name of some length.$f"
		cp b.$f base.$f
		for ((n = 1; ; n++)); do
			cp base.$f b.$f
			run env INJECT_AT=$n INJECT_HOW=kill LD_PRELOAD="$(preload inject.so)" "$VMKIT_BIN/vmimg" rebase -q --threads 1 \
				-b "another name of some length.$f" b.$f
			vmimg compare -q b.$f b.raw || fail "$f $n"
			[ "$status" != 0 ] || break
			[ "$status" = 137 ]
		done
		[ "$n" -gt 5 ]
		rm another*
	done
}
