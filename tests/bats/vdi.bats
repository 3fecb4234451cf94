# VDI both ways against qemu-img, differencing images, random writes, check and repair, damage.

setup() {
	load common
	common_setup
	require qemu-img qemu-io jq python3
}

SIZE=$((9 * 1048576 + 512))
# Header fields
TYPE=76 MAP=340 DATA=344 DISK=368 BLOCK=376 BLOCKS=384 COUNT=388 UUID=392 MODIFY=408 PARENT=424 PARENT_MODIFY=440

le32() { od -An -v -tu4 -j "$(($2))" -N 4 "$1" | tr -d ' '; }
poke_le32() { patch_bytes "$1" "$2" "$(printf %08x "$3" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/')"; }
field() { tail -c +$(($2 + 1)) "$1" | head -c 16 | od -An -v -tx1 | tr -d ' \n'; }
# entry FILE BLOCK - its place in the map
entry() { echo $(($(le32 "$1" $MAP) + 4 * $2)); }

# child NAME PARENT - an empty differencing image, as VirtualBox makes one
child() {
	vmimg create -q -f vdi "$1" "$(vmimg info --json "$2" | jq .virtual_size)"
	poke_le32 "$1" $TYPE 4
	patch_bytes "$1" $UUID "$(md5sum <<<"$1" | cut -c 1-32)"
	patch_bytes "$1" $PARENT "$(field "$2" $UUID)"
	patch_bytes "$1" $PARENT_MODIFY "$(field "$2" $MODIFY)"
}

# sound FILE RAW - clean by us and by qemu-img, and the same disk as RAW
sound() {
	vmimg check -q "$1" || fail "$1: not clean"
	assert_qemu_clean "$1"
	assert_same_disk "$1" "$2" vdi raw
	vmimg compare "$1" "$2" || fail "$1 and $2 differ"
}

@test "what we write qemu-img reads, and what it writes we read" {
	for size in $SIZE 512 1048576 0 $((3 * 1048576 - 512)); do
		random_image a.raw "$size" 7 $((size ? 12 : 0))
		for static in off on; do
			vmimg convert -q -o static=$static a.raw a.vdi
			sound a.vdi a.raw
			[ "$(vmimg measure --scan --json -O vdi -o static=$static a.raw | jq .required)" = "$(stat -c %s a.vdi)" ]
			vmimg convert -q --force a.vdi b.raw
			assert_same_bytes a.raw b.raw
			rm -f a.vdi
			qemu-img convert -f raw -O vdi -o static=$static a.raw q.vdi
			sound q.vdi a.raw
		done
		rm -f a.raw
	done
}

@test "sizes that are no whole sectors get one" {
	random_bytes 1 1000000 >a.raw
	vmimg convert -q a.raw a.vdi
	sound a.vdi a.raw
	[ "$(vmimg info --json a.vdi | jq .virtual_size)" = 1000448 ]
}

@test "output depends on content alone: ids, threads, where the zeros are" {
	random_image a.raw $SIZE 3
	vmimg convert -q --threads 1 a.raw 1.vdi
	vmimg convert -q --threads 7 a.raw 7.vdi
	assert_same_bytes 1.vdi 7.vdi
	vmimg convert -q a.raw a.qcow2
	vmimg convert -q a.qcow2 q.vdi
	assert_same_bytes 1.vdi q.vdi
	vmimg convert -q - -O vdi - <a.raw >p.vdi
	assert_same_bytes 1.vdi p.vdi
	printf x | dd of=a.raw conv=notrunc status=none
	vmimg convert -q a.raw x.vdi
	[ "$(field x.vdi $UUID)" != "$(field 1.vdi $UUID)" ]
}

@test "blocks and data begin where file systems can share them" {
	random_image a.raw $SIZE 5
	vmimg convert -q a.raw a.vdi
	vmimg map --json a.vdi >map.json
	[ "$(jq '[.. | objects | select(.host_offset? != null) | select(.host_offset % 4096 != .offset % 4096)] | length' map.json)" = 0 ]
	[ $(($(le32 a.vdi $DATA) % 1048576)) = 0 ]
	[ "$(allocated a.vdi)" -le $(($(allocated a.raw) + 65536)) ]
}

