# VHDX: what we write is what qemu-img and libvhdi read, what they write is what we read, and what neither can: logs are
# bats file_tags=slow
# laid over the file without writing to it, parents are followed. Such samples come from tests/tools/vhdx.py.

SIZE=$((20 * 1048576 + 512))

setup() {
	load common
	common_setup
	require qemu-img qemu-io vhdiinfo python3 jq
}

vhdxpy() { python3 "$ROOT/tests/tools/vhdx.py" "$@" || fail "vhdx.py $*"; }

same_as() {
	vmimg compare -q "$1" "$2" || fail "$1 is not $2"
	qemu-img compare -f vhdx -F raw "$1" "$2" >.cmp || fail "qemu-img: $1 is not $2: $(cat .cmp)"
}

clean() {
	vmimg check -q "$1" || fail "$1: $(vmimg check "$1")"
}

@test "dynamic and fixed, blocks of 1 to 256 MiB: qemu-img and libvhdi read what we write; measure is exact" {
	random_image a.raw $SIZE 5 30
	for o in subformat=dynamic block_size=2M block_size=256M subformat=fixed subformat=fixed,block_size=32M \
		physical_sector_size=512; do
		vmimg convert --force -o $o a.raw a.vhdx
		same_as a.vhdx a.raw
		clean a.vhdx
		qemu-img check -q -f vhdx a.vhdx
		run vmimg info --json a.vhdx
		assert_schema vmimg-info
		[ "$(json .virtual_size)" = $SIZE ]
		[ "$(json .format)" = vhdx ]
		run vhdiinfo a.vhdx
		assert_output --partial "($SIZE bytes)"
		run vmimg measure --json --scan -O vhdx -o $o a.raw
		[ "$(json .required)" = "$(stat -c %s a.vhdx)" ]
	done
	# What it takes all of it is written in place by QEMU too
	qemu_writes a.vhdx vhdx $SIZE 4 30
	qemu-img convert -f vhdx -O raw a.vhdx b.raw
	vmimg compare -q b.raw a.vhdx
	clean a.vhdx
	assert_clean
}

@test "4096-byte sectors: libvhdi reads them, QEMU does not have them" {
	random_image a.raw 20971520 5 30
	vmimg convert -o logical_sector_size=4096 a.raw a.vhdx
	vmimg compare -q a.raw a.vhdx
	clean a.vhdx
	[ "$(vmimg info --json a.vhdx | jq .format_specific.logical_sector_size)" = 4096 ]
	run vhdiinfo a.vhdx
	assert_output --partial "Bytes per sector	: 4096"
	vmimg convert -B a.vhdx a.raw b.vhdx
	[ "$(vmimg info --json b.vhdx | jq .format_specific.logical_sector_size)" = 4096 ]
	refused 2 vmimg create -o logical_sector_size=4096,physical_sector_size=512 x.vhdx 1M
}

@test "the interleaved table: disks beyond a chunk" {
	# A chunk is 4 GiB of 512-byte sectors: entry 4096 is the first one's bitmap
	vmimg create a.vhdx 20G
	truncate -s 20G a.raw
	for at in 0 4294966784 4294967296 12884901888 21474835968; do
		printf 'x%s' "$at" | dd of=a.raw bs=1 seek="$at" conv=notrunc status=none
	done
	vmimg convert --force a.raw a.vhdx
	vmimg compare -q a.raw a.vhdx
	qemu-img convert -f vhdx -O raw a.vhdx b.raw # its compare takes a minute for such holes
	vmimg compare -q a.raw b.raw
	clean a.vhdx
	[ "$(vhdxpy bat a.vhdx 4096)" = 0x0 ]
	vmimg create big.vhdx 64T
	[ "$(vmimg info --json big.vhdx | jq .virtual_size)" = $((64 << 40)) ]
	refused 2 vmimg create bigger.vhdx 65T
	qemu-img create -q -f vhdx -o block_size=1M q.vhdx 20G
	qemu-io -f vhdx -c 'write -P 7 4294966784 1k' -c 'write -P 9 21474835968 512' q.vhdx >/dev/null
	qemu-img convert -f vhdx -O raw q.vhdx q.raw
	vmimg compare -q q.raw q.vhdx
	clean q.vhdx
}

