# Random writes to qcow2: in turns with qemu-io on one image, against a model; and writers killed at random points.
# bats file_tags=slow
# More of the same: tests/qcow2_random.py IMGIO FOLDER SEED ROUNDS OPS NAME=VALUE...

load common

setup() {
	common_setup
	require qemu-img qemu-io python3
	imgio=$VMKIT_TOOLS/imgio
	[ -x "$imgio" ] || skip "build it: make tools"
}

# turns NAME=VALUE... - two rounds of 60 operations, the first by imgio, the second by qemu-io
turns() {
	run python3 "$ROOT/tests/qcow2_random.py" "$imgio" "$PWD" "${SEED:-11}" "${ROUNDS:-2}" 60 "$@"
	assert_success
}

@test "qcow2 random writes: cluster sizes" {
	turns
	turns cluster_size=512
	turns cluster_size=2097152
}

@test "qcow2 random writes: refcounts of every width" {
	for width in 1 2 4 8 32 64; do
		turns cluster_size=512 refcount_bits=$width
	done
}

@test "qcow2 random writes: over backing files and compressed clusters" {
	turns cluster_size=4096 backing=on
	turns compat=0.10 backing=on
	turns compressed=on
}

@test "qcow2 random writes: with internal snapshots" {
	ROUNDS=4 turns cluster_size=1024 snapshots=on
	ROUNDS=4 turns refcount_bits=4 compressed=on snapshots=on
}

@test "qcow2 random writes: extended L2 entries" {
	turns extended_l2=on
	ROUNDS=4 turns extended_l2=on cluster_size=16384 backing=on snapshots=on
}

@test "qcow2 random writes: lazy refcounts, external data files" {
	turns lazy_refcounts=on
	turns data_file=on
	turns data_file=raw
	turns data_file=on extended_l2=on backing=on
}

@test "qcow2 random writes: a killed writer leaves leaks at worst, and what was flushed" {
	for conf in cluster_size=65536 "cluster_size=512 snapshot=on" lazy_refcounts=on extended_l2=on; do
		# shellcheck disable=SC2086 # several options
		run python3 "$ROOT/tests/qcow2_kill.py" "$imgio" "$PWD" 5 5 $conf
		assert_success
	done
}
