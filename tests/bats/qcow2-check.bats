# vmimg check and --repair on qcow2 images, damaged at known places; qemu-img check is the oracle.

setup() {
	load common
	load qcow2
	common_setup
	require qemu-img qemu-io jq
}

# 16 MiB with 2 MiB of data, no faults
healthy() {
	qemu-img create -q -f qcow2 "$@" a.qcow2 16M
	qemu-io -c "write -q -P 1 0 1M" -c "write -q -P 2 4M 1M" a.qcow2
}

# repaired FILE - after --repair both tools are content and the guest reads what it read before
repaired() {
	cp "$1" before.qcow2
	vmimg check -q --repair "$1" >/dev/null || fail "not repaired: $(vmimg check "$1" 2>&1)"
	assert_qemu_clean "$1"
	run vmimg check --json "$1"
	assert_success
	[ "$(json .clean)" = true ]
	assert_same_disk before.qcow2 "$1" qcow2 qcow2
}

@test "a healthy image has no faults, and its figures are those of qemu-img" {
	for o in compat=0.10 refcount_bits=1 refcount_bits=2 refcount_bits=64 cluster_size=512 cluster_size=2M extended_l2=on; do
		rm -f a.qcow2
		healthy -o $o
		same_verdict a.qcow2
		[ "$verdict" = "0 corruptions 0 leaks" ]
		run vmimg check --json a.qcow2
		qemu-img check --output=json a.qcow2 >q.json
		for k in total allocated fragmented compressed; do
			[ "$(json .${k}_clusters)" = "$(jq ".\"$k-clusters\" // 0" q.json)" ] || fail "$o: $k"
		done
		[ "$(json .image_end)" = "$(jq '."image-end-offset"' q.json)" ] || fail "$o: image end"
	done
}

@test "leaked clusters are counted, named by offset, and freed by --repair=leaks" {
	healthy
	truncate -s +192K a.qcow2
	end=$(($(stat -c %s a.qcow2) / 65536 * 65536))
	set_refcount a.qcow2 $((end - 65536)) 1
	set_refcount a.qcow2 $((end - 131072)) 3
	same_verdict a.qcow2
	[ "$verdict" = "0 corruptions 2 leaks" ]
	run vmimg check a.qcow2
	assert_failure 8
	assert_output --partial "cluster at offset $((end - 65536)) has refcount 1, but 0 references: leaked"
	cp a.qcow2 b.qcow2
	vmimg check -q --repair=leaks a.qcow2 >/dev/null
	assert_qemu_clean a.qcow2
	repaired b.qcow2
}

@test "a refcount that is too low is a corruption; --repair=leaks leaves it, --repair mends it" {
	healthy
	data=$(($(be64 a.qcow2 "$(l2_at a.qcow2)") & MASK))
	set_refcount a.qcow2 "$data" 0
	same_verdict a.qcow2
	run vmimg check --repair=leaks a.qcow2
	assert_failure 8
	repaired a.qcow2
}

@test "a refcount that is too high is a leak and makes the flag wrong" {
	healthy
	data=$(($(be64 a.qcow2 "$(l2_at a.qcow2)") & MASK))
	set_refcount a.qcow2 "$data" 2
	same_verdict a.qcow2
	[ "$verdict" = "1 corruptions 1 leaks" ]
	repaired a.qcow2
}

@test "flags of L1 and L2 entries are held against the refcounts" {
	healthy
	l1=$(l1_at a.qcow2)
	l2=$(l2_at a.qcow2)
	poke64 a.qcow2 "$l2" "$(($(be64 a.qcow2 "$l2") & ~COPIED))"
	same_verdict a.qcow2
	[ "$verdict" = "1 corruptions 0 leaks" ]
	poke64 a.qcow2 "$l1" "$(($(be64 a.qcow2 "$l1") & ~COPIED))"
	same_verdict a.qcow2
	[ "$verdict" = "2 corruptions 0 leaks" ]
	repaired a.qcow2
}

@test "two guest clusters at one place" {
	healthy
	l2=$(l2_at a.qcow2)
	poke64 a.qcow2 $((l2 + 8)) "$(be64 a.qcow2 "$l2")"
	same_verdict a.qcow2
	repaired a.qcow2
}

@test "a data cluster on top of the L1 table, the header or a refcount block" {
	for victim in l1_at reftable_at refblock_at; do
		rm -f a.qcow2
		healthy
		l2=$(l2_at a.qcow2)
		poke64 a.qcow2 "$l2" "$(($($victim a.qcow2) | COPIED))"
		run vmimg check a.qcow2
		assert_failure 8
		run qemu-img check a.qcow2
		assert_failure
		cp a.qcow2 b.qcow2
		# What overlaps stays told apart by the next write: only refcounts and flags change
		vmimg check --repair b.qcow2 >/dev/null || true
		vmimg check b.qcow2 >/dev/null || [ $? -eq 8 ]
	done
}

