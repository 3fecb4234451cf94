#!/usr/bin/env bats
# vmimg compare against qemu-img compare and cmp.
load common

setup() {
	common_setup
	random_image a.raw 10000384 3 40
}

@test "equal images say nothing" {
	vmimg convert a.raw a.qcow2
	run vmimg compare a.raw a.qcow2
	assert_success
	assert_output ""
	run vmimg compare a.raw a.raw
	assert_success
	run vmimg compare --json a.raw a.qcow2
	assert_schema vmimg-compare
	[ "$(json .equal)" = true ]
	[ "$(json .first_difference)" = null ]
}

@test "the first difference, at any place and number of threads" {
	local at n
	for at in 0 1 4095 4096 65537 5000000 10000383; do
		cp a.raw b.raw
		python3 -c 'import sys
f = open("b.raw", "r+b"); at = int(sys.argv[1]); f.seek(at); c = f.read(1)[0]; f.seek(at); f.write(bytes([c ^ 1]))
f.seek(10000383); f.write(b"\xfe")' $at
		for n in 1 2 8; do
			run vmimg compare --json --threads $n a.raw b.raw
			assert_status 3
			[ "$(json .first_difference)" = $at ]
		done
		assert_schema vmimg-compare
	done
	run vmimg compare a.raw b.raw
	assert_output --partial "differ at offset 10000383"
}

@test "--all counts blocks" {
	cp a.raw b.raw
	local at
	for at in 0 40960 40961 9000000; do patch_bytes b.raw $at a5a5; done
	cp a.raw c.raw
	for at in 0 40960 40961 9000000; do patch_bytes c.raw $at 5a5a; done
	run vmimg compare --all --json b.raw c.raw
	assert_status 3
	assert_schema vmimg-compare
	[ "$(json .differing_bytes)" = 12288 ]
}

@test "sizes: a rest of zeros, a rest of data, --strict" {
	cp a.raw b.raw
	truncate -s 20000000 b.raw
	vmimg compare a.raw b.raw
	vmimg compare b.raw a.raw
	run vmimg compare --strict --json a.raw b.raw
	assert_status 3
	[ "$(json .first_difference)" = 10000384 ]
	[ "$(json .size_b)" = 20000000 ]
	patch_bytes b.raw 15000000 01
	run vmimg compare --json a.raw b.raw
	assert_status 3
	[ "$(json .first_difference)" = 15000000 ]
}

@test "overlays of one base, pipes, errors" {
	require qemu-img
	qemu-img create -q -f qcow2 -b a.raw -F raw x.qcow2
	qemu-img create -q -f qcow2 -b a.raw -F raw y.qcow2
	vmimg compare x.qcow2 y.qcow2
	cat a.raw | vmimg compare -f raw - x.qcow2
	refused 4 vmimg compare a.raw nothing.raw
	refused 2 vmimg compare a.raw
	assert_clean
}

@test "agrees with qemu-img on random images" {
	require qemu-img
	local i
	for i in 1 2 3 4 5; do
		random_image x.raw 3000320 1 12
		random_image y.raw 3000320 $((i / 2)) 12
		local ours=0 theirs=0
		vmimg compare x.raw y.raw >/dev/null || ours=$?
		qemu-img compare -f raw -F raw x.raw y.raw >/dev/null || theirs=$?
		[ "$((ours != 0))" = "$((theirs != 0))" ]
		rm x.raw y.raw
	done
}
