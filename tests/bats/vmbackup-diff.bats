#!/usr/bin/env bats
# vmbackup diff: what it says of two snapshots is what comparing the disks byte by byte says.
load common
load vmbackup

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption --parity 0
}

# oracle A B - "OFFSET LENGTH" of each range of 4 KiB blocks that differs; the shorter file is followed by zeros
oracle() {
	python3 - "$1" "$2" <<-'E'
		import os, sys
		a, b = (open(name, "rb") for name in sys.argv[1:])
		size = max(os.path.getsize(name) for name in sys.argv[1:])
		start = end = 0
		for off in range(0, size, 4096):
		    x, y = a.read(4096), b.read(4096)
		    n = min(4096, size - off)
		    if x.ljust(n, b"\0") != y.ljust(n, b"\0"):
		        if end != off or start == end:
		            if end > start:
		                print(start, end - start)
		            start = off
		        end = off + n
		if end > start:
		    print(start, end - start)
	E
}

# backup FILE - as machine m, disk vda; prints the snapshot's id
backup() { vmbackup backup --json --vm m "vda=$1" | jq -r .snapshot; }

# assert_ranges A B ID_A ID_B - the ranges of the snapshots are those of the files
assert_ranges() {
	oracle "$1" "$2" >want
	run --separate-stderr vmbackup diff --json --extents "m@$3" "m@$4"
	[ ! -s want ] || assert_status 3
	assert_schema vmbackup-diff
	json '.disks[0].extents[] | "\(.offset) \(.length)"' >got
	diff want got
	[ "$(json '.disks[0].changed_bytes')" = "$(awk '{ n += $2 } END { print n + 0 }' want)" ]
	[ "$(json '.disks[0].ranges')" = "$(wc -l <want)" ]
}

@test "ranges: changes in place, moved data, zeros, holes" {
	local a b i
	random_image a.raw 50001000 3 60
	a=$(backup a.raw)
	run vmbackup diff "m@$a" "m@latest"
	assert_success
	assert_output ''
	cp a.raw b.raw
	for i in 1 700 701 5000 12000; do
		random_bytes $i 100 | dd of=b.raw bs=4096 seek=$i conv=notrunc status=none
	done
	truncate -s 33000000 b.raw
	truncate -s 50001000 b.raw
	random_bytes 9 3000000 | dd of=b.raw bs=4096 seek=2100 conv=notrunc status=none
	b=$(backup b.raw)
	assert_ranges a.raw b.raw "$a" "$b"
	[ "$(wc -l <want)" -gt 5 ]
	assert_ranges b.raw a.raw "$b" "$a"
	run vmbackup diff --extents "m@$a" "m@$b"
	assert_status 3
	assert_output "$(sed 's/^/vda /' want)"
	run vmbackup diff "m@$a" "m@$b"
	assert_status 3
	assert_line --index 1 --regexp '^vda +changed '
	run vmbackup diff -q "m@$a" "m@$b"
	assert_status 3
	assert_output ''
	# the same bytes four blocks further on: other places, and mostly the same chunks
	{ head -c 16384 /dev/zero; head -c 49984616 a.raw; } >b.raw
	b=$(backup b.raw)
	assert_ranges a.raw b.raw "$a" "$b"
}

@test "ranges: disks that grow, shrink, and trees of other heights" {
	local a b size
	random_bytes 4 3000000 >a.raw
	a=$(backup a.raw)
	for size in 3000001 16777216 16777217 70000000; do
		cp a.raw b.raw
		truncate -s $size b.raw
		printf x | dd of=b.raw bs=1 seek=$((size - 1)) conv=notrunc status=none
		b=$(backup b.raw)
		assert_ranges a.raw b.raw "$a" "$b"
		assert_ranges b.raw a.raw "$b" "$a"
	done
	# 5 GiB: two levels above the leaves. The oracle would read it all: one range is at its start, one at its end.
	truncate -s 5G b.raw
	printf x | dd of=b.raw bs=1 seek=5368700000 conv=notrunc status=none
	b=$(backup b.raw)
	run vmbackup diff --extents "m@$a" "m@$b"
	assert_status 3
	assert_output "vda 69996544 4096
vda 5368696832 4096"
	# only zeros more: nothing differs but the size, which is a change
	cp a.raw b.raw
	truncate -s 20000000 b.raw
	b=$(backup b.raw)
	run vmbackup diff --json "m@$a" "m@$b"
	assert_status 3
	[ "$(json '.disks[0] | "\(.status) \(.changed_bytes) \(.size_a) \(.size_b)"')" = 'changed 0 3000000 20000000' ]
}