@test "entries that are not aligned, lie outside or have reserved bits set" {
	healthy
	l2=$(l2_at a.qcow2)
	l1=$(l1_at a.qcow2)
	e=$(be64 a.qcow2 "$l2")
	for v in $((e + 512)) $((e | (1 << 57))) $((COPIED | 0x7fffffff0000)) $((e | 4)); do
		cp a.qcow2 b.qcow2
		poke64 b.qcow2 "$l2" "$v"
		run vmimg check b.qcow2
		assert_failure 8
		assert_output --partial "$l2"
		run qemu-img check b.qcow2
		assert_failure
	done
	for v in $((l2 + 512)) $((COPIED | 0x7fffffff0000)); do
		cp a.qcow2 b.qcow2
		poke64 b.qcow2 "$l1" "$v"
		run vmimg check b.qcow2
		assert_failure 8
		# What the lost table held has refcounts without references: they are kept, nothing is freed
		run vmimg check --repair b.qcow2
		assert_failure 8
		poke64 b.qcow2 "$l1" "$(be64 a.qcow2 "$l1")"
		vmimg check --repair b.qcow2 >/dev/null || fail "table put back: $(vmimg check b.qcow2)"
		assert_same_disk a.qcow2 b.qcow2
	done
}

@test "the refcount table is rebuilt when a block is lost, at every width" {
	for bits in 1 2 4 8 16 32 64; do
		rm -f a.qcow2
		healthy -o refcount_bits=$bits
		poke64 a.qcow2 "$(reftable_at a.qcow2)" 0
		run vmimg check --json a.qcow2
		assert_failure 8
		repaired a.qcow2
	done
	for v in 0x12345 0x7fff0000 0x30200; do
		rm -f a.qcow2
		healthy
		poke64 a.qcow2 "$(reftable_at a.qcow2)" $v
		run vmimg check a.qcow2
		assert_failure 8
		repaired a.qcow2
	done
}

@test "small clusters: a refcount structure of many blocks is rebuilt" {
	qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=64 a.qcow2 8M
	qemu-io -c "write -q -P 3 0 4M" a.qcow2
	poke64 a.qcow2 $(($(reftable_at a.qcow2) + 16)) 0
	run vmimg check -q a.qcow2
	assert_failure 8
	repaired a.qcow2
}

@test "an image that was not closed: dirty is told by info, read as it is, cleared by --repair" {
	qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 16M
	qemu-io -c "write -q -P 5 0 3M" -c "flush" -c "sigraise 9" a.qcow2 >/dev/null 2>&1 || true
	run vmimg info --json a.qcow2
	[ "$(json .format_specific.dirty)" = true ] || skip "qemu-io closed it"
	same_content a.qcow2
	run vmimg check -q a.qcow2
	assert_failure 8
	repaired a.qcow2
	run vmimg info --json a.qcow2
	[ "$(json .format_specific.dirty)" = false ]
}

@test "the corrupt mark: readable, and cleared by a repair that finds nothing" {
	healthy
	patch_bytes a.qcow2 79 02
	run vmimg info --json a.qcow2
	[ "$(json .format_specific.corrupt)" = true ]
	same_content a.qcow2
	vmimg check -q --repair a.qcow2 >/dev/null
	run vmimg info --json a.qcow2
	[ "$(json .format_specific.corrupt)" = false ]
}

@test "snapshots and bitmaps are counted; a lost snapshot table frees nothing" {
	healthy
	qemu-img snapshot -c one a.qcow2
	qemu-io -c "write -q -P 9 0 512K" a.qcow2
	qemu-img snapshot -c two a.qcow2
	qemu-img bitmap --add a.qcow2 b0
	qemu-io -c "write -q -P 8 8M 512K" a.qcow2
	same_verdict a.qcow2
	[ "$verdict" = "0 corruptions 0 leaks" ]
	# The bitmaps become stale: what they hold is leaked
	cp a.qcow2 b.qcow2
	poke64 b.qcow2 88 0
	same_verdict b.qcow2
	repaired b.qcow2
	# The second snapshot's L1 table moved away
	cp a.qcow2 c.qcow2
	poke64 c.qcow2 "$(be64 c.qcow2 64)" 0x1234
	run vmimg check c.qcow2
	assert_failure 8
	vmimg check --repair=leaks c.qcow2 >/dev/null || true
	poke64 c.qcow2 "$(be64 a.qcow2 64)" "$(be64 a.qcow2 "$(be64 a.qcow2 64)")"
	same_verdict c.qcow2
	[ "$verdict" = "0 corruptions 0 leaks" ]
}

@test "compressed clusters: shared host clusters count, a damaged stream is found by --deep alone" {
	healthy
	for t in zlib zstd; do
		rm -f c.qcow2
		qemu-img convert -c -f qcow2 -O qcow2 -o compression_type=$t a.qcow2 c.qcow2
		same_verdict c.qcow2
		[ "$verdict" = "0 corruptions 0 leaks" ]
		vmimg check -q --deep c.qcow2
		l2=$(l2_at c.qcow2)
		at=$(($(be64 c.qcow2 "$l2") & ((1 << 54) - 1)))
		patch_bytes c.qcow2 $at ffffffff
		vmimg check -q c.qcow2
		run vmimg check --deep c.qcow2
		assert_failure 8
		assert_output --partial "compressed cluster at offset $at cannot be decoded"
	done
}

@test "LUKS images are checked without their key" {
	healthy
	luks_qcow2 l.qcow2 16M
	run vmimg check --json l.qcow2
	assert_success
	[ "$(json .clean)" = true ]
}

@test "a check without --repair never writes" {
	healthy
	sum=$(sha256 a.qcow2)
	vmimg check -q --deep a.qcow2
	[ "$(sha256 a.qcow2)" = "$sum" ]
}
