#!/usr/bin/env bats
# vmbackup restore: into a folder, over what is there, and never over what is in use.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
}

teardown() { [ ! -s loop ] || losetup -d "$(cat loop)"; }

# hold FORMAT FILE - QEMU has the image open for writing until release
hold() {
	mkfifo fifo
	qemu-io -f "$1" "$2" <fifo >/dev/null 3>&- &
	holder=$!
	exec 8>fifo
	wait_for locked "$2"
}
release() {
	exec 8>&-
	wait $holder
	rm fifo
}

@test "all disks of a machine into a folder, with its description" {
	require qemu-img
	random_image a.raw 9000448 1 30
	random_image b.raw 5000192 2 30
	echo '<domain/>' >web.xml
	vmbackup backup --vm web --machine web.xml a.raw data=b.raw
	refused 2 vmbackup restore web out.raw
	assert_not_exists out.raw
	vmbackup restore web out/
	assert_same_bytes out/vda.raw a.raw
	assert_same_bytes out/data.raw b.raw
	assert_same_bytes out/machine.xml web.xml
	refused 5 vmbackup restore web out
	run vmbackup restore --json --force -O qcow2 web out
	assert_success
	assert_schema vmbackup-restore
	[ "$(json 'map(.target) | join(" ")')" = 'out/vda.qcow2 out/data.qcow2' ]
	assert_qemu_clean out/vda.qcow2
	assert_same_disk out/vda.qcow2 a.raw qcow2 raw
	assert_same_disk out/data.qcow2 b.raw qcow2 raw
	run vmbackup restore --json=lines --force web out
	[ "$(wc -l <<<"$output")" = 2 ]
	mkdir one
	vmbackup restore web:data one
	[ "$(ls one)" = data.raw ]
	assert_clean
}

@test "differential: random rounds over raw and qcow2, and only what differs is written" {
	require qemu-img
	local i size=30000128
	random_image a.raw $size 3 60
	vmbackup backup --vm m a.raw
	random_image b.raw $size 4 60
	random_bytes 5 100000 | dd of=b.raw bs=64k seek=16777000 oflag=seek_bytes conv=notrunc status=none
	vmbackup backup --vm n b.raw
	cp a.raw out.raw
	qemu-img convert -c -O qcow2 a.raw out.qcow2
	for i in n m n; do
		vmbackup restore --differential "$i" out.raw
		vmbackup restore --differential --verify "$i" out.qcow2
		vmbackup restore "$i" - >want.raw
		assert_same_bytes out.raw want.raw
		assert_same_disk out.qcow2 want.raw qcow2 raw
		assert_qemu_clean out.qcow2
	done
	run vmbackup restore --json --differential --digest sha256 n out.raw
	assert_schema vmbackup-restore
	[ "$(json .written_bytes)" = 0 ]
	[ "$(json .digest)" = "$(sha256 b.raw)" ]
	printf x | dd of=out.raw bs=1 seek=20000000 conv=notrunc status=none
	printf x | dd of=out.raw bs=1 seek=0 conv=notrunc status=none
	run vmbackup restore --json --differential n out.raw
	[ "$(json .written_bytes)" -gt 0 ]
	[ "$(json .written_bytes)" -le 1200000 ]
	assert_same_bytes out.raw b.raw
	# Another size, and nothing at all.
	truncate -s 40M out.raw
	vmbackup restore --differential n out.raw
	assert_same_bytes out.raw b.raw
	truncate -s 1M out.raw
	vmbackup restore --differential n out.raw
	assert_same_bytes out.raw b.raw
	vmbackup restore --differential n new.raw
	assert_same_bytes new.raw b.raw
	refused 2 vmbackup restore --differential n -
	refused 2 vmbackup restore --differential -o cluster_size=4k n out.qcow2
	refused 8 vmbackup restore --differential -O qcow2 n out.raw
	assert_same_bytes out.raw b.raw
}

@test "a block device: whole, differential, too small" {
	require_root
	random_image a.raw 12001280 6 30
	vmbackup backup --vm m a.raw
	random_bytes 7 13000192 >dev.raw
	losetup -f --show dev.raw >loop || skip "no loop devices"
	refused 5 vmbackup restore m "$(cat loop)"
	vmbackup restore --force m "$(cat loop)"
	cmp -n 12001280 dev.raw a.raw
	random_bytes 8 70000 | dd of="$(cat loop)" bs=64k seek=5000000 oflag=seek_bytes conv=notrunc,fsync status=none
	run vmbackup restore --json --differential m "$(cat loop)"
	assert_success
	[ "$(json .written_bytes)" -le 700000 ]
	blockdev --flushbufs "$(cat loop)"
	cmp -n 12001280 dev.raw a.raw
	[ "$(tail -c 998912 dev.raw | sha256sum)" = "$(random_bytes 7 13000192 | tail -c 998912 | sha256sum)" ]
	losetup -d "$(cat loop)"
	truncate -s 8M dev.raw
	losetup -f --show dev.raw >loop
	refused 13 vmbackup restore --force m "$(cat loop)"
	refused 13 vmbackup restore --differential m "$(cat loop)"
}