@test "we read what qemu-img writes" {
	random_image a.raw $SIZE 6 30
	for o in subformat=dynamic subformat=fixed block_size=1M log_size=4M block_state_zero=off; do
		qemu-img convert -f raw -O vhdx -o $o a.raw q.vhdx
		vmimg compare -q a.raw q.vhdx || fail "$o"
		clean q.vhdx
	done
}

# crash OPTIONS - dirty.vhdx is new.vhdx with its last tables in the log
crash() {
	# shellcheck disable=SC2086 # options
	vhdxpy dirty old.vhdx new.vhdx dirty.vhdx $1
}

# what QEMU writes in one more session
sessions() {
	qemu-img create -q -f vhdx -o block_size=1M old.vhdx 20M
	qemu-io -f vhdx -c 'write -q -P 1 0 3M' old.vhdx
	cp old.vhdx new.vhdx
	qemu-io -f vhdx -c 'write -q -P 2 5M 3M' -c 'write -q -P 3 1M 100k' new.vhdx
}

@test "a log is laid over the file in memory for readers, written by --repair; qemu-img replays it to the same" {
	sessions
	local o
	for o in "" "--one --start 1044480" "--stale --zeros --start 1040384" "--one --cut --stale"; do
		crash "$o"
		cp dirty.vhdx kept.vhdx
		vmimg compare -q dirty.vhdx new.vhdx || fail "$o"
		[ "$(vmimg info --json dirty.vhdx | jq .format_specific.log_dirty)" = true ]
		run vmimg check dirty.vhdx
		assert_failure 8
		assert_output --partial "was not closed"
		assert_same_bytes dirty.vhdx kept.vhdx
		vmimg check -q --repair dirty.vhdx >/dev/null
		[ "$(vmimg info --json dirty.vhdx | jq .format_specific.log_dirty)" = false ]
		clean dirty.vhdx
		assert_same_disk dirty.vhdx new.vhdx vhdx vhdx
		qemu-img check -q -f vhdx -r all kept.vhdx
		assert_same_disk dirty.vhdx kept.vhdx vhdx vhdx
	done
}

@test "hostile logs: torn, cut, of another file, too long" {
	sessions
	crash ""
	local log header
	log=$(vhdxpy log dirty.vhdx)
	# the only entry is damaged: nothing to replay, the old state is whole
	cp dirty.vhdx x.vhdx
	patch_bytes x.vhdx $((log + 200)) ff
	[ "$(vmimg info --json x.vhdx | jq .format_specific.log_dirty)" = false ]
	run vmimg digest x.vhdx
	assert_success
	# the file is shorter than it was
	cp dirty.vhdx x.vhdx
	truncate -s -1M x.vhdx
	refused 8 vmimg digest x.vhdx
	[[ $stderr == *cut* ]]
	for header in 65536 131072; do vhdxpy set dirty.vhdx $((header + 68)) 00000010; done
	refused 8 vmimg digest dirty.vhdx
}

@test "differencing: blocks that are here in part, zeros over a parent's data, three layers, the parent's identity" {
	random_image a.raw $SIZE 9 30
	vmimg convert -o block_size=2M a.raw a.vhdx
	cp a.raw b.raw
	random_bytes 3 70000 | dd of=b.raw bs=512 seek=700 conv=notrunc status=none
	head -c 9000000 /dev/zero | dd of=b.raw bs=512 seek=8000 conv=notrunc status=none
	vmimg convert -B a.vhdx b.raw b.vhdx
	vmimg compare -q b.raw b.vhdx
	cp b.raw c.raw
	random_bytes 4 5000 | dd of=c.raw bs=512 seek=20000 conv=notrunc status=none
	mkdir sub
	vmimg convert -B b.vhdx c.raw c.vhdx
	vmimg compare -q c.raw c.vhdx
	for f in b c; do
		clean $f.vhdx
		run vhdiinfo $f.vhdx
		assert_output --partial Differential
	done
	run vmimg info --json --chain c.vhdx
	assert_schema vmimg-info
	[ "$(json length)" = 3 ]
	[ "$(json '.[0].format_specific.parent_linkage')" = "$(vhdxpy guid b.vhdx)" ]
	# GUIDs in capitals, as Hyper-V has them
	vhdxpy linkage c.vhdx b.vhdx
	vmimg compare -q c.raw c.vhdx
	vhdxpy linkage c.vhdx a.vhdx
	refused 8 vmimg digest c.vhdx
	[[ $stderr == *GUID* ]]
	rm b.vhdx
	refused 4 vmimg digest c.vhdx
	refused 2 vmimg create -b a.raw -F raw x.vhdx
}

