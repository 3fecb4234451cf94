# vmsnap on disk files: internal snapshots held against qemu-img, reflinks on a loop-mounted XFS, kills, retention.
# bats file_tags=slow

setup() {
	load common
	common_setup
	require qemu-img qemu-io jq python3
}

teardown() { ! mountpoint -q m 2>/dev/null || umount m; }

# disk OPTIONS... - 8 MiB of qcow2 with data
disk() {
	rm -rf d.qcow2 d.qcow2.snap
	qemu-img create -q -f qcow2 "$@" d.qcow2 8M
	qemu-io -c "write -q -P 1 0 3M" -c "write -q -P 2 5M 300k" d.qcow2
}

# xfs - a file system that shares blocks, at m
xfs() {
	require_root
	require mkfs.xfs
	truncate -s 400M fs
	mkfs.xfs -q -m reflink=1 fs
	mkdir m
	mount -o loop fs m || skip "cannot mount XFS"
}

# state IMAGE NAME - the digest of a snapshot's content, by qemu-img
state() {
	qemu-img convert -l "snapshot.name=$2" -O raw "$1" s.raw
	sha256 s.raw
	rm s.raw
}

@test "internal snapshots are qemu-img's: create, list, revert, delete for many kinds of qcow2" {
	for o in compat=0.10 compat=1.1 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on refcount_bits=64; do
		disk -o $o
		qemu-img convert -O raw d.qcow2 one.raw
		vmsnap create --engine internal d.qcow2 one
		assert_qemu_clean d.qcow2
		qemu-io -c "write -q -P 3 1M 64k" -c "discard -q 2M 1M" -c "write -q -P 4 7M 10k" d.qcow2
		qemu-img convert -O raw d.qcow2 two.raw
		vmsnap create d.qcow2 two
		run qemu-img snapshot -l d.qcow2
		assert_line --regexp '^1 +one .*'
		assert_line --regexp '^2 +two .*'
		[ "$(state d.qcow2 one)" = "$(sha256 one.raw)" ] || fail "$o: one"
		vmsnap revert -q --discard-current d.qcow2 one
		assert_qemu_clean d.qcow2
		assert_same_disk one.raw d.qcow2 raw qcow2
		vmsnap delete d.qcow2 one
		assert_qemu_clean d.qcow2
		[ "$(state d.qcow2 two)" = "$(sha256 two.raw)" ] || fail "$o: two"
		vmsnap delete d.qcow2 two
		assert_qemu_clean d.qcow2
		assert_same_disk one.raw d.qcow2 raw qcow2
		[ ! -e d.qcow2.snap ] || fail "the folder is left"
	done
}

@test "snapshots that qemu-img made, of another size and of compressed clusters, are reverted and deleted" {
	disk
	qemu-img convert -c -O qcow2 d.qcow2 c.qcow2
	qemu-img convert -O raw c.qcow2 was.raw
	qemu-img snapshot -c small c.qcow2
	qemu-img resize -q c.qcow2 12M
	qemu-io -c "write -q -P 9 0 1M" -c "write -q -P 9 10M 1M" c.qcow2
	vmsnap create c.qcow2 large
	vmsnap revert -q c.qcow2 small
	assert_same_disk was.raw c.qcow2 raw qcow2
	run qemu-img info --output=json c.qcow2
	[ "$(json '.["virtual-size"]')" = $((8 << 20)) ]
	assert_qemu_clean c.qcow2
	qemu-img snapshot -a large c.qcow2
	run qemu-img info --output=json c.qcow2
	[ "$(json '.["virtual-size"]')" = $((12 << 20)) ]
	vmsnap delete c.qcow2 small
	qemu-img snapshot -d large c.qcow2
	assert_qemu_clean c.qcow2
}

@test "a revert keeps the present, and can itself be reverted" {
	disk
	vmsnap create --engine internal d.qcow2 a
	qemu-io -c "write -q -P 7 0 1M" d.qcow2
	qemu-img convert -O raw d.qcow2 b.raw
	run_split vmsnap revert --json d.qcow2 a
	assert_status 0
	assert_schema vmsnap-revert
	local kept
	kept=$(json .kept)
	run vmsnap list --json d.qcow2
	assert_schema vmsnap-list
	[ "$(json '[.[] | select(.automatic)] | length')" = 1 ]
	vmsnap revert -q --discard-current d.qcow2 "$kept"
	assert_same_disk b.raw d.qcow2 raw qcow2
}

