#!/usr/bin/env bats
# vmimg measure against the files that convert makes, and against qemu-img measure.
load common

setup() {
	common_setup
	random_image a.raw 30000128 3 80
}

@test "--scan is the size of the file that convert makes" {
	local how
	for how in cluster_size=64k cluster_size=512 cluster_size=2M extended_l2=on refcount_bits=64 compat=v2; do
		vmimg convert --force -o $how a.raw a.qcow2
		run vmimg measure --json --scan -O qcow2 -o $how a.raw
		assert_schema vmimg-measure
		[ "$(json .required)" = "$(stat -c %s a.qcow2)" ]
		[ "$(json .exact)" = true ]
		run vmimg measure --json -O qcow2 -o $how a.raw
		[ "$(json .required)" -ge "$(stat -c %s a.qcow2)" ]
		[ "$(json .exact)" = false ]
	done
	run vmimg measure --json a.raw
	[ "$(json .required)" = 30000128 ]
}

@test "an empty disk, a full disk" {
	run vmimg measure --json -O qcow2 --size 10G
	local empty full
	empty=$(json .required)
	vmimg create e.qcow2 10G
	[ "$empty" = "$(stat -c %s e.qcow2)" ]
	random_bytes 1 4194304 >full.raw
	run vmimg measure -O qcow2 full.raw
	vmimg convert full.raw full.qcow2
	full=$(stat -c %s full.qcow2)
	assert_output "required size: $full
fully allocated size: $full"
}

@test "near to what qemu-img says" {
	require qemu-img
	random_bytes 1 20971520 >full.raw
	local ours theirs
	run vmimg measure --json -O qcow2 full.raw
	ours=$(json .fully_allocated)
	theirs=$(qemu-img measure --output=json -f raw -O qcow2 full.raw | jq '."fully-allocated"')
	# The order of tables differs, not their number; allow one cluster either way.
	((ours <= theirs + 65536 && ours >= theirs - 65536))
}

@test "usage" {
	refused 2 vmimg measure -O qcow2
	refused 2 vmimg measure -O qcow2 --size 1G a.raw
	refused 2 vmimg measure -O nothing a.raw
	refused 2 vmimg measure -O qcow2 -o bad=1 a.raw
	refused 4 vmimg measure -O qcow2 nothing.raw
}