@test "what is required and not known is refused; what is not required is passed over" {
	vmimg create a.vhdx 4M
	local guid=01020304-0506-0708-090a-0b0c0d0e0f10
	cp a.vhdx x.vhdx
	vhdxpy region x.vhdx $guid
	refused 9 vmimg digest x.vhdx
	[[ $stderr == *$guid* ]]
	cp a.vhdx x.vhdx
	vhdxpy item x.vhdx $guid 4
	refused 9 vmimg digest x.vhdx
	cp a.vhdx x.vhdx
	vhdxpy item x.vhdx $guid 2
	run vmimg digest x.vhdx
	assert_success
}

@test "one damaged header or region table: the other serves, and repairs it" {
	random_image a.raw $SIZE 2 10
	vmimg convert a.raw a.vhdx
	local at
	for at in 65600 131136 196700 262200; do
		cp a.vhdx x.vhdx
		patch_bytes x.vhdx $at ff
		vmimg compare -q a.raw x.vhdx || fail "$at"
		run vmimg check x.vhdx
		assert_failure 8
		assert_output --partial damaged
		vmimg check -q --repair x.vhdx >/dev/null
		clean x.vhdx
		qemu-img compare -q -f vhdx -F raw x.vhdx a.raw
	done
	patch_bytes x.vhdx 65600 ff
	patch_bytes x.vhdx 131136 ff
	refused 8 vmimg info x.vhdx
}

@test "hostile tables are refused with the offset" {
	vmimg create a.vhdx 4M
	random_image a.raw 4194304 2 10
	vmimg convert --force a.raw a.vhdx
	cp a.vhdx x.vhdx
	vhdxpy bat x.vhdx 0 0x7fffffff00006
	refused 8 vmimg digest x.vhdx
	run vmimg check x.vhdx
	assert_failure 8
	cp a.vhdx x.vhdx
	vhdxpy bat x.vhdx 0 0x100006
	run vmimg check x.vhdx
	assert_output --partial "over each other"
	for v in 0x400005 0x400004 0x400007 0x40000e; do
		vhdxpy bat x.vhdx 0 $v
		refused 8 vmimg digest x.vhdx
	done
	cp a.vhdx x.vhdx # block size 3 MiB, a disk of 1 EiB, sectors of 1024
	patch_bytes x.vhdx $((2097152 + 65536)) 00003000
	refused 8 vmimg info x.vhdx
	cp a.vhdx x.vhdx
	patch_bytes x.vhdx $((2097152 + 65544)) 0000000000000010
	refused 8 vmimg info x.vhdx
	cp a.vhdx x.vhdx
	patch_bytes x.vhdx $((2097152 + 65568)) 00040000
	refused 8 vmimg info x.vhdx
	head -c 400000 a.vhdx >x.vhdx
	refused 8 vmimg info x.vhdx
	head -c 1000 a.vhdx >x.vhdx
	refused 8 vmimg info x.vhdx
}

@test "the same bytes from the same content, whatever the threads and the source format" {
	random_image a.raw $SIZE 5 60
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	for o in subformat=dynamic subformat=fixed; do
		vmimg convert --force --threads 1 -o $o a.raw 1.vhdx
		vmimg convert --force --threads 4 -o $o a.qcow2 4.vhdx
		assert_same_bytes 1.vhdx 4.vhdx
	done
	printf x | dd of=a.raw bs=1 seek=9999999 conv=notrunc status=none
	vmimg convert --force a.raw 2.vhdx
	[ "$(vhdxpy guid 1.vhdx)" != "$(vhdxpy guid 2.vhdx)" ]
	vmimg convert -O vhdx a.raw - >p.vhdx
	assert_same_bytes 2.vhdx p.vhdx
	vmimg convert -O raw - b.raw <p.vhdx
	assert_same_bytes a.raw b.raw
}