@test "a disk of scattered blocks stays sparse" {
	truncate -s 4G a.raw
	for i in 0 1 7 500 1023 2048 4095; do printf "block %d" "$i" | dd of=a.raw bs=1M seek=$i conv=notrunc status=none; done
	vmimg convert -q a.raw a.vdi
	[ "$(allocated a.vdi)" -lt 400000 ]
	[ "$(le32 a.vdi $COUNT)" = 7 ]
	sound a.vdi a.raw
}

@test "random writes of ours, on dynamic and static images of both makers, end as qemu-io's" {
	for make in "vmimg create -q -f vdi" "vmimg create -q -f vdi -o static=on" "qemu-img create -q -f vdi" \
		"qemu-img create -q -f vdi -o static=on"; do
		rm -f a.vdi a.raw
		$make a.vdi 6M
		truncate -s 6M a.raw
		"$VMKIT_TOOLS/imgio" a.vdi "random 11 150" flush >ops
		grep -E '^(write|discard|truncate)' ops | grep -v ^discard | qemu-io -f raw a.raw >/dev/null
		if ! grep -q ^discard ops; then sound a.vdi a.raw; else
			vmimg check -q a.vdi
			assert_qemu_clean a.vdi
		fi
	done
	# Without discards, whose content nobody promises
	vmimg create -q -f vdi b.vdi $SIZE
	truncate -s $SIZE b.raw
	qemu_script() { for i in $(seq 60); do
		echo "write -P $((i % 255 + 1)) $((i * 7919 * 512 % (SIZE - 200000) / 512 * 512)) $((i * 131 % 300 * 512 + 512))"
		((i % 5)) || echo "write -z -u $((i * 104729 * 512 % (SIZE - 1300000) / 512 * 512)) $((i * 20480))"
	done; }
	qemu_script | "$VMKIT_TOOLS/imgio" b.vdi
	qemu_script | qemu-io -f raw b.raw >/dev/null
	sound b.vdi b.raw
}

@test "images that both write in turn" {
	vmimg create -q -f vdi a.vdi $SIZE
	truncate -s $SIZE a.raw
	for i in 1 2 3 4 5 6; do
		cmd="write -P $i $((i * 700000 / 512 * 512)) $((i * 50000 / 512 * 512))"
		qemu-io -f raw -c "$cmd" a.raw >/dev/null
		if ((i % 2)); then "$VMKIT_TOOLS/imgio" a.vdi "$cmd"; else qemu-io -f vdi -c "$cmd" a.vdi >/dev/null; fi
		sound a.vdi a.raw
	done
}

@test "writing gives a new modification UUID, reading does not" {
	vmimg create -q -f vdi a.vdi 2M
	before=$(field a.vdi $MODIFY)
	vmimg digest a.vdi >/dev/null
	[ "$(field a.vdi $MODIFY)" = "$before" ]
	"$VMKIT_TOOLS/imgio" a.vdi "write 0 512 1"
	[ "$(field a.vdi $MODIFY)" != "$before" ]
}

@test "differencing images read through their parent, found by its UUID" {
	random_image base.raw $SIZE 9
	vmimg convert -q base.raw "the base.vdi"
	child child.vdi "the base.vdi"
	vmimg compare child.vdi base.raw
	mv child.vdi c1.vdi
	# A grandchild; a zero entry hides what is below
	child child.vdi c1.vdi
	poke_le32 child.vdi "$(entry child.vdi 2)" 0xfffffffe
	cp base.raw want.raw
	dd if=/dev/zero of=want.raw bs=1M seek=2 count=1 conv=notrunc status=none
	vmimg compare child.vdi want.raw
	[ "$(vmimg info --json --chain child.vdi | jq length)" = 3 ]
	[ "$(vmimg info --json child.vdi | jq -r .format_specific.type)" = differencing ]
	(cd / && vmimg digest "$OLDPWD/child.vdi") >/dev/null
	# By a link in another folder
	mkdir other
	ln -s ../child.vdi other/link.vdi
	vmimg compare other/link.vdi want.raw
}

