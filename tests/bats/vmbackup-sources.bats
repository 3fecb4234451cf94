#!/usr/bin/env bats
# vmbackup backup: what disks can be read from, and what the snapshot says of them and of their machine.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
}

teardown() {
	[ ! -s pid ] || kill "$(cat pid)" 2>/dev/null || true
	[ ! -s loop ] || losetup -d "$(cat loop)"
}

disk() { vmbackup show --json "$1" | jq -r ".disks[0].$2"; }

@test "one machine: qcow2 with a chain, VMDK, an NBD export and a pipe in one snapshot" {
	require qemu-img qemu-nbd
	local i
	random_image base.raw 30000128 1 30
	qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2
	qemu_writes a.qcow2 qcow2 29999616 2 20
	qemu-img convert -O raw a.qcow2 a.raw
	random_image b.raw 20000256 3 30
	truncate -s 20000768 b.raw
	qemu-img convert -O vmdk b.raw b.vmdk
	random_image c.raw 10000384 4 30
	qemu-nbd -r -t -e 9 -f raw -x data -k "$PWD/c.sock" --fork --pid-file=pid c.raw
	random_image d.raw 5000001 5 20
	output=$(cat d.raw | vmbackup backup --json --vm web --tag nightly --description 'before the update' \
		a.qcow2 b.vmdk "nbd=nbd+unix:///data?socket=$PWD/c.sock" dump=-)
	assert_schema vmbackup-backup
	[ "$(json '.disks | join(",")')" = vda,vdb,nbd,dump ]
	run vmbackup show --json web
	assert_schema vmbackup-show
	[ "$(json '.disks | map(.source_kind) | join(",")')" = file,file,nbd,stream ]
	[ "$(json '.disks | map(.consistency) | join(",")')" = offline,offline,unknown,unknown ]
	[ "$(json '.disks | map(.format) | join(",")')" = qcow2,vmdk,raw,raw ]
	[ "$(json .description)" = 'before the update' ]
	for i in vda:a vdb:b nbd:c dump:d; do
		vmbackup restore "web:${i%:*}" - | cmp - "${i#*:}.raw"
	done
	run vmbackup list --json
	assert_schema vmbackup-list
	[ "$(json '.[0].disks[2].source')" = "nbd+unix:///data?socket=$PWD/c.sock" ]
	run vmbackup show web
	assert_success
	assert_line 'state     unknown'
	assert_line 'about     before the update'
}

@test "a block device" {
	require_root
	random_image a.raw 12000256 6 30
	truncate -s 12001280 a.raw
	losetup -f --show a.raw >loop || skip "no loop devices"
	vmbackup backup --vm b "$(cat loop)"
	[ "$(disk b source_kind)" = 'block device' ]
	[ "$(disk b consistency)" = unknown ]
	[ "$(disk b size)" = 12001280 ]
	vmbackup restore b - | cmp - a.raw
	vmbackup backup --vm b --consistency crash "$(cat loop)"
	[ "$(disk b consistency)" = crash ]
	refused 2 vmbackup backup --vm b --consistency perfect a.raw
}

@test "a disk in a package, a disk of another snapshot, an image in use" {
	require qemu-io
	random_image a.raw 9000448 7 30
	vmimg convert a.raw a.ova
	vmbackup backup --vm p ova:a.ova#1
	vmbackup restore p out.raw
	cmp -n 9000448 out.raw a.raw
	vmbackup backup --vm again "repo:repo#p@latest"
	[ "$(disk again source_kind)" = repository ]
	[ "$(disk again consistency)" = offline ]
	[ "$(disk again root)" = "$(disk p root)" ]
	mkfifo hold
	qemu-io -f raw a.raw <hold >/dev/null 3>&- &
	local holder=$!
	exec 8>hold
	wait_for locked a.raw
	refused 6 vmbackup backup --vm used a.raw
	vmbackup backup --vm used -U a.raw
	exec 8>&-
	wait $holder
	[ "$(disk used consistency)" = none ]
}

@test "what describes the machine goes in and comes out" {
	random_image a.raw 1000000 8 5
	printf '<domain type="kvm">\n  <name>w\xc3\xb6b</name>\n</domain>\n' >web.xml
	vmbackup backup --vm web --machine web.xml a.raw
	vmbackup show web --machine | cmp - web.xml
	[ "$(vmbackup show web --json | jq -r .machine)" = "$(cat web.xml)" ]
	[ "$(vmbackup list --json | jq '.[0] | has("machine")')" = false ]
	run vmbackup show web
	assert_line "described in $(stat -c %s web.xml) bytes: show --machine prints them"
	cat web.xml | vmbackup backup --vm web --machine - a.raw
	vmbackup show web --machine | cmp - web.xml
	vmbackup backup --vm web a.raw
	refused 4 vmbackup show web --machine
	refused 2 vmbackup backup --vm web --machine - - <web.xml
	refused 4 vmbackup backup --vm web --machine nothing.xml a.raw
	: >empty
	refused 2 vmbackup backup --vm web --machine empty a.raw
	printf 'a\xff' >latin
	refused 2 vmbackup backup --vm web --machine latin a.raw
	printf 'a\0b' >nul
	refused 2 vmbackup backup --vm web --machine nul a.raw
	head -c 1048576 /dev/zero | tr '\0' x >large
	vmbackup backup --vm web --machine large a.raw
	vmbackup show web --machine | cmp - large
	echo >>large
	refused 2 vmbackup backup --vm web --machine large a.raw
	refused 2 vmbackup backup --vm web --description "$(head -c 4097 /dev/zero | tr '\0' x)" a.raw
	run vmbackup verify
	assert_success
}
