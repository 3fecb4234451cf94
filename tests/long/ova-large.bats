#!/usr/bin/env bats
# An OVA whose disk is above 8 GiB when compressed: 9 GiB of random bytes are written, which takes a minute or two and 27 GiB of
# room, so ./check does not run it: VMKIT_BIN=$PWD/build/bin bats tests/long/ova-large.bats
# bats file_tags=slow,release

load ../bats/common

@test "OVA of 9 GiB of random bytes, by way of a file and of a pipe" {
	require qemu-img tar sha256sum
	openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0 -in /dev/zero 2>/dev/null | head -c 9G >a.raw
	vmimg convert --name big a.raw big.ova
	[ "$(tar tvf big.ova | awk '$NF == "big-disk1.vmdk" && $3 > 8 * 2 ^ 30' | wc -l)" = 1 ]
	tar xOf big.ova big.mf | grep -q "^SHA256(big-disk1.vmdk)= $(tar xOf big.ova big-disk1.vmdk | sha256sum | cut -d' ' -f1)$"
	vmimg check big.ova
	vmimg compare a.raw big.ova
	vmimg convert -O ova --name big a.raw - | cmp - big.ova
	tar xf big.ova big-disk1.vmdk
	rm big.ova
	qemu-img compare -q -f raw -F vmdk a.raw big-disk1.vmdk
}