@test "writing to a differencing image copies from its parent and leaves that alone" {
	random_image base.raw $SIZE 10
	vmimg convert -q base.raw base.vdi
	child child.vdi base.vdi
	before=$(sha256 base.vdi)
	for cmd in "write -P 7 1000448 200704" "write -z 3145728 1048576" "write -z 5243392 4096" "write -P 9 9437184 512" \
		"write -z -u 6291456 2097664"; do
		"$VMKIT_TOOLS/imgio" child.vdi "$cmd"
		qemu-io -f raw -c "$cmd" base.raw >/dev/null
		vmimg compare child.vdi base.raw
	done
	vmimg check -q child.vdi
	[ "$(sha256 base.vdi)" = "$before" ]
	vmimg convert -q child.vdi flat.vdi
	sound flat.vdi base.raw
}

@test "parents: gone, elsewhere, twice, changed, a loop, no file" {
	random_image base.raw 2097152 11
	vmimg convert -q base.raw base.vdi
	child child.vdi base.vdi
	mkdir far
	mv base.vdi far/
	refused 4 vmimg digest child.vdi
	[[ $stderr == *"parent"*"UUID"*"--allow-backing"* ]]
	vmimg info child.vdi >/dev/null
	vmimg check -q child.vdi
	vmimg compare --allow-backing far child.vdi base.raw
	# A link to it and a pipe are no parents
	ln -s far/base.vdi base.vdi
	mkfifo pipe.vdi
	refused 4 vmimg digest child.vdi
	rm base.vdi
	cp far/base.vdi one.vdi
	vmimg compare child.vdi base.raw
	ln one.vdi hard.vdi
	vmimg compare child.vdi base.raw
	cp far/base.vdi two.vdi
	refused 9 vmimg digest child.vdi
	[[ $stderr == *"two files"* ]]
	rm two.vdi
	"$VMKIT_TOOLS/imgio" one.vdi "write 0 512 1"
	refused 8 vmimg digest child.vdi
	[[ $stderr == *"written to since"* ]]
	rm one.vdi hard.vdi
	# Its own parent, and two that are each other's
	patch_bytes child.vdi $PARENT "$(field child.vdi $UUID)"
	refused 4 vmimg digest child.vdi
	cp far/base.vdi a.vdi
	patch_bytes a.vdi $UUID 11111111111111111111111111111111
	child b.vdi a.vdi
	poke_le32 a.vdi $TYPE 4
	patch_bytes a.vdi $PARENT "$(field b.vdi $UUID)"
	refused 8 vmimg digest b.vdi
	[[ $stderr == *loop* ]]
}

@test "check finds a wrong count and mends it" {
	random_image a.raw $SIZE 12
	vmimg convert -q a.raw a.vdi
	n=$(le32 a.vdi $COUNT)
	# Too high a count comes of a power cut, and costs the space that it counts
	poke_le32 a.vdi $COUNT $((n + 1))
	run vmimg check --json a.vdi
	assert_status 8
	[ "$(json '"\(.corruptions) \(.leaks)"')" = "0 1" ]
	assert_output --partial "counts $((n + 1)) blocks, the map $n"
	vmimg check -q --repair=leaks a.vdi
	sound a.vdi a.raw
	for wrong in $((n - 1)) 0 4294967295; do
		poke_le32 a.vdi $COUNT $wrong
		run vmimg check a.vdi
		assert_status 8
		assert_output --partial "counts $wrong blocks, the map $n"
		run vmimg check --repair=leaks a.vdi
		assert_status 8
		run vmimg check --repair --json a.vdi
		assert_status 0
		[ "$(json '"\(.corruptions) \(.corruptions_fixed)"')" = "0 1" ]
		sound a.vdi a.raw
	done
}

