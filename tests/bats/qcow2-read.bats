# What we read of qcow2 images that qemu-img and qemu-io made is what qemu-img converts, over every feature.
# bats file_tags=slow

setup() {
	load common
	load qcow2
	common_setup
	require qemu-img qemu-io jq
}

SIZE=$((6 * 1024 * 1024 + 512))

# exercise NAME OPTIONS - random writes, a snapshot, more writes, a compressed copy with writes, an overlay
exercise() {
	local name=$1 options=$2
	qemu-img create -q -f qcow2 -o "$options" "$name" $SIZE
	qemu_writes "$name" qcow2 $SIZE "$((${#options} * 7919 + 1))" 40
	same_content "$name"
	if [[ $options != *bits=1 ]]; then
		qemu-img snapshot -c before "$name"
		qemu_writes "$name" qcow2 $SIZE "$((${#options} * 104729 + 2))" 25
		same_content "$name"
		same_content "$name" before
	fi
	same_verdict "$name"
	qemu-img convert -c -f qcow2 -O qcow2 -o "$options" "$name" c-"$name"
	same_content c-"$name"
	qemu_writes c-"$name" qcow2 $SIZE "$((${#options} + 77))" 10
	same_content c-"$name"
	same_verdict c-"$name"
	qemu-img create -q -f qcow2 -F qcow2 -b "$name" -o "$options" o-"$name" 9M
	qemu_writes o-"$name" qcow2 $((9 * 1024 * 1024)) 5 20
	same_content o-"$name"
	same_verdict o-"$name"
}

# of ALL... / FEW... - the words up to "/", or with sanitizers, where a program takes ten times as long, those behind it
of() {
	local words="$*"
	if sanitized; then echo "${words#* / }"; else echo "${words% / *}"; fi
}

@test "version 2, clusters of 512 bytes to 2 MiB" {
	for cs in $(of 512 4096 65536 2M / 512 65536); do exercise "v2-$cs" "compat=0.10,cluster_size=$cs"; done
}

@test "version 3, clusters of 512 bytes to 2 MiB" {
	for cs in $(of 512 1024 65536 2M / 1024 2M); do exercise "v3-$cs" "compat=1.1,cluster_size=$cs"; done
}

@test "refcounts of every width" {
	for bits in $(of 1 2 4 8 32 64 / 1 4 64); do exercise "r$bits" "compat=1.1,refcount_bits=$bits"; done
}

@test "zstd" {
	for cs in $(of 1024 65536 2M / 65536); do exercise "z-$cs" "compression_type=zstd,cluster_size=$cs"; done
}

@test "extended L2 entries" {
	for cs in $(of 16384 65536 2M / 16384 65536); do exercise "e-$cs" "extended_l2=on,cluster_size=$cs"; done
}

@test "lazy refcounts" {
	exercise lazy lazy_refcounts=on
}

@test "preallocated images" {
	for p in metadata falloc full; do
		qemu-img create -q -f qcow2 -o preallocation=$p p-$p 8M
		qemu-io -c 'write -q -P 7 1M 64k' p-$p
		same_content p-$p
		same_verdict p-$p
	done
}

@test "external data files, plain and raw; the name is confined" {
	for raw in on off; do
		qemu-img create -q -f qcow2 -o data_file=d-$raw.data,data_file_raw=$raw d-$raw.qcow2 8M
		qemu-io -c 'write -q -P 7 1M 300k' -c 'write -q -z 2M 64k' -c 'write -q -P 8 0 64k' d-$raw.qcow2
		same_content d-$raw.qcow2
		same_verdict d-$raw.qcow2
		run vmimg info --json d-$raw.qcow2
		[ "$(json .format_specific.data_file)" = d-$raw.data ]
	done
	mkdir elsewhere other
	qemu-img create -q -f qcow2 -o data_file="$PWD/elsewhere/x.data" other/x.qcow2 1M
	run vmimg digest other/x.qcow2
	assert_failure 12
	# info opens nothing
	rm elsewhere/x.data
	vmimg info other/x.qcow2 >/dev/null
}

@test "info: snapshots by name and id, a disk that was resized since, bitmaps and whether they hold" {
	qemu-img create -q -f qcow2 a.qcow2 4M
	qemu-io -c 'write -q -P 1 0 1M' a.qcow2
	qemu-img snapshot -c small a.qcow2
	qemu-img resize -q a.qcow2 6M
	qemu-io -c 'write -q -P 2 5M 1M' a.qcow2
	qemu-img snapshot -c large a.qcow2
	qemu-img bitmap --add a.qcow2 watched
	qemu-img bitmap --add --disable -g 128k a.qcow2 asleep
	same_content a.qcow2
	same_content a.qcow2 large
	# qemu-img gives the snapshot the size of today; its own size is in the table
	vmimg convert --snapshot small -O raw a.qcow2 small.raw
	[ "$(stat -c %s small.raw)" = 4194304 ]
	qemu-img convert -f qcow2 -O raw -l snapshot.name=small a.qcow2 theirs.raw
	truncate -s 4M theirs.raw
	assert_same_bytes small.raw theirs.raw
	run vmimg info --json a.qcow2
	[ "$(json '.snapshots | map("\(.id) \(.name) \(.virtual_size)") | join(",")')" = "1 small 4194304,2 large 6291456" ]
	[ "$(json '.format_specific.bitmaps | map("\(.name) \(.granularity) \(.consistent)") | join(",")')" = \
		"watched 65536 true,asleep 131072 false" ]
	# By id too; one that is not there is status 4
	[ "$(vmimg digest --snapshot 2 a.qcow2 | cut -d' ' -f1)" = "$(vmimg digest --snapshot large a.qcow2 | cut -d' ' -f1)" ]
	refused 4 vmimg digest --snapshot none a.qcow2
	# Stale: the autoclear bit is gone
	poke64 a.qcow2 88 0
	run vmimg info --json a.qcow2
	[ "$(json '.format_specific.bitmaps | map(.consistent) | any')" = false ]
}

@test "encrypted images: info works, reading says why not" {
	luks_qcow2 l.qcow2 1M
	run vmimg info --json l.qcow2
	assert_success
	[ "$(json .format_specific.encryption)" = luks ]
	refused 12 vmimg digest l.qcow2
	[[ $stderr == *encrypted* ]]
}

@test "the last cluster of the file may be short; what lies beyond is a corruption" {
	qemu-img create -q -f qcow2 a.qcow2 4M
	qemu-io -c 'write -q -P 1 0 2M' a.qcow2
	size=$(stat -c %s a.qcow2)
	truncate -s $((size - 32768)) a.qcow2
	same_content a.qcow2
	truncate -s $((size - 65536 - 32768)) a.qcow2
	refused 8 vmimg digest a.qcow2
	[[ $stderr == *"guest offset 2031616"*"offset $((size - 65536))"* ]] || fail "$stderr"
}
