#!/usr/bin/env bats
# vmimg create against qemu-img.
load common

setup() {
	common_setup
	require qemu-img
}

@test "empty images of several sizes and options" {
	local size how
	for size in 0 512 1M 3G 64T; do
		vmimg create --force a.qcow2 $size
		assert_qemu_clean a.qcow2
	done
	for how in cluster_size=512 cluster_size=2M compat=v2 refcount_bits=1,lazy_refcounts=on extended_l2=on; do
		vmimg create --force -o $how a.qcow2 100M
		assert_qemu_clean a.qcow2
		run qemu-img info --output=json a.qcow2
		[ "$(json '."virtual-size"')" = 104857600 ]
	done
	vmimg create a.raw 10M
	[ "$(stat -c %s a.raw)" = 10485760 ]
	[ "$(allocated a.raw)" = 0 ]
	vmimg create -f qcow2 noname 1M
	assert_qemu_clean noname
}

@test "overlays: size from the backing file, format, name as given" {
	random_image base.raw 5000192 3
	vmimg create -b base.raw -F raw over.qcow2
	assert_same_disk base.raw over.qcow2 raw qcow2
	run qemu-img info --output=json over.qcow2
	[ "$(json '."virtual-size"')" = 5000192 ]
	[ "$(json '."backing-filename"')" = base.raw ]
	[ "$(json '."backing-filename-format"')" = raw ]
	vmimg create -b over.qcow2 top.qcow2 6M
	run qemu-img info --output=json top.qcow2
	[ "$(json '."virtual-size"')" = 6291456 ]
	[ "$(json '."backing-filename-format"')" = qcow2 ]
	mkdir sub
	mv base.raw sub/
	vmimg create -b sub/base.raw -F raw x.qcow2
	cd sub
	refused 12 vmimg create -b sub/base.raw -F raw x.qcow2
	cd ..
	vmimg create -b base.raw -F raw sub/y.qcow2
	assert_same_disk sub/base.raw sub/y.qcow2 raw qcow2
}

@test "refusals" {
	random_image base.raw 100352 3
	refused 2 vmimg create a.qcow2
	refused 2 vmimg create a.qcow2 10X
	refused 2 vmimg create a.doc 1M
	refused 2 vmimg create -b base.raw a.qcow2
	refused 4 vmimg create -b nothing.qcow2 -F qcow2 a.qcow2
	refused 9 vmimg create -b base.raw -F raw a.raw
	refused 2 vmimg create -F raw a.qcow2 1M
	mkdir sub
	refused 12 vmimg create -b ../base.raw -F raw sub/a.qcow2
	vmimg create --allow-backing . -b ../base.raw -F raw sub/a.qcow2
	echo mine >b.qcow2
	refused 5 vmimg create b.qcow2 1M
	[ "$(cat b.qcow2)" = mine ]
	refused 2 vmimg create --force -b base.raw -F raw -f qcow2 base.raw
	assert_file_not_exist a.qcow2
	assert_clean
}
