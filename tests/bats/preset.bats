#!/usr/bin/env bats
# --for TARGET of convert, create and measure: format, options, sizes; what a target refuses.
load common

setup() {
	common_setup
	require qemu-img
	random_image a.raw 30000128 3 40
}

# vhd_field FILE OFFSET LENGTH - of the footer, in hex
vhd_field() { tail -c 512 "$1" | od -An -tx1 -v -j "$2" -N "$3" | tr -d ' \n'; }

@test "azure: a fixed VHD of whole MiB, at least 20" {
	vmimg convert --for azure a.raw a.vhd
	[ "$(stat -c %s a.vhd)" = $((29 * 1048576 + 512)) ]
	[ "$(vhd_field a.vhd 48 8)" = "$(printf %016x $((29 * 1048576)))" ]
	[ "$(vhd_field a.vhd 60 4)" = 00000002 ]
	cmp -n 30000128 a.raw a.vhd
	vmimg create --for azure b.vhd 1M
	[ "$(stat -c %s b.vhd)" = $((20 * 1048576 + 512)) ]
	run vmimg measure --json --for azure a.raw
	[ "$(json '"\(.format) \(.required)"')" = "vhd $((29 * 1048576 + 512))" ]
	# the name's suffix need not tell
	vmimg convert --for azure a.raw disk.out
	assert_same_bytes a.vhd disk.out
	vmimg convert --for azure - - <a.raw >out
	assert_same_bytes a.vhd out
	refused 2 vmimg convert --for azure a.raw b.qcow2
	refused 2 vmimg convert --for azure -O vhdx a.raw b
	refused 2 vmimg convert --for azure -o subformat=dynamic a.raw c.vhd
	refused 2 vmimg convert --for azure -B a.raw -F raw a.raw c.vhd
	refused 9 vmimg create --for azure c.vhd 33T
	refused 2 vmimg convert --for nobody a.raw c.vhd
	assert_file_not_exist c.vhd
}

@test "gce: disk.raw in an old GNU tar, sparse, gzipped, of whole GiB" {
	require tar gzip
	vmimg convert --for gce a.raw a.tar.gz
	gzip -t a.tar.gz
	[ "$(tar tzf a.tar.gz)" = disk.raw ]
	mkdir x
	tar xzSf a.tar.gz -C x
	[ "$(stat -c %s x/disk.raw)" = 1073741824 ]
	assert_same_disk a.raw x/disk.raw raw raw
	[ "$(allocated x/disk.raw)" -lt 40000000 ]
	[ "$(gzip -dc a.tar.gz | head -c 512 | od -An -tx1 -j 257 -N 8 | tr -d ' ')" = 7573746172202000 ]
	# the same through pipes, from another format, with any number of threads
	vmimg convert a.raw a.qcow2
	vmimg convert --for gce --threads 1 a.raw - >b.tar.gz
	assert_same_bytes a.tar.gz b.tar.gz
	vmimg convert --for gce a.qcow2 - | tar xzSf - -C x
	assert_same_disk a.raw x/disk.raw raw raw
	run vmimg convert --json --force --for gce a.raw a.tar.gz
	assert_schema vmimg-convert
	[ "$(json .virtual_size)" = 1073741824 ]
	# beyond 8 GiB numbers do not fit octal digits
	truncate -s 9000000000 big.raw
	printf end | dd of=big.raw bs=1 seek=8999999000 conv=notrunc status=none
	vmimg convert --for gce big.raw big.tar.gz
	tar xzSf big.tar.gz -C x
	[ "$(stat -c %s x/disk.raw)" = 9663676416 ]
	[ "$(dd if=x/disk.raw bs=1 skip=8999999000 count=3 status=none)" = end ]
	tar --full-time -tvzf big.tar.gz | grep -q ' 9663676416 1970-01-01 '
	SOURCE_DATE_EPOCH=86400 vmimg convert --for gce a.raw - | TZ=UTC tar -tvzf - | grep -q 1970-01-02
	refused 5 vmimg convert --for gce a.raw a.tar.gz
	refused 2 vmimg convert --for gce -c a.raw c.tar.gz
	refused 2 vmimg convert --for gce -O qcow2 a.raw c.tar.gz
	refused 2 vmimg convert --for gce --digest sha256 a.raw c.tar.gz
	refused 2 vmimg convert --for gce --force a.raw a.raw
	refused 2 vmimg create --for gce c.tar.gz 1G
	refused 2 vmimg measure --for gce a.raw
	assert_file_not_exist c.tar.gz
	assert_clean
}

@test "aws, esxi, hyperv, virtualbox, openstack, proxmox" {
	vmimg convert --for aws a.raw aws.vmdk
	grep -aq 'createType="streamOptimized"' aws.vmdk
	assert_same_disk a.raw aws.vmdk raw vmdk
	refused 2 vmimg convert --for aws -o subformat=vmfs a.raw b.vmdk
	refused 2 vmimg convert --for aws a.raw b.qcow2
	vmimg convert --for aws a.raw aws.vhd
	vmimg convert --for esxi a.raw esxi.vmdk
	grep -aq 'createType="vmfs"' esxi.vmdk
	grep -aq 'ddb.adapterType = "lsilogic"' esxi.vmdk
	vmimg convert --for esxi -o subformat=streamOptimized a.raw esxi2.vmdk
	assert_same_disk a.raw esxi2.vmdk raw vmdk
	refused 2 vmimg convert --for esxi -o adapter_type=ide a.raw b.vmdk
	vmimg convert --for hyperv a.raw h.vhdx
	assert_same_disk a.raw h.vhdx raw vhdx
	[ "$(allocated h.vhdx)" -ge "$(stat -c %s h.vhdx)" ]
	run vmimg info --json h.vhdx
	[ "$(json .virtual_size)" = 30003200 ]
	vmimg convert --for virtualbox a.raw v.vdi
	assert_same_disk a.raw v.vdi raw vdi
	local to
	for to in openstack proxmox; do
		vmimg convert --for $to -c a.raw $to.qcow2
		assert_same_disk a.raw $to.qcow2 raw qcow2
		refused 2 vmimg convert --for $to -o compat=v2 a.raw b.qcow2
		refused 2 vmimg convert --for $to -o data_file=x.raw a.raw b.qcow2
		refused 2 vmimg convert --for $to a.raw b.vhd
	done
	[ "$(qemu-img info --output=json proxmox.qcow2 | jq '."virtual-size" % 1024')" = 0 ]
	assert_file_not_exist b.qcow2 b.vmdk b.vhd
}