@test "an image in use is left alone" {
	require qemu-io qemu-img
	local holder
	random_image a.raw 3000320 9 20
	vmbackup backup --vm m a.raw
	truncate -s 3000320 live.raw
	qemu-img create -q -f qcow2 live.qcow2 3000320
	hold raw live.raw
	refused 6 vmbackup restore --force m live.raw
	refused 6 vmbackup restore --differential m live.raw
	release
	hold qcow2 live.qcow2
	refused 6 vmbackup restore --force m live.qcow2
	refused 6 vmbackup restore --differential m live.qcow2
	release
	[ "$(stat -c %b live.raw)" = 0 ]
	vmbackup restore --differential m live.qcow2
	assert_same_disk live.qcow2 a.raw qcow2 raw
}

@test "a damaged chunk is not written over what is there" {
	random_bytes 10 3000320 >a.raw
	vmbackup backup --vm m a.raw
	cp a.raw out.raw
	local pack
	pack=$(find repo/packs -type f)
	chmod u+w "$pack"
	random_bytes 11 2500000 | dd of="$pack" bs=64k seek=300000 oflag=seek_bytes conv=notrunc status=none
	# What is right already needs none of it.
	vmbackup restore --differential m out.raw
	assert_same_bytes a.raw out.raw
	random_bytes 12 4096 | dd of=out.raw bs=4096 seek=300 conv=notrunc status=none
	run_split vmbackup restore --differential m out.raw
	assert_status 8
	[[ $stderr == *'vmbackup: out.raw: bytes '* ]]
	cmp -s <(tail -c 1500000 a.raw) <(tail -c 1500000 out.raw) || fail 'something was written'
}

@test "of several disks none is written when one of the targets is refused" {
	require qemu-img qemu-io
	local holder
	random_image a.raw 3000320 1 20
	random_image b.raw 2000384 2 20
	echo '<domain/>' >web.xml
	vmbackup backup --vm web --machine web.xml a.raw data=b.raw
	mkdir out
	echo mine >out/data.raw
	refused 5 vmbackup restore web out
	assert_not_exists out/vda.raw
	rm out/data.raw
	echo mine >out/machine.xml
	refused 5 vmbackup restore web out
	[ "$(ls out)" = machine.xml ]
	rm out/machine.xml
	cp a.raw out/vda.raw
	printf x | dd of=out/vda.raw bs=1 conv=notrunc status=none
	cp out/vda.raw was.raw
	truncate -s 2000384 out/data.raw
	hold raw out/data.raw
	refused 6 vmbackup restore --force web out
	refused 6 vmbackup restore --differential web out
	release
	assert_same_bytes out/vda.raw was.raw
	vmbackup restore --differential web out
	assert_same_bytes out/vda.raw a.raw
	assert_same_bytes out/data.raw b.raw
	refused 9 vmbackup restore -O qed web new/
	assert_not_exists new
	assert_clean
}

@test "the machine's description is for its owner alone" {
	random_image a.raw 100000 1 5
	echo '<domain><graphics passwd="x"/></domain>' >web.xml
	vmbackup backup --vm web --machine web.xml a.raw
	vmbackup restore web out/
	[ "$(stat -c %a out/machine.xml)" = 600 ]
	chmod 644 out/machine.xml
	vmbackup restore --force web out/
	[ "$(stat -c %a out/machine.xml)" = 600 ]
}

@test "differential: a digest that is unknown is refused before anything is written; --rate-limit holds" {
	random_bytes 3 3000000 >a.raw
	vmbackup backup --vm m a.raw
	random_bytes 4 3000000 >out.raw
	cp out.raw was.raw
	refused 2 vmbackup restore --differential --digest sha257 m out.raw
	assert_same_bytes out.raw was.raw
	refused 2 vmbackup restore --digest sha257 m new.raw
	local began=$EPOCHREALTIME
	vmbackup restore --differential --rate-limit 1500000 m out.raw
	assert_same_bytes out.raw a.raw
	# The last piece need not be waited for.
	((${EPOCHREALTIME/./} - ${began/./} > 1500000)) || fail 'it was faster'
}
