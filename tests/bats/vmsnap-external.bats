# vmsnap's external engine: plain backing chains, held against qemu-img; deletions and merges in each place, killed at
# each step.
# bats file_tags=slow

setup() {
	load common
	common_setup
	require qemu-img qemu-io jq python3
}

teardown() { ! mountpoint -q m 2>/dev/null || umount m; }

# chain [OPTIONS...] - d.qcow2 with snapshots a, b, c, and what each shows in a.raw, b.raw, c.raw, now.raw
chain() {
	rm -rf d.*
	qemu-img create -q -f qcow2 "$@" d.qcow2 8M
	qemu-io -c "write -q -P 1 0 3M" -c "write -q -P 2 5M 300k" d.qcow2
	qemu-img convert -O raw d.qcow2 a.raw
	vmsnap create -e external d.qcow2 a
	qemu-io -c "write -q -P 3 1M 64k" -c "write -q -z -u 2M 512k" d.qcow2
	qemu-img convert -O raw d.qcow2 b.raw
	vmsnap create d.qcow2 b
	qemu-io -c "write -q -P 4 0 10k" -c "write -q -P 5 7M 100k" d.qcow2
	qemu-img convert -O raw d.qcow2 c.raw
	vmsnap create d.qcow2 c
	qemu-io -c "write -q -P 6 6M 4k" d.qcow2
	qemu-img convert -O raw d.qcow2 now.raw
}

# shows NAME... - these snapshots and no others, each bit-exact for qemu-img; the present state is now.raw
shows() {
	run vmsnap list --json d.qcow2
	assert_success
	[ "$(json '[.[].name] | sort | join(" ")')" = "$*" ] || fail "snapshots: $output"
	for s; do
		[ -e "$s.raw" ] || continue
		assert_same_disk "d.$s.qcow2" "$s.raw" qcow2 raw
		assert_qemu_clean "d.$s.qcow2"
	done
	assert_same_disk d.qcow2 now.raw qcow2 raw
	assert_qemu_clean d.qcow2
	run vmsnap check d.qcow2
	assert_success
}

@test "external snapshots are a backing chain: list, show, diff, export, revert" {
	for o in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on; do
		chain -o $o
		shows a b c
	done
	[ "$(qemu-img info --output=json --backing-chain d.qcow2 | jq -r '[.[].filename] | join(" ")')" = "d.qcow2 d.c.qcow2 d.b.qcow2 d.a.qcow2" ]
	run vmsnap list --json d.qcow2
	assert_schema vmsnap-list
	[ "$(json '[.[] | "\(.parent) \(.depth) \(.current)"] | join(",")')" = "null 0 true,a 1 true,b 2 true" ]
	run vmsnap show --json d.qcow2@b
	assert_schema vmsnap-show
	[ "$(json '.engine + " " + .file')" = "external $PWD/d.b.qcow2" ]
	run vmsnap diff --extents d.qcow2@a d.qcow2@b
	assert_output "1048576 65536
2097152 524288"
	run vmsnap diff --extents d.qcow2@c
	assert_output "6291456 4096"
	vmsnap export d.qcow2@b b.vmdk
	assert_same_disk b.vmdk b.raw vmdk raw
	chmod 640 d.qcow2
	run vmsnap revert --json d.qcow2 b
	assert_schema vmsnap-revert
	local kept
	kept=$(json .kept)
	mv now.raw "$kept.raw"
	cp b.raw now.raw
	shows a "$kept" b c
	[ "$(stat -c %a d.qcow2)" = 640 ]
	run vmsnap list --tree d.qcow2
	assert_line --regexp "^      $kept .*automatic$"
	qemu-io -c "write -q -P 7 0 1M" d.qcow2
	vmsnap revert --discard-current d.qcow2 c
	cp c.raw now.raw
	shows a "$kept" b c
}

