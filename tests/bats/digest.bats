#!/usr/bin/env bats
# vmimg digest against sha256sum of what qemu-img makes raw.
load common

@test "the digest of the disk, whatever the format" {
	require qemu-img
	random_image a.raw 9000448 3 40
	qemu-img convert -c -O qcow2 a.raw a.qcow2
	qemu-img convert -O raw a.qcow2 q.raw
	local n
	for n in 1 2 8; do
		run vmimg digest --threads $n a.raw a.qcow2
		assert_success
		assert_output "$(sha256 q.raw)  a.raw
$(sha256 q.raw)  a.qcow2"
	done
	vmimg digest a.raw | sha256sum -c --status
	cat a.raw | vmimg digest -f raw - >out
	[ "$(cut -d' ' -f1 out)" = "$(sha256 a.raw)" ]
}

@test "algorithms, sizes that are no multiple of anything" {
	random_image a.raw 1000001 3 9
	local a
	for a in sha1 sha256 sha384 sha512 md5; do
		run vmimg digest --algorithm $a a.raw
		assert_output "$(${a}sum a.raw)"
	done
	run vmimg digest -a blake2b a.raw
	assert_output "$(b2sum a.raw)"
	: >empty.raw
	run vmimg digest empty.raw
	assert_output "$(sha256sum empty.raw)"
	refused 2 vmimg digest -a crc a.raw
}

@test "JSON, odd names, several with one that fails" {
	random_image a.raw 100000 3 3
	cp a.raw $'odd\n\\name.raw'
	run vmimg digest $'odd\n\\name.raw'
	assert_output "$(sha256sum $'odd\n\\name.raw')"
	run vmimg digest --json a.raw a.raw
	assert_schema vmimg-digest
	[ "$(json '.[1].digest')" = "$(sha256 a.raw)" ]
	run vmimg digest --json=lines a.raw a.raw
	assert_schema vmimg-digest
	run_split vmimg digest nothing.raw a.raw
	assert_status 3
	[ "$output" = "$(sha256sum a.raw)" ]
	[[ $stderr == *nothing.raw* ]]
	refused 4 vmimg digest nothing.raw
}
