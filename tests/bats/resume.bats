#!/usr/bin/env bats
# vmimg convert --resume: what was interrupted goes on, and ends as if it never had been; what is not provably the same
# begins anew.
load common

setup() {
	common_setup
	require qemu-img
}

# interrupted SIGNAL SECONDS ARGS... - vmimg convert --resume ARGS, stopped after SECONDS; status of the convert
interrupted() {
	local signal=$1 seconds=$2
	shift 2
	# a look for leaks that is killed would leave words of its own
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 vmimg convert --resume "$@" 2>>.stderr 3>&- &
	local pid=$!
	sleep "$seconds"
	kill -"$signal" $pid 2>/dev/null
	wait $pid 2>/dev/null
}

# begun [-SIGNAL] ARGS... - interrupt as soon as something is recorded (more than the last time, when it goes on with that)
begun() {
	local signal=KILL record=${*: -1}.part.record was=100 i
	[[ $1 != -TERM ]] || { signal=TERM && shift; }
	[ ! -e "$record" ] || was=$(stat -c %s "$record")
	ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 vmimg convert --resume --rate-limit 8M "$@" 2>>.stderr 3>&- &
	local pid=$!
	for ((i = 0; i < 1000; i++)); do
		[ ! -s "$record" ] || [ "$(stat -c %s "$record")" -le "$was" ] || break
		[ -d /proc/$pid ] || fail "it ended: $(cat .stderr)"
		sleep 0.03
	done
	kill -$signal $pid
	wait $pid 2>/dev/null && fail "was not interrupted"
	[ "$(stat -c %s "$record")" -gt "$was" ] || fail "nothing was recorded"
}

resumed() { json .resumed_bytes; }

# A disk whose pieces compress, do not, are zero, and lie apart.
a_disk() {
	random_image a.raw 24000000 5 60
	random_bytes 9 3000000 | dd of=a.raw bs=1M seek=9 conv=notrunc status=none
	yes 'what compresses' | head -c 5000000 | dd of=a.raw bs=1M seek=14 conv=notrunc status=none
}

# bats test_tags=slow
@test "killed again and again, the target is byte for byte what it would have been, in every format" {
	a_disk
	vmimg convert -o cluster_size=4k -c a.raw src.qcow2
	local how tries ms total=0
	while read -r how; do
		mkdir -p whole
		# shellcheck disable=SC2086 # options
		vmimg convert $how src.qcow2 whole/t.img
		tries=0 ms=250
		# More time each time: on a busy machine 250 ms may be too short for anything to be recorded
		# shellcheck disable=SC2086
		until interrupted KILL "$(printf %d.%03d $((ms / 1000)) $((ms % 1000)))" --rate-limit 24M --threads $((tries % 3 + 1)) $how src.qcow2 t.img; do
			[ ! -e t.img ] || break # killed when all was done
			ms=$((ms + 25))
			((++tries < 60)) || fail "$how: no end"
		done
		assert_same_bytes whole/t.img t.img
		assert_file_not_exist t.img.part
		rm -f t.img.part.record
		total=$((total + tries))
		rm -f whole/t.img t.img
	done <<-'END'
		-O raw
		-O qcow2
		-O qcow2 -c -o cluster_size=4k
		-O qcow2 -czlib:6
		-O qcow2 -czstd
		-O vmdk
		-O vmdk -o subformat=streamOptimized
		-O vhd
		-O vhd -o subformat=fixed
		-O vhdx
		-O vdi
	END
	[ "$total" -ge 11 ] || fail "hardly ever interrupted: $total"
	[ ! -s .stderr ] || fail "$(cat .stderr)"
}

@test "what was recorded is not read again; the digest is of all; --verify reads the whole target" {
	a_disk
	begun -O qcow2 -c a.raw t.qcow2
	run_split vmimg convert --resume --json -O qcow2 -c --verify a.raw t.qcow2
	assert_status 0
	assert_schema vmimg-convert
	[ "$(resumed)" -gt 0 ]
	[ "$(json .read_bytes)" -lt "$(json .data_bytes)" ]
	vmimg convert -O qcow2 -c a.raw whole.qcow2
	assert_same_bytes t.qcow2 whole.qcow2
	rm t.qcow2
	begun -O qcow2 -c --digest sha256 a.raw t.qcow2
	run_split vmimg convert --resume --json -O qcow2 -c --digest sha256 a.raw t.qcow2
	assert_status 0
	[ "$(resumed)" -gt 0 ]
	[ "$(json .digest.value)" = "$(sha256sum <a.raw | cut -d' ' -f1)" ]
	assert_same_disk a.raw t.qcow2 raw qcow2
}