@test "deleted in each place, the others stay bit-exact; the smaller part moves" {
	chain
	local ino
	ino=$(stat -c %i d.a.qcow2)
	vmsnap delete d.qcow2 a
	shows b c
	[ "$(stat -c %i d.b.qcow2)" = "$ino" ] || fail "3 MiB were moved for 64 KiB"
	vmsnap delete d.qcow2 c
	shows b
	[ "$(stat -c %i d.b.qcow2)" = "$ino" ]
	vmsnap delete d.qcow2 b
	shows
	[ "$(stat -c %i d.qcow2)" = "$ino" ]
	[ "$(ls d.*)" = d.qcow2 ]
	chain
	# Two lean on b; c is a leaf then
	vmsnap revert -q --discard-current d.qcow2 b
	qemu-io -c "write -q -P 9 4M 1M" d.qcow2
	qemu-img convert -O raw d.qcow2 now.raw
	vmsnap delete d.qcow2 b
	shows a c
	vmsnap delete d.qcow2 c
	shows a
	# A disk that has a backing file of its own, and one that grew
	qemu-img create -q -f qcow2 -b a.raw -F raw d2.qcow2
	mv d2.qcow2 d.qcow2 && rm -r d.qcow2.snap d.a.qcow2
	vmsnap create -e external d.qcow2 'x:1'
	qemu-img resize -q d.qcow2 9M
	qemu-io -c "write -q -P 3 8M 1M" d.qcow2
	vmsnap create d.qcow2 y
	qemu-img convert -O raw d.qcow2 now.raw
	vmsnap delete d.qcow2 'x:1'
	shows y
	[ "$(qemu-img info --output=json d.y.qcow2 | jq -r '."backing-filename"')" = a.raw ]
}

@test "merge and prune shorten chains" {
	chain
	refused 4 vmsnap merge d.qcow2 b a
	refused 4 vmsnap merge d.qcow2 x
	refused 2 vmsnap merge d.qcow2
	run vmsnap merge --dry-run --json d.qcow2 a c
	assert_schema vmsnap-merge
	[ "$(json '.merged | join(" ")')" = "a b" ]
	shows a b c
	vmsnap merge d.qcow2 a c
	shows c
	chain
	run vmsnap merge -v d.qcow2 b
	assert_output "merged b
merged c"
	shows a
	vmsnap merge --all d.qcow2
	shows
	chain
	run vmsnap prune --dry-run --max-chain 2 d.qcow2
	assert_output "would delete a
keep b
keep c"
	vmsnap prune --max-chain 1 --keep-last 9 d.qcow2
	shows c
	vmsnap create d.qcow2 d
	vmsnap prune --keep-last 1 d.qcow2
	shows d
	qemu-img create -q -f qcow2 e.qcow2 1M
	vmsnap create -e internal e.qcow2 a
	refused 9 vmsnap merge e.qcow2 a
}

@test "what other images lean on stays; clones" {
	chain
	run vmsnap clone --json d.qcow2@b x.qcow2
	assert_schema vmsnap-clone
	[ "$(json .linked)" = true ]
	assert_same_disk x.qcow2 b.raw qcow2 raw
	local before
	before=$(sha256sum d.*qcow2)
	refused 6 vmsnap delete d.qcow2 b
	[[ $stderr == *x.qcow2* ]]
	refused 6 vmsnap merge d.qcow2 b
	qemu-img create -q -f qcow2 -b d.qcow2 -F qcow2 y.qcow2
	refused 6 vmsnap revert d.qcow2 a
	[[ $stderr == *y.qcow2* ]]
	[ "$(sha256sum d.*qcow2)" = "$before" ] && [ ! -e d.qcow2.snap/.journal.json ]
	rm y.qcow2
	refused 5 vmsnap clone d.qcow2@b x.qcow2
	mkdir elsewhere
	refused 9 vmsnap clone d.qcow2@b elsewhere/x.qcow2
	vmsnap clone --full d.qcow2@b elsewhere/x.qcow2
	assert_same_disk elsewhere/x.qcow2 b.raw qcow2 raw
	rm x.qcow2
	vmsnap delete d.qcow2 b
	shows a c
	qemu-img create -q -f qcow2 e.qcow2 1M
	vmsnap create -e internal e.qcow2 a
	vmsnap clone e.qcow2@a f.qcow2
	assert_same_disk e.qcow2 f.qcow2
}