@test "check finds blocks that nothing names and gives them back" {
	random_image a.raw $SIZE 13 40
	vmimg convert -q a.raw a.vdi
	whole=$(stat -c %s a.vdi)
	truncate -s +3M a.vdi
	run vmimg check a.vdi
	assert_status 8
	assert_output --partial "3 blocks of the file are not in use"
	vmimg check -q --repair=leaks a.vdi
	[ "$(stat -c %s a.vdi)" = "$whole" ]
	sound a.vdi a.raw
	# Holes in the middle
	for b in 1 4; do
		poke_le32 a.vdi "$(entry a.vdi $b)" 0xffffffff
		dd if=/dev/zero of=a.raw bs=1M seek=$b count=1 conv=notrunc status=none
	done
	run vmimg check --json a.vdi
	assert_status 8
	[ "$(json .leaks)" = 2 ]
	vmimg check -q --repair a.vdi
	[ "$(stat -c %s a.vdi)" = $((whole - 2097152)) ]
	sound a.vdi a.raw
}

@test "two blocks in one place are told, not mended, and not written to" {
	random_image a.raw $SIZE 14 40
	vmimg convert -q a.raw a.vdi
	poke_le32 a.vdi "$(entry a.vdi 3)" "$(le32 a.vdi "$(entry a.vdi 5)")"
	run vmimg check --json a.vdi
	assert_status 8
	[ "$(json '"\(.corruptions) \(.leaks)"')" = "1 1" ]
	[[ $output == *"where another one lies"* ]]
	before=$(sha256 a.vdi)
	run vmimg check --repair a.vdi
	assert_status 8
	[ "$(sha256 a.vdi)" = "$before" ]
	run "$VMKIT_TOOLS/imgio" a.vdi "write 0 512 1"
	[ "$status" != 0 ]
	[ "$(sha256 a.vdi)" = "$before" ]
	vmimg digest a.vdi >/dev/null
	poke_le32 a.vdi "$(entry a.vdi 3)" 1000
	run vmimg check a.vdi
	assert_status 8
	assert_output --partial "lies at offset $(($(le32 a.vdi $DATA) + 1000 * 1048576))"
	refused 8 vmimg digest a.vdi
}

# hurt OFFSET HEX STATUS... - refused with a sentence
hurt() {
	cp a.vdi h.vdi
	patch_bytes h.vdi "$1" "$2"
	refused "$3" vmimg digest h.vdi
	refused "$3" vmimg info h.vdi
}

@test "fields of the header out of their bounds" {
	random_image a.raw 4194304 15
	vmimg convert -q a.raw a.vdi
	hurt 68 00000200 9
	hurt 72 10000000 8
	hurt $TYPE 00000000 9
	hurt $TYPE 03000000 9
	hurt $TYPE 09000000 9
	hurt $TYPE 04000000 8
	hurt $MAP 00000000 8
	hurt $MAP 01020000 8
	hurt $MAP 000000ff 8
	hurt $DATA 00020000 8
	hurt $DATA 01001000 8
	hurt 360 00100000 9
	hurt $DISK ffffffffffffffff 8
	hurt $DISK 0000000000000010 8
	hurt $BLOCK 00000000 9
	hurt $BLOCK 00020000 9
	hurt $BLOCK 00001800 9
	hurt $BLOCK 00000080 9
	hurt 380 00020000 9
	hurt $BLOCKS 03000000 8
	hurt $BLOCKS feffffff 8
	hurt $BLOCKS 0000000f 8
	for n in 1 72 511 512 515 1048576 2000000; do
		head -c $n a.vdi >h.vdi
		refused 8 vmimg digest -f vdi h.vdi
	done
}

@test "a new image on what cannot hold one" {
	truncate -s 1M a.raw
	refused 9 vmimg convert -c a.raw a.vdi
	refused 9 vmimg create -f vdi a.vdi 4E
	refused 2 vmimg create -f vdi -o static=perhaps a.vdi 1M
	refused 2 vmimg create -f vdi -o cluster_size=1M a.vdi 1M
	assert_clean
	[ ! -e a.vdi ]
}