@test "stopped by a signal or a full disk it goes on as well" {
	require_root
	a_disk
	begun -TERM a.raw t.qcow2
	assert_file_exist t.qcow2.part
	run_split vmimg convert --resume --json a.raw t.qcow2
	[ "$(resumed)" -gt 0 ]
	assert_same_disk a.raw t.qcow2 raw qcow2

	mkdir small
	mount -t tmpfs -o size=6m none small || skip "cannot mount"
	run vmimg convert --resume a.raw small/t.qcow2
	local first=$status part
	part=$(stat -c %s small/t.qcow2.part)
	mount -o remount,size=60m small
	run_split vmimg convert --resume --json a.raw small/t.qcow2
	cmp small/t.qcow2 t.qcow2 || first=differs
	umount small
	[ "$first" = 13 ] || fail "$first"
	[ "$part" -gt 0 ]
	assert_status 0
}

# bats test_tags=slow,release
@test "a source or an option that changed begins anew" {
	a_disk
	vmimg convert a.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 7 1M 1M' top.qcow2 >/dev/null
	local change
	for change in 'touch base.qcow2' 'touch top.qcow2' 'chmod 600 base.qcow2' 'cp base.qcow2 x; mv x base.qcow2' \
		'truncate -s 30000 t.qcow2.part' 'rm t.qcow2.part' 'rm t.qcow2.part.record' ': >t.qcow2.part.record' \
		'patch_bytes t.qcow2.part.record 0 00' 'patch_bytes t.qcow2.part.record 20 00ff00ff' \
		'patch_bytes t.qcow2.part.record 0x48 00ff' 'patch_bytes t.qcow2.part.record 0x50 ff00ff00ff' \
		'options=-olazy_refcounts=on' 'options=-czstd' 'options=-ocluster_size=128k'; do
		local options=-ocompat=v3
		begun -O qcow2 -ocompat=v3 top.qcow2 t.qcow2
		eval "$change"
		vmimg convert -O qcow2 "$options" top.qcow2 whole.qcow2
		run_split vmimg convert --resume --json -O qcow2 "$options" top.qcow2 t.qcow2
		assert_status 0
		[ "$(resumed)" = 0 ] || fail "$change: resumed at $(resumed)"
		assert_same_bytes whole.qcow2 t.qcow2
		rm -f whole.qcow2 t.qcow2
		assert_file_not_exist t.qcow2.part
		assert_file_not_exist t.qcow2.part.record
	done
	# A file that an image names counts as well.
	qemu-img convert -O vmdk -o subformat=monolithicFlat a.raw flat.vmdk
	begun -O qcow2 flat.vmdk t.qcow2
	touch flat-flat.vmdk
	run_split vmimg convert --resume --json -O qcow2 flat.vmdk t.qcow2
	assert_status 0
	[ "$(resumed)" = 0 ]
}

@test "an entry that is cut off or damaged is the end of the record" {
	a_disk
	vmimg convert a.raw whole.qcow2
	begun a.raw t.qcow2
	begun a.raw t.qcow2
	begun a.raw t.qcow2
	cp t.qcow2.part p && cp t.qcow2.part.record r
	local at size
	size=$(stat -c %s r)
	for at in $((size - 1)) $((size - 9)) $((size / 2)) $((size / 3)) 81; do
		# Into the same files: which they are is a part of the key.
		cat p >t.qcow2.part
		head -c "$at" r >t.qcow2.part.record
		run_split vmimg convert --resume --json a.raw t.qcow2
		assert_status 0
		assert_same_bytes whole.qcow2 t.qcow2
		mv t.qcow2 t.qcow2.part # the same inode again
		cat p >t.qcow2.part
		cat r >t.qcow2.part.record
		patch_bytes t.qcow2.part.record "$at" 5a
		run_split vmimg convert --resume --json a.raw t.qcow2
		assert_status 0
		assert_same_bytes whole.qcow2 t.qcow2
		mv t.qcow2 t.qcow2.part
	done
}