@test "external: what is refused before anything is touched" {
	# QEMU measures its own speed first, and gives up on a machine that is too busy
	until qemu-img create -q -f qcow2 --object secret,id=s,data=x \
		-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 l.qcow2 1M 2>said; do
		grep -q "accurate CPU usage" said
	done
	qemu-img create -q -f qcow2 -o data_file=data d.qcow2 1M
	truncate -s 1M r.raw
	for f in l.qcow2 d.qcow2 r.raw; do
		refused 9 vmsnap create -e external "$f" a
		[ ! -e "$f.snap" ]
	done
	qemu-img create -q -f qcow2 -o refcount_bits=1 o.qcow2 1M
	touch o.a.qcow2
	refused 5 vmsnap create -e external o.qcow2 a
	[ ! -e o.qcow2.snap ]
	vmsnap create o.qcow2 b # no other engine fits
	run vmsnap show --json o.qcow2@b
	[ "$(json .engine)" = external ]
	refused 9 vmsnap create -e internal o.qcow2 c
}

@test "external: a machine that runs is left alone, and hinders no look" {
	chain
	mkfifo in
	qemu-io d.qcow2 <in >out 2>&1 3>&- &
	local pid=$!
	exec 4>in
	echo "write -P 6 6M 4k" >&4
	until grep -q wrote out; do sleep 0.05; done
	refused 6 vmsnap create d.qcow2 x
	refused 6 vmsnap revert d.qcow2 a
	refused 6 vmsnap delete d.qcow2 c
	refused 6 vmsnap delete d.qcow2 a
	run vmsnap list d.qcow2
	assert_success
	run vmsnap check d.qcow2
	assert_success
	vmsnap export d.qcow2@b b.vdi
	exec 4>&-
	wait $pid
	shows a b c
}

@test "external: too little space is known before" {
	require_root
	mkdir m
	mount -t tmpfs -o size=16M tmpfs m || skip "cannot mount tmpfs"
	cd m
	qemu-img create -q -f qcow2 d.qcow2 16M
	qemu-io -c "write -q -P 1 0 6M" d.qcow2
	vmsnap create -e external d.qcow2 a
	qemu-io -c "write -q -P 2 8M 6M" d.qcow2
	qemu-img convert -O raw d.qcow2 ../now.raw
	local before
	before=$(sha256sum d.*qcow2)
	refused 13 vmsnap delete d.qcow2 a
	[[ $stderr == *"MiB free"* ]]
	[ "$(sha256sum d.*qcow2)" = "$before" ] && [ ! -e d.qcow2.snap/.journal.json ]
	cd ..
}

@test "check finds what is missing, damaged or unfinished" {
	chain
	run vmsnap check --json d.qcow2
	assert_success
	assert_schema vmsnap-check
	mv d.b.qcow2 b.away
	run vmsnap check d.qcow2
	assert_failure 8
	assert_line --partial "snapshot b: "
	assert_line --partial "the present state: "
	refused 4 vmsnap delete d.qcow2 b
	run vmsnap check --json d.qcow2
	assert_schema vmsnap-check
	mv b.away d.b.qcow2
	cp d.c.qcow2 c.good
	printf '\377\377\377' | dd of=d.c.qcow2 bs=1 seek=$((65536 + 2)) conv=notrunc status=none
	run vmsnap check d.qcow2
	assert_failure 8
	assert_line --partial "snapshot c: "
	mv c.good d.c.qcow2
	printf '{"version":1,"operation":"swap","name":"","file":"","inode":1}' >d.qcow2.snap/.journal.json
	run vmsnap check d.qcow2
	assert_failure 8
	assert_line --partial "vmsnap recover"
	vmsnap recover -q d.qcow2
	shows a b c
	# A journal that was tampered with leads nowhere
	printf '{"version":1,"operation":"merge","name":"a","file":"../x","inode":1}' >d.qcow2.snap/.journal.json
	refused 8 vmsnap recover d.qcow2
}