@test "resize: dynamic and static images of both makers, larger and smaller; a map that has no room moves" {
	local maker kind size
	for maker in ours qemu; do
		for kind in dynamic static; do
			rm -f r.vdi r.raw
			random_image r.raw 9437184 4 20
			static=$([ $kind = static ] && echo on || echo off)
			if [ $maker = ours ]; then
				vmimg convert -q -o "static=$static" r.raw r.vdi
			else
				qemu-img convert -O vdi -o "static=$static" r.raw r.vdi
			fi
			uuid=$(field r.vdi $UUID) modify=$(field r.vdi $MODIFY)
			# The map of qemu-img's has room for 128 blocks, ours for 524 160
			for size in 31457280 5000192 12582912 $((kind == static ? 300 << 20 : 3 << 30)) 1048576 4194304; do
				vmimg resize -q --shrink --force r.vdi $size
				truncate -s $size r.raw
				sound r.vdi r.raw
				# What others write next does not meet what is there
				qemu-io -f vdi -c "write -q -P 9 $((size - 65536)) 64k" r.vdi
				qemu-io -f raw -c "write -q -P 9 $((size - 65536)) 64k" r.raw
				sound r.vdi r.raw
			done
			[ "$(field r.vdi $UUID)" = "$uuid" ]
			[ "$(field r.vdi $MODIFY)" != "$modify" ]
			[ "$(stat -c %s r.vdi)" -lt $((8 << 20)) ]
		done
	done
	child c.vdi r.vdi
	refused 9 vmimg resize c.vdi 10M
	refused 2 vmimg resize --shrink r.vdi 1000
}

@test "resize, killed before each change of the file: the old disk or the new one, and it can be resized again" {
	local from to n
	random_image a.raw 9437184 4 30
	qemu-img convert -O vdi a.raw a.vdi
	cp a.raw small.raw && truncate -s 3145728 small.raw
	cp a.raw large.raw && truncate -s $((300 << 20)) large.raw
	for to in large small; do
		for ((n = 1; ; n++)); do
			cp a.vdi k.vdi
			size=$(stat -c %s $to.raw)
			run env INJECT_AT=$n INJECT_HOW=kill LD_PRELOAD="$(preload inject.so)" "$VMKIT_BIN/vmimg" resize -q --shrink --force k.vdi "$size"
			[ "$status" != 0 ] || break
			[ "$status" = 137 ]
			if [ "$(vmimg info --json k.vdi | jq .virtual_size)" = 9437184 ]; then
				qemu-img compare -f raw -F vdi a.raw k.vdi
			else
				qemu-img compare -f raw -F vdi $to.raw k.vdi
			fi
			# By ours, and by one that allocates by the count of blocks
			vmimg resize -q --shrink --force k.vdi "$size"
			qemu-img compare -f raw -F vdi $to.raw k.vdi
			cp $to.raw w.raw
			qemu-io -f vdi -c "write -q -P 5 2M 1M" k.vdi
			qemu-io -f raw -c "write -q -P 5 2M 1M" w.raw
			qemu-img compare -f raw -F vdi w.raw k.vdi
		done
		[ $n -gt 8 ]
	done
}

@test "commit of a differencing image: it and its own can still be read; rebase -u takes a parent that was changed" {
	random_image base.raw $SIZE 10
	cp base.raw child.raw
	vmimg convert -q base.raw base.vdi
	child child.vdi base.vdi
	"$VMKIT_TOOLS/imgio" child.vdi "write 1000448 200704 7" "zero 3145728 1048576"
	"$VMKIT_TOOLS/imgio" child.raw "write 1000448 200704 7" "zero 3145728 1048576"
	child top.vdi child.vdi
	vmimg commit -q child.vdi
	sound base.vdi child.raw
	for f in child top; do vmimg compare -q $f.vdi child.raw; done
	"$VMKIT_TOOLS/imgio" base.vdi "write 0 512 1"
	"$VMKIT_TOOLS/imgio" child.raw "write 0 512 1"
	refused 8 vmimg digest child.vdi
	[[ $stderr == *"rebase -u -F vdi"* ]]
	vmimg rebase -u -F vdi child.vdi
	for f in child top; do vmimg digest $f.vdi; done
	rm base.vdi
	refused 2 vmimg rebase -u -F vdi child.vdi
	refused 4 vmimg commit child.vdi
}
