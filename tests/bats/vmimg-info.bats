#!/usr/bin/env bats
# vmimg info, check and map: JSON against the schemas and against qemu-img; what people read.

load common

setup() {
	common_setup
	qemu-img create -q -f qcow2 base.qcow2 64M
	qemu-io -c "write -P 1 0 1M" -c "write -P 2 5M 64k" base.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
	qemu-io -c "write -P 3 512k 256k" -c "write -z 2M 1M" -c "write -c -P 7 4M 256k" top.qcow2 >/dev/null
}

@test "info: JSON agrees with qemu-img" {
	qemu-img snapshot -c s1 top.qcow2
	qemu-img bitmap --add top.qcow2 b0
	for f in base.qcow2 top.qcow2; do
		run_split vmimg info --json $f
		assert_status 0
		[ -z "$stderr" ]
		assert_schema vmimg-info
		qemu-img info --output=json $f >q.json
		for pair in virtual_size:virtual-size actual_size:actual-size cluster_size:cluster-size \
			backing_file:backing-filename backing_format:backing-filename-format format:format; do
			[ "$(json ".${pair%:*}")" = "$(jq -r ".\"${pair#*:}\"" q.json)" ]
		done
		[ "$(json .format_specific.compat)" = "$(jq -r '."format-specific".data.compat' q.json)" ]
		[ "$(json .format_specific.refcount_bits)" = "$(jq -r '."format-specific".data."refcount-bits"' q.json)" ]
	done
	[ "$(json '.snapshots[0].name')" = s1 ]
	[ "$(json '.format_specific.bitmaps[0] | "\(.name) \(.consistent)"')" = "b0 true" ]
}

@test "info: every kind of qcow2 fits the schema" {
	for o in compat=0.10 compat=1.1 refcount_bits=1 refcount_bits=64 cluster_size=512 cluster_size=2M \
		lazy_refcounts=on extended_l2=on compression_type=zstd data_file=x.data; do
		rm -f x.qcow2 x.data
		qemu-img create -q -f qcow2 -o $o x.qcow2 16M
		run_split vmimg info --json x.qcow2
		assert_status 0
		assert_schema vmimg-info
		[ "$(json .virtual_size)" = 16777216 ]
	done
	truncate -s 1M a.raw
	run_split vmimg info --json a.raw
	assert_schema vmimg-info
	[ "$(json .format)" = raw ]
}

@test "info --chain: all layers, top first" {
	run_split vmimg info --chain --json top.qcow2
	assert_status 0
	assert_schema vmimg-info
	[ "$(json 'length')" = 2 ]
	[ "$(json '.[0].name')" = top.qcow2 ]
	[[ $(json '.[1].name') == */base.qcow2 ]]
	run_split vmimg info --chain --json=lines top.qcow2
	[ "${#lines[@]}" = 2 ]
	run_split vmimg info --chain top.qcow2
	[ "$(grep -c '^format  *qcow2' <<<"$output")" = 2 ]
	rm base.qcow2
	vmimg info top.qcow2 # the backing file is not opened
	refused 4 vmimg info --chain top.qcow2
}

@test "info: a chain that leaves its folder needs --allow-backing" {
	mkdir sub
	qemu-img create -q -f qcow2 -b "$PWD/base.qcow2" -F qcow2 sub/top.qcow2
	refused 12 vmimg info --chain sub/top.qcow2
	vmimg info --chain --allow-backing "$PWD" sub/top.qcow2
	refused 12 vmimg map sub/top.qcow2
	vmimg map --allow-backing "$PWD" sub/top.qcow2
}

@test "info for people" {
	run_split vmimg info top.qcow2
	assert_status 0
	[[ $output == *"virtual size   64.0 MiB (67108864 bytes)"* ]]
	[[ $output == *"backing file   base.qcow2 (qcow2)"* ]]
	refused 8 vmimg info -f qcow2 "$ROOT/LICENSE"
	refused 2 vmimg info -f qcow3 top.qcow2
}

