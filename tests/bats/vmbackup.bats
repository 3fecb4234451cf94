#!/usr/bin/env bats
# vmbackup from end to end: what comes back is what went in, whatever the source and the target are.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
}

# Files changed a moment ago are read again by the next backup; tests of that rule make them old.
age() { touch -d '1 hour ago' "$@"; }

@test "backup and restore: raw, every target" {
	require qemu-img
	random_image a.raw 70000128 5 60
	run vmbackup backup --vm web a.raw
	assert_success
	assert_output ''
	run vmbackup restore web@latest b.raw
	assert_success
	assert_output ''
	assert_same_bytes a.raw b.raw
	vmbackup restore web b.qcow2
	assert_qemu_clean b.qcow2
	assert_same_disk a.raw b.qcow2 raw qcow2
	vmbackup restore -O qcow2 -czstd:3 --verify web c.img
	assert_same_disk a.raw c.img raw qcow2
	vmbackup restore web - | cmp - a.raw
	[ $(($(stat -c '%b * %B' b.raw))) -le $(($(stat -c '%b * %B' a.raw) + 4096)) ] || fail "not sparse"
	assert_clean
}

@test "sizes: nothing, one byte, odd, around a region, all zeros" {
	local size n=0
	for size in 0 1 511 4096 4097 16777215 16777216 16777217 50331649; do
		n=$((n + 1))
		random_bytes $n $size >a.raw
		vmbackup backup --vm "m$n" a.raw
		vmbackup restore "m$n" out$n.raw
		assert_same_bytes a.raw out$n.raw
	done
	truncate -s 5G zero.raw
	run vmbackup backup --json --vm zero zero.raw
	[ "$(json .data_bytes)" = 0 ]
	[ "$(json .stored_bytes)" = 0 ]
	vmbackup restore zero zero2.raw
	[ "$(stat -c %s zero2.raw)" = 5368709120 ]
	[ "$(stat -c %b zero2.raw)" = 0 ]
	run vmbackup verify
	assert_success
	assert_output ''
}

@test "qcow2 written by QEMU, with a backing file and small clusters" {
	require qemu-img qemu-io
	qemu-img create -q -f qcow2 -o cluster_size=512 base.qcow2 40M
	qemu_writes base.qcow2 qcow2 41943040 7 80
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 60M
	qemu_writes top.qcow2 qcow2 62914560 8 80
	vmbackup backup --vm q base.qcow2 top.qcow2
	run vmbackup show --json q
	assert_schema vmbackup-show
	[ "$(json '.disks | map(.name) | join(",")')" = vda,vdb ]
	[ "$(json '.disks[1].files | length')" = 2 ]
	vmbackup restore q:vda base.raw
	vmbackup restore q@latest:vdb top.raw
	assert_same_disk base.qcow2 base.raw qcow2 raw
	assert_same_disk top.qcow2 top.raw qcow2 raw
	refused 2 vmbackup restore q other.raw
	refused 4 vmbackup restore q:vdc other.raw
	assert_not_exists other.raw
}

@test "standard input, of unknown size" {
	random_image a.raw 50001000 9 30
	cat a.raw | vmbackup backup --vm pipe root=-
	vmbackup backup --vm file a.raw
	vmbackup restore pipe:root out.raw
	assert_same_bytes a.raw out.raw
	# The same tree, whatever way it came in.
	[ "$(vmbackup show --json pipe | jq -r '.disks[0].root')" = "$(vmbackup show --json file | jq -r '.disks[0].root')" ]
	: | vmbackup backup --vm empty -
	vmbackup restore empty empty.raw
	[ "$(stat -c %s empty.raw)" = 0 ]
	refused 2 vmbackup backup --vm x - -
}