@test "show, diff and export" {
	disk
	run vmsnap create --json --engine internal d.qcow2 a
	assert_schema vmsnap-create
	qemu-io -c "write -q -P 7 1M 10000" -c "write -q -P 7 6M 4096" d.qcow2
	run vmsnap show --json d.qcow2@a
	assert_schema vmsnap-show
	[ "$(json .engine)" = internal ]
	run vmsnap diff --json --extents d.qcow2@a
	assert_schema vmsnap-diff
	[ "$(json .changed_bytes)" = $((12288 + 4096)) ]
	[ "$(json '[.extents[].offset] | join(",")')" = 1048576,6291456 ]
	vmsnap create d.qcow2 b
	run vmsnap diff --extents d.qcow2@a d.qcow2@b
	assert_output "1048576 12288
6291456 4096"
	run vmsnap diff d.qcow2@b
	assert_output "0 B changed in 0 ranges"
	[ "$(vmsnap export d.qcow2@a - | sha256sum | cut -d' ' -f1)" = "$(state d.qcow2 a)" ]
	vmsnap export --verify d.qcow2@a a.vdi
	qemu-img convert -l snapshot.name=a -O raw d.qcow2 a.raw
	assert_same_disk a.raw a.vdi raw vdi
	refused 5 vmsnap export d.qcow2@a a.vdi
	refused 4 vmsnap export d.qcow2@c c.raw
	assert [ ! -e c.raw ]
}

@test "what is refused, and that nothing is touched then" {
	disk
	vmsnap create --engine internal d.qcow2 a
	local before
	before=$(sha256 d.qcow2)
	refused 5 vmsnap create d.qcow2 a
	refused 4 vmsnap revert d.qcow2 b
	refused 4 vmsnap delete d.qcow2 a b
	refused 4 vmsnap show d.qcow2@b
	refused 2 vmsnap show d.qcow2
	for name in 12 .x a/b 'a b' a@b; do refused 2 vmsnap create d.qcow2 "$name"; done
	refused 2 vmsnap prune d.qcow2
	refused 9 vmsnap create --engine reflink d.qcow2 b
	refused 7 vmsnap create 'qemu+unix:///system?socket=/nowhere/web' a
	refused 4 vmsnap create d.qcow2 e.qcow2 b
	refused 4 vmsnap list none.qcow2
	[ "$(sha256 d.qcow2)" = "$before" ]
	truncate -s 1M r.raw
	refused 9 vmsnap create --engine internal r.raw a
	disk -o refcount_bits=1
	refused 9 vmsnap create --engine internal d.qcow2 a
	assert_qemu_clean d.qcow2
	[ ! -e d.qcow2.snap ] && [ ! -e r.raw.snap ]
}

@test "a disk that QEMU writes to is refused; the list is not" {
	disk
	vmsnap create --engine internal d.qcow2 a
	mkfifo in
	qemu-io d.qcow2 <in >out 2>&1 3>&- &
	local pid=$!
	exec 4>in
	echo "write -P 5 0 64k" >&4
	until grep -q wrote out; do sleep 0.05; done
	refused 6 vmsnap create d.qcow2 b
	refused 6 vmsnap revert d.qcow2 a
	refused 6 vmsnap delete d.qcow2 a
	run vmsnap list d.qcow2
	assert_success
	exec 4>&-
	wait $pid
	vmsnap delete d.qcow2 a
	assert_qemu_clean d.qcow2
}

@test "prune keeps what a rule keeps and says why" {
	disk
	for day in 1 2 3 4 5; do
		SOURCE_DATE_EPOCH=$((1770033600 + day * 86400)) vmsnap create --engine internal d.qcow2 "day$day"
	done
	run vmsnap prune --dry-run --keep-daily 2 --keep-last 1 d.qcow2
	assert_output "would delete day1
would delete day2
would delete day3
keep day4: daily
keep day5: last, daily"
	run vmsnap prune --json --keep-daily 2 d.qcow2
	assert_success
	assert_schema vmsnap-prune
	run vmsnap list --json d.qcow2
	[ "$(json '[.[].name] | join(" ")')" = "day4 day5" ]
	assert_qemu_clean d.qcow2
}

