# What a deletion or merge of external snapshots must not take away, and what must not leave a disk stuck: refused before
# anything is written, with what is in the way.

setup() {
	load common
	common_setup
	require qemu-img qemu-io jq python3
}

# chain - d.qcow2 with snapshots a, b, c, each with data of its own, and what each shows in a.raw, b.raw, c.raw, now.raw
chain() {
	rm -rf d.*
	qemu-img create -q -f qcow2 d.qcow2 8M
	local s n=1
	for s in a b c now; do
		qemu-io -c "write -q -P $n ${n}M 100k" d.qcow2
		qemu-img convert -O raw d.qcow2 $s.raw
		[ $s = now ] || vmsnap create -e external d.qcow2 $s
		n=$((n + 1))
	done
}

# unchanged CMD... - refused with status $1, and no file is touched
unchanged() {
	local before
	before=$(sha256sum d.*qcow2 d.qcow2.snap/*)
	refused "$@"
	[ "$(sha256sum d.*qcow2 d.qcow2.snap/*)" = "$before" ] || fail "files changed"
	[ ! -e d.qcow2.snap/.journal.json ] || fail "a journal is left"
}

@test "what a snapshot leaned on stays while its own file cannot be read" {
	chain
	mkdir away
	mv d.c.qcow2 away
	unchanged 8 vmsnap delete d.qcow2 b
	[[ $stderr == *"snapshot c"* ]]
	unchanged 8 vmsnap merge --all d.qcow2 b
	: >d.c.qcow2 # there, but no image
	unchanged 8 vmsnap delete d.qcow2 b
	unchanged 2 vmsnap delete --lost d.qcow2 c
	mv away/d.c.qcow2 .
	assert_same_disk d.qcow2 now.raw qcow2 raw
	mv d.qcow2 away
	truncate -s 1M d.qcow2 # nor is the present state
	unchanged 8 vmsnap delete d.qcow2 c
	mv away/d.qcow2 .
	# Gone for good: the record alone, when that is asked for
	mv d.c.qcow2 away
	unchanged 4 vmsnap delete d.qcow2 c
	unchanged 4 vmsnap delete --lost d.qcow2 x
	unchanged 2 vmsnap delete --lost d.qcow2 b
	vmsnap delete --lost d.qcow2 c
	run vmsnap list --json d.qcow2
	[ "$(json '[.[].name] | join(" ")')" = "a b" ]
}

@test "recover removes no file that a snapshot which cannot be read may lean on" {
	chain
	local journal='{"version":1,"operation":"merge","name":"b","file":"d.b.qcow2","inode":1}'
	mkdir away
	echo "$journal" >d.qcow2.snap/.journal.json
	mv d.c.qcow2 away
	run vmsnap recover --json d.qcow2
	[ "$(json .result)" = undone ]
	[ -e d.b.qcow2 ] && [ -e d.qcow2.snap/b.json ]
	# Its record is gone already: the file stays all the same
	echo "$journal" >d.qcow2.snap/.journal.json
	mv d.qcow2.snap/b.json away
	refused 8 vmsnap recover d.qcow2
	mv away/d.c.qcow2 .
	refused 8 vmsnap recover d.qcow2
	[ -e d.b.qcow2 ]
	mv away/b.json d.qcow2.snap
	run vmsnap recover --json d.qcow2
	[ "$(json .result)" = undone ]
	assert_same_disk d.qcow2 now.raw qcow2 raw
	# It cannot be read itself
	echo "$journal" >d.qcow2.snap/.journal.json
	mv d.b.qcow2 away && echo x >d.b.qcow2
	run vmsnap recover --json d.qcow2
	[ "$(json .result)" = undone ]
	[ "$(cat d.b.qcow2)" = x ] && [ -e d.qcow2.snap/b.json ]
	mv away/d.b.qcow2 .
	assert_same_disk d.qcow2 now.raw qcow2 raw
}

@test "names of backing files that are not plain: understood, or refused" {
	chain
	local name
	for name in 'json:{"driver":"qcow2","file":{"driver":"file","filename":"'"$PWD"'/d.b.qcow2"}}' \
		'json:{"driver":"qcow2","file.driver":"file","file.filename":"'"$PWD"'/d.b.qcow2"}' \
		'json:{"file":{"filename":"d.b.qcow2"}}' "file:$PWD/d.b.qcow2" \
		'json:{"driver":"qcow2","file":"a-node"}' 'json:{"driver":"qcow2",' \
		'json:{"driver":"quorum","children":[{"filename":"d.b.qcow2"},{"filename":"x"}]}' \
		'blkdebug::d.b.qcow2'; do
		qemu-img create -q -f qcow2 -u -b "$name" -F qcow2 x.qcow2 8M
		unchanged 6 vmsnap delete d.qcow2 b
		[[ $stderr == *x.qcow2* ]] || fail "$name: $stderr"
	done
	# Our own: c's file names b's so
	rm x.qcow2
	qemu-img rebase -u -F qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"'"$PWD"'/d.b.qcow2"}}' d.c.qcow2
	refused 12 vmsnap delete d.qcow2 b
	[ -e d.b.qcow2 ] && [ ! -e d.qcow2.snap/.journal.json ]
	qemu-img compare -q d.qcow2 now.raw
	# Elsewhere: leans on nothing of ours
	qemu-img rebase -u -F qcow2 -b d.b.qcow2 d.c.qcow2
	qemu-img create -q -f qcow2 -u -b 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"inet","host":"h","port":"1"}}}' -F raw x.qcow2 8M
	qemu-img create -q -f qcow2 -u -b nbd://h/x -F raw y.qcow2 8M
	vmsnap delete d.qcow2 b
	assert_same_disk d.qcow2 now.raw qcow2 raw
}

@test "internal snapshots of qemu-img in a chain: refused before the journal, nothing is stuck" {
	chain
	qemu-img snapshot -c inside d.c.qcow2 # c's file, which leans on b's
	for n in b c; do
		unchanged 9 vmsnap delete d.qcow2 $n
		[[ $stderr == *d.c.qcow2*"internal snapshot"* ]] || fail "$stderr"
	done
	qemu-img snapshot -d inside d.c.qcow2
	qemu-img snapshot -c inside d.qcow2
	unchanged 9 vmsnap delete d.qcow2 c
	unchanged 9 vmsnap create -e external d.qcow2 d
	unchanged 9 vmsnap revert --discard-current d.qcow2 b
	qemu-img snapshot -d inside d.qcow2
	vmsnap merge --all d.qcow2
	assert_same_disk d.qcow2 now.raw qcow2 raw
}

@test "persistent bitmaps are not dropped unseen" {
	chain
	qemu-img bitmap --add d.qcow2 since
	unchanged 9 vmsnap delete d.qcow2 c
	[[ $stderr == *d.qcow2*bitmap*since* ]] || fail "$stderr"
	qemu-img bitmap --remove d.qcow2 since
	qemu-img bitmap --add --disable d.c.qcow2 old
	unchanged 9 vmsnap delete d.qcow2 c
	unchanged 9 vmsnap merge d.qcow2 b
	[ "$(qemu-img info --output=json -U d.c.qcow2 | jq -r '."format-specific".data.bitmaps[0].name')" = old ]
	qemu-img bitmap --remove d.c.qcow2 old
	vmsnap merge --all d.qcow2
	assert_same_disk d.qcow2 now.raw qcow2 raw
	# Internal ones are changes of the same file
	qemu-img create -q -f qcow2 d.i.qcow2 1M
	vmsnap create -e internal d.i.qcow2 one
	qemu-img bitmap --add d.i.qcow2 since
	local before
	before=$(sha256sum d.i.qcow2)
	refused 9 vmsnap create d.i.qcow2 two
	refused 9 vmsnap revert d.i.qcow2 one
	refused 9 vmsnap delete d.i.qcow2 one
	[ "$(sha256sum d.i.qcow2)" = "$before" ] && [ ! -e d.i.qcow2.snap ]
}

@test "recover of a commit finds the file of the upper snapshot by its record" {
	local n at=0
	for ((n = 1; n < 200; n += 2)); do
		chain
		# As disks of running machines have it
		mv d.b.qcow2 d.live-1.qcow2
		qemu-img rebase -u -F qcow2 -b d.live-1.qcow2 d.c.qcow2
		sed -i s/d.b.qcow2/d.live-1.qcow2/ d.qcow2.snap/b.json
		qemu-io -c "write -q -P 9 5M 2M" d.a.qcow2 # a is the larger one: b goes down into it
		qemu-img convert -O raw d.live-1.qcow2 b.raw
		qemu-img convert -O raw d.c.qcow2 c.raw
		qemu-img convert -O raw d.qcow2 now.raw
		run env LD_PRELOAD="$(preload inject.so)" INJECT_AT=$n INJECT_HOW=kill INJECT_UNLINK=1 \
			"$VMKIT_BIN/vmsnap" delete d.qcow2 a
		[ "$status" != 0 ] || break
		if [ -e d.qcow2.snap/.journal.json ] && grep -q commit d.qcow2.snap/.journal.json; then at=$((at + 1)); fi
		vmsnap recover -q d.qcow2
		for s in b c; do
			vmsnap export "d.qcow2@$s" s.raw && cmp s.raw $s.raw || fail "call $n: $s differs"
			rm s.raw
		done
		assert_same_disk d.qcow2 now.raw qcow2 raw
		! ls d.b.qcow2 2>/dev/null || fail "call $n: d.b.qcow2 is there again"
	done
	[ "$at" -gt 1 ] && [ "$n" -lt 200 ] || fail "$at kills in a commit, of $n"
}

@test "an interrupted change of one of several disks is said, and no more" {
	chain
	qemu-img create -q -f qcow2 e.qcow2 1M
	printf '{"version":1,"operation":"swap","name":"","file":"","inode":1}' >d.qcow2.snap/.journal.json
	refused 1 vmsnap create e.qcow2 d.qcow2 x
	refused 1 vmsnap revert d.qcow2 a
	refused 1 vmsnap list d.qcow2
	vmsnap recover -q d.qcow2
}