@test "several disks: same, changed, added, removed; one of them by name" {
	local i
	for i in 1 2 3 4; do random_bytes $i 200000 >$i.raw; done
	vmbackup backup --vm m root=1.raw data=2.raw old=3.raw
	vmbackup backup --vm m root=1.raw data=4.raw new=3.raw
	local ids
	mapfile -t ids < <(vmbackup list --json | jq -r '.[].id')
	run --separate-stderr vmbackup diff --json "${ids[0]}" "${ids[1]}"
	assert_status 3
	assert_schema vmbackup-diff
	[ "$(json '.disks | map(.name + " " + .status) | join(",")')" = 'root same,data changed,old removed,new added' ]
	[ "$(json .equal)" = false ]
	run vmbackup diff "m@${ids[0]}:root" "m@${ids[1]}:root"
	assert_success
	run vmbackup diff "m@${ids[0]}:old" "m@${ids[1]}:new"
	assert_success
	refused 2 vmbackup diff "m@${ids[0]}:old" "m@${ids[1]}"
	refused 4 vmbackup diff "m@${ids[0]}:old" "m@${ids[1]}:old"
	refused 4 vmbackup diff "m@${ids[0]}" m@00000000
	refused 4 vmbackup diff nobody "m@${ids[0]}"
}

@test "against an image" {
	require qemu-img qemu-io
	local a
	random_image a.raw 20000256 5 40
	a=$(backup a.raw)
	qemu-img convert -f raw -O qcow2 a.raw m.qcow2
	run vmbackup diff m m.qcow2
	assert_success
	qemu-io -f qcow2 -c 'write -P 7 8192 4096' -c 'write -z 1M 64k' m.qcow2 >/dev/null
	qemu-img convert -f qcow2 -O raw m.qcow2 b.raw
	run vmbackup diff -x "m@$a:vda" m.qcow2
	assert_status 3
	assert_output "$(oracle a.raw b.raw | sed 's/^/vda /')"
	run --separate-stderr vmbackup diff --json m ./m.qcow2
	assert_status 3
	assert_schema vmbackup-diff
	[ "$(json .snapshot_b)" = null ]
	# a snapshot comes first; with a '/' it is the file
	cp b.raw m
	run vmbackup diff "m@$a" m
	assert_success
	run vmbackup diff "m@$a" ./m
	assert_status 3
	refused 4 vmbackup diff m missing.raw
	refused 4 vmbackup diff m ./missing.raw
}

@test "what is the same is not read, and what is read is checked" {
	local a b pack
	random_bytes 6 20000000 >a.raw
	a=$(vmbackup backup --threads 1 --json --vm m a.raw | jq -r .snapshot)
	pack=$(biggest_pack)
	random_bytes 7 65536 | dd of=a.raw bs=1M seek=10 conv=notrunc status=none
	b=$(backup a.raw)
	flip "$pack" "$(payload "$pack" 1)"
	run vmbackup diff -x "m@$a" "m@$b"
	assert_status 3
	assert_output 'vda 10485760 65536'
	local i
	for i in 8 9 10 11 12; do flip "$pack" "$(payload "$pack" $i)"; done
	run --separate-stderr vmbackup diff "m@$a" "m@$b"
	assert_status 8
	assert_output ''
}