@test "the second backup stores what changed, of any machine" {
	random_bytes 1 30000000 >a.raw
	vmbackup backup --vm one a.raw
	random_bytes 2 65536 | dd of=a.raw bs=64k seek=100 conv=notrunc status=none
	run vmbackup backup --json --vm one a.raw
	assert_schema vmbackup-backup
	[ "$(json .read_bytes)" = 30000000 ]
	[ "$(json .new_bytes)" -ge 65536 ]
	[ "$(json .new_bytes)" -le 700000 ]
	[ "$(json .stored_bytes)" -le 800000 ]
	cp a.raw b.raw
	# What was stored as a delta is no chunk for others: it is stored once more, for all of them.
	run vmbackup backup --json --vm two b.raw
	# How many chunks that is, is the key's business.
	[ "$(json .new_bytes)" -le 700000 ]
	run vmbackup backup --json --vm three b.raw
	[ "$(json .new_chunks)" = 0 ]
	[ "$(json .stored_bytes)" = 0 ]
	vmbackup restore one now.raw
	assert_same_bytes a.raw now.raw
}

@test "threads and runs give the same tree" {
	random_image a.raw 60000000 11 80
	local n roots=
	for n in 1 2 5; do
		vmbackup backup --full --threads $n --vm t a.raw
		roots+="$(vmbackup show --json t | jq -r '.disks[0].root') "
	done
	[ "$(tr ' ' '\n' <<<"$roots" | sort -u | wc -w)" = 1 ] || fail "$roots"
}

@test "an unchanged file is not read again; a changed or fresh one is" {
	random_image a.raw 20000000 12 20
	age a.raw
	sleep 0.1
	vmbackup backup --vm m a.raw
	# ctime cannot be set back: within two seconds of the change nothing is trusted.
	run vmbackup backup --json --vm m a.raw
	[ "$(json .read_bytes)" -gt 0 ]
	sleep 3.2
	vmbackup backup --vm m a.raw
	run vmbackup backup --json --vm m a.raw
	[ "$(json .read_bytes)" = 0 ]
	[ "$(vmbackup show --json m | jq -r '.disks[0].change_source')" = 'unchanged file' ]
	run vmbackup backup --json --full --vm m a.raw
	[ "$(json .read_bytes)" -gt 0 ]
	# The same size and mtime, other bytes: ctime tells.
	printf x | dd of=a.raw bs=1 seek=12345 conv=notrunc status=none
	age a.raw
	run vmbackup backup --json --vm m a.raw
	[ "$(json .read_bytes)" -gt 0 ]
	vmbackup restore m out.raw
	assert_same_bytes a.raw out.raw
}

@test "a dry run stores nothing" {
	random_image a.raw 20000000 13 20
	run vmbackup backup --dry-run --json --vm m a.raw
	assert_success
	assert_schema vmbackup-backup
	[ "$(json .new_bytes)" -gt 0 ]
	[ "$(json .snapshot)" = null ]
	run vmbackup list
	assert_success
	assert_output ''
}

@test "list, show, tags, names" {
	random_image a.raw 1000000 14 5
	vmbackup backup --vm web --tag weekly --tag 'with space' a.raw
	vmbackup backup --vm db a.raw
	vmbackup backup --vm web a.raw
	run vmbackup list
	assert_success
	assert_line --index 0 --regexp '^ID +MACHINE +TIME'
	[ "${#lines[@]}" = 4 ]
	run vmbackup list --json
	assert_schema vmbackup-list
	[ "$(json 'map(.vm) | join(",")')" = web,db,web ]
	[ "$(json 'map(.seq) | join(",")')" = 1,2,3 ]
	local first
	first=$(json '.[0].id')
	[ "$(json '.[2].parent')" = "$first" ]
	run vmbackup list --json=lines web
	[ "$(wc -l <<<"$output")" = 2 ]
	run vmbackup list --json --tag weekly
	[ "$(json length)" = 1 ]
	run vmbackup show "web@${first:0:6}"
	assert_success
	assert_line "snapshot  $first"
	assert_line 'tags      weekly, with space'
	run vmbackup show "$first"
	assert_line "snapshot  $first"
	run vmbackup show --json web@latest
	[ "$(json .seq)" = 3 ]
	run vmbackup show --json "web@$(date +%Y-%m-%d)"
	[ "$(json .seq)" = 3 ]
	run vmbackup show --json "web@$(date -u +%Y-%m-%dT23:59Z)"
	[ "$(json .seq)" = 3 ]
	refused 4 vmbackup show web@2001-01-01
	refused 4 vmbackup show web@2001-01-01T10:00
	refused 4 vmbackup show nobody
	refused 4 vmbackup show web@00000000
	refused 2 vmbackup show web@whenever
	refused 2 vmbackup show 'we b'
}