@test "two at once: the second is refused; an existing target is, too" {
	a_disk
	vmimg convert --resume --rate-limit 8M a.raw t.qcow2 3>&- &
	local pid=$!
	while [ ! -e t.qcow2.part.record ]; do sleep 0.02; done
	refused 6 vmimg convert --resume a.raw t.qcow2
	kill -KILL $pid
	run wait $pid
	vmimg convert --resume a.raw t.qcow2
	refused 5 vmimg convert --resume a.raw t.qcow2
	vmimg convert --resume --force a.raw t.qcow2
	assert_same_disk a.raw t.qcow2 raw qcow2
	# What lies under the name is not written through.
	rm t.qcow2
	echo mine >mine
	ln -s mine t.qcow2.part
	refused 1 vmimg convert --resume a.raw t.qcow2
	rm t.qcow2.part
	ln mine t.qcow2.part
	refused 5 vmimg convert --resume a.raw t.qcow2
	rm t.qcow2.part
	ln mine t.qcow2.part.record
	refused 5 vmimg convert --resume a.raw t.qcow2
	[ "$(cat mine)" = mine ]
}

@test "an overlay: what is equal to the backing file stays out, before and after" {
	a_disk
	vmimg convert a.raw base.qcow2
	cp a.raw b.raw
	random_bytes 3 9000000 | dd of=b.raw bs=1M seek=2 conv=notrunc status=none
	dd if=/dev/zero of=b.raw bs=1M seek=12 count=3 conv=notrunc status=none
	local how
	for how in '-O qcow2' '-O qcow2 -c' '-O vmdk'; do
		[ "$how" = '-O vmdk' ] && vmimg convert --force base.qcow2 base.vmdk
		local base=base.qcow2
		[ "$how" != '-O vmdk' ] || base=base.vmdk
		# shellcheck disable=SC2086
		vmimg convert $how -B $base b.raw whole.img
		# shellcheck disable=SC2086
		begun $how -B $base b.raw t.img
		# shellcheck disable=SC2086
		run_split vmimg convert --resume --json $how -B $base b.raw t.img
		assert_status 0
		[ "$(resumed)" -gt 0 ]
		[ "$base" = base.vmdk ] || assert_same_bytes whole.img t.img
		vmimg compare b.raw t.img
		rm t.img whole.img
	done
}

@test "what cannot be resumed is refused, and leaves nothing" {
	a_disk
	refused 2 vmimg convert --resume --no-sync a.raw t.qcow2
	refused 2 vmimg convert --resume a.raw -
	refused 2 vmimg convert --resume -O vmdk -o subformat=twoGbMaxExtentSparse a.raw t.vmdk
	refused 2 vmimg convert --resume -O vmdk -o subformat=monolithicFlat a.raw t.vmdk
	refused 2 vmimg convert --resume -O qcow2 -o data_file=d.raw a.raw t.qcow2
	refused 2 vmimg convert --resume --dry-run -O vmdk -o subformat=monolithicFlat a.raw t.vmdk
	refused 2 vmimg convert --resume --for gce a.raw t.tar.gz
	refused 2 vmimg convert --resume a.raw t.ova
	refused 9 vmimg convert --resume -O qcow2 - t.qcow2 <a.raw
	# shellcheck disable=SC2002 # a pipe
	cat a.raw | refused 9 vmimg convert --resume -f raw -O qcow2 - t.qcow2
	run vmimg convert --resume --dry-run a.raw t.qcow2
	assert_success
	run find . -name 't.*' -o -name d.raw
	assert_output ""
}

@test "reflinks: the same layout after an interruption" {
	require_root
	require mkfs.xfs
	truncate -s 400M fs.img
	mkfs.xfs -q -m reflink=1 fs.img
	mkdir mnt
	mount -o loop fs.img mnt || skip "cannot mount"
	a_disk
	cp a.raw mnt/a.raw
	vmimg convert mnt/a.raw mnt/whole.qcow2
	# So quick that it is stopped before it begins: by a target that is there when it ends.
	: >mnt/t.qcow2.part
	vmimg convert --resume mnt/a.raw mnt/t.qcow2
	run cmp mnt/whole.qcow2 mnt/t.qcow2
	umount mnt
	assert_success
}