@test "reflinks on XFS: any format, no space, any order" {
	xfs
	random_bytes 1 8000000 >m/a.raw
	truncate -s 20M m/a.raw
	qemu-img convert -f raw -O vdi m/a.raw m/b.vdi
	for d in m/a.raw m/b.vdi; do
		local f=${d##*.}
		cp "$d" "one.$f"
		vmsnap create "$d" one
		qemu-io -f "$f" -c "write -q -P 5 1M 1M" "$d"
		cp "$d" "two.$f"
		vmsnap create "$d" two
		run vmsnap diff "$d@one" "$d@two"
		assert_output "1.00 MiB changed in 1 ranges"
		chmod 640 "$d"
		vmsnap revert -q "$d" one
		[ "$(stat -c %a "$d")" = 640 ]
		assert_same_bytes "$d" "one.$f"
		assert_same_bytes "$d.snap/two.$f" "two.$f"
		run vmsnap list --json "$d"
		assert_schema vmsnap-list
		[ "$(json '[.[].engine] | unique | join(",")')" = reflink ]
		run vmsnap list --tree "$d"
		assert_line --regexp '^  two '
		vmsnap delete "$d" one
		assert_same_bytes "$d" "one.$f"
		vmsnap revert -q --discard-current "$d" two
		assert_same_bytes "$d" "two.$f"
		vmsnap prune --keep-last 1 "$d"
		run vmsnap list --json "$d"
		[ "$(json length)" = 1 ]
	done
	# A disk that leans on another file is none for a clone
	qemu-img create -q -f qcow2 -b a.raw -F raw m/o.qcow2
	refused 9 vmsnap create --engine reflink m/o.qcow2 a
	vmsnap create m/o.qcow2 a
	run vmsnap show --json m/o.qcow2@a
	[ "$(json .engine)" = internal ]
	refused 9 vmsnap create --engine reflink m/o.qcow2 b
}

@test "recover: each step of a killed change is finished or undone" {
	xfs
	random_bytes 1 200000 >m/a.raw
	vmsnap create m/a.raw one
	random_bytes 2 200000 >m/a.raw
	cp m/a.raw present
	ino=$(stat -c %i m/a.raw)
	journal() { printf '{"version":1,"operation":"%s","name":"%s","file":"%s","inode":%d}' "$1" "$2" "$3" "$4" >m/a.raw.snap/.journal.json; }
	# A clone without its record
	cp m/a.raw m/a.raw.snap/x.raw
	journal create x x.raw "$ino"
	refused 1 vmsnap list m/a.raw
	[[ $stderr == *recover* ]]
	run vmsnap recover --json m/a.raw
	assert_schema vmsnap-recover
	[ "$(json .result)" = undone ]
	assert [ ! -e m/a.raw.snap/x.raw ]
	# A revert before the rename, and after it
	cp m/a.raw.snap/one.raw m/a.raw.snap/.new
	ln m/a.raw m/a.raw.snap/auto-1.raw
	sed 's/"one"/"auto-1"/; s/one\.raw/auto-1.raw/' m/a.raw.snap/one.json >m/a.raw.snap/auto-1.json
	cp -r m/a.raw.snap saved
	journal revert auto-1 auto-1.raw "$ino"
	run vmsnap recover --json m/a.raw
	[ "$(json .result)" = undone ]
	assert_same_bytes m/a.raw present
	[ "$(find m/a.raw.snap -type f ! -name .head -printf "%f\n" | sort | xargs)" = "one.json one.raw" ]
	cp saved/auto-1.json saved/.new m/a.raw.snap/
	ln m/a.raw m/a.raw.snap/auto-1.raw
	mv m/a.raw.snap/.new m/a.raw
	journal revert auto-1 auto-1.raw "$ino"
	run vmsnap recover --json m/a.raw
	[ "$(json .result)" = finished ]
	assert_same_bytes m/a.raw m/a.raw.snap/one.raw
	assert_same_bytes m/a.raw.snap/auto-1.raw present
	# A deletion whose record is gone
	rm m/a.raw.snap/one.json
	journal delete one one.raw 1
	run vmsnap recover --json m/a.raw
	[ "$(json .result)" = finished ]
	assert [ ! -e m/a.raw.snap/one.raw ]
	run vmsnap recover --json m/a.raw
	[ "$(json .result)" = nothing ]
	# A journal that was tampered with leads nowhere
	journal delete ../x ../a.raw 1
	refused 8 vmsnap recover m/a.raw
	assert [ -e m/a.raw ]
}

# Every call and every fault: tests/long/vmsnap-steps.bats
steps() { run python3 "$ROOT/tests/vmsnap_steps.py" "$VMKIT_TOOLS/inject.so" "$@" && assert_success; }

# bats test_tags=release
@test "killed, or without space, before some of the system calls that change something" {
	xfs
	steps w internal kill 13 3
	steps m/reflink reflink kill 9 2
	steps m/reflink reflink full 19 5
	steps m/sets sets kill 29 5
	steps m/sets sets eio 53 9
}

@test "random writes, snapshots, reverts, deletions against a model; killed and recovered" {
	qemu-img create -q -f qcow2 -o cluster_size=16k d.qcow2 4M
	run python3 "$ROOT/tests/vmsnap_model.py" 1 8 d.qcow2 qcow2
	assert_success
	rm -rf d.qcow2*
	qemu-img create -q -f qcow2 -o cluster_size=4k d.qcow2 4M
	run python3 "$ROOT/tests/vmsnap_model.py" 2 14 d.qcow2 qcow2 kill
	assert_success
}

@test "the same on XFS with clones" {
	xfs
	truncate -s 4M m/d.raw
	run python3 "$ROOT/tests/vmsnap_model.py" 3 14 m/d.raw raw kill
	assert_success
}