@test "what is refused" {
	random_image a.raw 1000000 15 5
	refused 2 vmbackup backup a.raw
	refused 2 vmbackup backup --vm ../x a.raw
	refused 2 vmbackup backup --vm x vda=a.raw vda=a.raw
	refused 4 vmbackup backup --vm x missing.raw
	refused 5 vmbackup init --no-encryption
	refused 4 vmbackup -r "$PWD/nothing" list
	vmbackup backup --vm x a.raw
	echo keep >target.raw
	refused 5 vmbackup restore x target.raw
	[ "$(cat target.raw)" = keep ]
	vmbackup restore --force x target.raw
	assert_same_bytes a.raw target.raw
	refused 4 vmbackup restore y other
	run vmbackup restore --json x -
	assert_status 2
	refused 2 vmbackup restore -o nothing x other.qcow2
	refused 2 vmbackup restore -clzma x other.qcow2
	unset VMKIT_REPOSITORY
	refused 2 vmbackup list
	run vmbackup list -r repo
	assert_success
}

@test "a full target leaves nothing under its name" {
	require_root
	random_bytes 3 8000000 >a.raw
	vmbackup backup --vm m a.raw
	mkdir small
	mount -t tmpfs -o size=2m tmpfs small
	run --separate-stderr vmbackup restore m small/out.raw
	local files
	files=$(ls -A small)
	umount small
	assert_status 13
	[ -z "$files" ] || fail "left: $files"
}

@test "digest and verify of a restore" {
	random_image a.raw 9000000 16 30
	vmbackup backup --vm m a.raw
	run vmbackup restore --digest sha256 --verify m out.qcow2
	assert_success
	assert_output "$(sha256 a.raw)  out.qcow2"
	run vmbackup restore --digest sha256 --json m out.raw
	assert_schema vmbackup-restore
	[ "$(json .digest)" = "$(sha256 a.raw)" ]
	vmbackup restore --digest sha256 m - 2>digest | cmp - a.raw
	[ "$(cut -d' ' -f1 digest)" = "$(sha256 a.raw)" ]
}

@test "several machines at the same time" {
	local i pids=()
	for i in 1 2 3 4; do
		random_image d$i.raw 15000000 $((20 + i)) 30
		vmbackup backup --vm m$i d$i.raw &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	run vmbackup list --json
	[ "$(json length)" = 4 ]
	[ "$(json 'map(.seq) | sort | join(",")')" = 1,2,3,4 ]
	for i in 1 2 3 4; do
		vmbackup restore m$i out$i.raw
		assert_same_bytes d$i.raw out$i.raw
	done
	run vmbackup verify
	assert_success
}

@test "ten generations of a changing qcow2, each as it was" {
	require qemu-img qemu-io
	local i ids=
	qemu-img create -q -f qcow2 a.qcow2 50M
	for i in 0 1 2 3 4 5 6 7 8 9; do
		qemu_writes a.qcow2 qcow2 52428800 $((60 + i)) 15
		[ $i != 5 ] || qemu-img resize -q a.qcow2 77777920
		vmbackup backup --vm g a.qcow2
		qemu-img convert -O raw a.qcow2 a$i.raw
	done
	mapfile -t ids < <(vmbackup list --json g | jq -r '.[].id')
	for i in "${!ids[@]}"; do
		vmbackup restore --force "g@${ids[i]}" out.raw
		assert_same_disk "a$i.raw" out.raw raw raw
	done
	run vmbackup verify
	assert_success
}