@test "a merge that is interrupted goes on with recover" {
	qemu-img create -q -f qcow2 d.qcow2 400M
	qemu-io -c "write -q -P 1 0 300M" d.qcow2
	vmsnap create -e external d.qcow2 a
	qemu-io -c "write -q -P 2 100M 140M" d.qcow2
	local pid before
	before=$(vmimg digest d.qcow2)
	vmsnap merge d.qcow2 a 2>said 3>&- &
	pid=$!
	until [ -e d.qcow2.snap/.journal.json ] || ! kill -0 $pid 2>/dev/null; do :; done
	kill -TERM $pid || true
	status=0
	wait $pid || status=$?
	[ "$status" = 143 ] || fail "status $status: $(cat said)"
	refused 1 vmsnap merge d.qcow2 a
	[ "$(vmimg digest d.qcow2)" = "$before" ]
	run vmsnap recover --json d.qcow2
	[ "$(json .result)" = finished ]
	[ "$(vmimg digest d.qcow2)" = "$before" ]
	assert_qemu_clean d.qcow2
	[ "$(ls -d d.*)" = d.qcow2 ]
}

@test "several disks: a snapshot of all or of none" {
	chain
	qemu-img create -q -f qcow2 e.qcow2 4M
	qemu-io -c "write -q -P 1 0 1M" e.qcow2
	vmsnap create -e internal e.qcow2 one
	qemu-img convert -O raw e.qcow2 e.raw
	run vmsnap create --json d.qcow2 e.qcow2 two
	assert_success
	assert_schema vmsnap-create
	[ "$(json '[.[] | .engine] | join(" ")')" = "external internal" ]
	cp now.raw two.raw
	qemu-io -c "write -q -P 8 0 1M" e.qcow2
	qemu-io -c "write -q -P 8 0 1M" d.qcow2
	run vmsnap revert --json e.qcow2 d.qcow2 two
	assert_schema vmsnap-revert
	vmsnap delete -d e.qcow2 d.qcow2 "$(json .kept)"
	shows a b c two
	assert_same_disk e.raw e.qcow2 raw qcow2
	vmsnap revert --discard-current e.qcow2 d.qcow2 two
	shows a b c two
	# The second cannot: the first has none either
	local before
	refused 5 vmsnap create d.qcow2 e.qcow2 one
	refused 4 vmsnap revert d.qcow2 e.qcow2 a
	refused 4 vmsnap delete -d e.qcow2 d.qcow2 a
	refused 2 vmsnap create d.qcow2 ./d.qcow2 x
	truncate -s 1M r.raw
	before=$(sha256sum d.*qcow2 e.qcow2)
	refused 9 vmsnap create -e external d.qcow2 r.raw x
	refused 9 vmsnap create d.qcow2 r.raw x
	mkfifo in
	qemu-io e.qcow2 <in >out 2>&1 3>&- &
	local pid=$!
	exec 4>in
	echo "read 0 4k" >&4
	until grep -q read out; do sleep 0.05; done
	refused 6 vmsnap create d.qcow2 e.qcow2 x
	refused 6 vmsnap revert d.qcow2 e.qcow2 two
	exec 4>&-
	wait $pid
	[ "$(sha256sum d.*qcow2 e.qcow2)" = "$before" ]
	shows a b c two
	[ -z "$(find . -name '.set.json' -o -name .journal.json)" ]
	run vmsnap list --json e.qcow2
	[ "$(json '[.[].name] | join(" ")')" = "one two" ]
}

@test "killed before each system call that changes something" {
	local folder
	folder=$(elsewhere /dev/shm/vmsnap.XXXXXX)
	# All of them, and other faults: tests/long/vmsnap-steps.bats
	run python3 "$ROOT/tests/vmsnap_steps.py" "$VMKIT_TOOLS/inject.so" "$folder" external kill "$(sanitized && echo 17 || echo 4)" 2
	rm -rf "$folder"
	assert_success
}

# A thousand: VMSNAP_ROUNDS=1000 VMSNAP_SEED=1
@test "random writes, snapshots, reverts, deletions, merges against a model; killed and recovered" {
	qemu-img create -q -f qcow2 -o cluster_size=16k d.qcow2 4M
	run python3 "$ROOT/tests/vmsnap_model.py" "${VMSNAP_SEED:-1}" "${VMSNAP_ROUNDS:-16}" d.qcow2 qcow2 external kill
	assert_success
}