# as_qemu - our map on standard input in the terms of qemu-img map
as_qemu() { jq -c '.[] | [.offset, .length, .depth, .kind == "data", .kind != "data", .host_offset]'; }
of_qemu() { jq -c '.[] | [.start, .length, .depth, .data, .zero, .offset]'; }

@test "map: agrees with qemu-img map" {
	for f in base.qcow2 top.qcow2; do
		run_split vmimg map --json $f
		assert_status 0
		assert_schema vmimg-map
		qemu-img map --output=json $f >q.json
		diff <(as_qemu <<<"$output") <(of_qemu <q.json)
	done
	run_split vmimg map --json --start-offset 100k --max-length=5M top.qcow2
	qemu-img map --output=json --start-offset=100k --max-length=5M top.qcow2 >q.json
	diff <(as_qemu <<<"$output") <(of_qemu <q.json)
}

@test "map: lines, ranges, data alone, table" {
	run_split vmimg map --json=lines top.qcow2
	assert_schema vmimg-map
	[ "$(jq -s 'map(.length) | add' <<<"$output")" = 67108864 ]
	[ "$(jq -sr '.[] | select(.codec) | .codec' <<<"$output")" = deflate ]
	run_split vmimg map --json=lines --data base.qcow2
	[ "$(jq -s 'map(.length) | add' <<<"$output")" = $((1048576 + 65536)) ]
	run_split vmimg map --json -s 64M top.qcow2
	[ "$output" = "[]" ]
	assert_schema vmimg-map
	refused 2 vmimg map -s 65M top.qcow2
	refused 2 vmimg map -s -1 top.qcow2
	run_split vmimg map top.qcow2
	[[ ${lines[0]} == *OFFSET*LENGTH*KIND*DEPTH*FILE* ]]
	[ "${#lines[@]}" = 11 ]
	qemu-img snapshot -c s1 base.qcow2
	qemu-io -c "write -P 9 32M 64k" base.qcow2 >/dev/null
	[ "$(vmimg map --json --data --snapshot s1 base.qcow2 | jq 'map(.length) | add')" = $((1048576 + 65536)) ]
	refused 4 vmimg map --snapshot none base.qcow2
}

@test "check: clean, leaks, repair" {
	run_split vmimg check --json top.qcow2
	assert_status 0
	assert_schema vmimg-check
	qemu-img check --output=json top.qcow2 >q.json
	[ "$(json .allocated_clusters)" = "$(jq '."allocated-clusters"' q.json)" ]
	[ "$(json .total_clusters)" = "$(jq '."total-clusters"' q.json)" ]
	run_split vmimg check -q top.qcow2
	[ -z "$output$stderr" ]
	# One cluster more that nothing refers to: a leak, and no corruption
	python3 - base.qcow2 <<-'END'
		import struct, sys
		f = open(sys.argv[1], 'r+b')
		d = f.read()
		table = struct.unpack('>Q', d[48:56])[0]
		block = struct.unpack('>Q', d[table:table + 8])[0]
		last = (len(d) + 65535) // 65536
		f.seek(block + 2 * last)
		f.write(b'\0\1')
		f.truncate((last + 1) * 65536)
	END
	run_split vmimg check --json base.qcow2
	assert_status 8
	[ -z "$stderr" ]
	assert_schema vmimg-check
	[ "$(json '"\(.clean) \(.leaks) \(.corruptions) \(.faults | length)"')" = "false 1 0 1" ]
	run_split vmimg check base.qcow2
	assert_status 8
	[[ $output == *"1 leaked cluster found"* ]]
	refused 2 vmimg check --repair -U base.qcow2
	refused 2 vmimg check --repair=some base.qcow2
	run_split vmimg check --repair=leaks --json base.qcow2
	assert_status 0
	assert_schema vmimg-check
	[ "$(json '"\(.clean) \(.leaks) \(.leaks_fixed)"')" = "true 0 1" ]
	qemu-img check -q base.qcow2
	vmimg check --deep base.qcow2
}

@test "check: raw has nothing to check" {
	truncate -s 1M a.raw
	refused 9 vmimg check -f raw a.raw
}
