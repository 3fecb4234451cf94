#!/usr/bin/env bats
# Repositories of every format version that there was are read, verified and added to. tests/data/make-golden.sh made them.
load common

# folders of the versions: golden-repo is version 1, golden-repo-2 has parity, golden-repo-3 deltas
GOLDEN=$ROOT/tests/data/golden-repo

setup() {
	common_setup
	mkdir golden
	local version suffix repo
	for suffix in '' -2 -3; do
		version=${suffix#-}
		for repo in plain encrypted; do cp -r "$GOLDEN$suffix/$repo" "golden/$repo${version:-1}"; done
		sed -E "s/^(plain|encrypted)/\\1${version:-1}/" "$GOLDEN$suffix/expected" >>golden/expected
	done
	sed -i '/^\(plain2\|plain3\|encrypted3\) .*:data/d' golden/expected # 5 GiB of zeros to hash; encrypted2 has the same
	echo golden >key
	export VMKIT_PASSWORD_FILE=$PWD/key
}

@test "every disk of the golden repositories" {
	local repo spec size sum n=0
	while read -r repo spec size sum; do
		n=$((n + 1))
		run vmbackup -r "golden/$repo" restore --digest sha256 "$spec" out.raw
		assert_success
		assert_output "$sum  out.raw"
		[ "$(stat -c %s out.raw)" = "$size" ]
		rm out.raw
	done <golden/expected
	[ "$n" = 21 ]
}

@test "they are whole, and reading changes nothing" {
	local repo
	for repo in plain1 encrypted1 plain2 encrypted2 plain3 encrypted3; do
		run vmbackup -r golden/$repo verify
		assert_success
		assert_output ''
		run vmbackup -r golden/$repo list --json
		assert_schema vmbackup-list
		[ "$(json 'map(.vm + " " + (.tags | join(","))) | join(";")')" = 'web first;web second;db ' ]
	done
	for repo in plain encrypted; do
		diff -r "$GOLDEN/$repo" golden/${repo}1
		diff -r "$GOLDEN-2/$repo" golden/${repo}2
		diff -r "$GOLDEN-3/$repo" golden/${repo}3
	done
}

@test "they can be added to, and find what they hold" {
	local repo
	for repo in plain1 encrypted1 plain2 encrypted2 plain3 encrypted3; do
		mkdir -p golden/$repo/tmp # git does not keep it
		vmbackup -r "golden/$repo" restore db a.raw
		run vmbackup -r golden/$repo backup --json --vm db --full a.raw
		assert_success
		[ "$(json .new_bytes)" = 0 ]
		[ "$(json .stored_bytes)" = 0 ]
		random_bytes 9 100000 >b.raw
		vmbackup -r golden/$repo backup --vm new b.raw
		vmbackup -r "golden/$repo" restore new c.raw
		assert_same_bytes b.raw c.raw
		run vmbackup -r golden/$repo verify
		assert_success
		rm -f a.raw b.raw c.raw
	done
}

@test "without the passphrase" {
	echo silver >key
	refused 12 vmbackup -r golden/encrypted1 list
	refused 12 vmbackup -r golden/encrypted2 list
}

@test "version 2: a damaged sector of each pack is healed" {
	local repo pack
	for repo in plain2 encrypted2; do
		mkdir -p golden/$repo/tmp # git does not keep it
		for pack in "golden/$repo"/packs/*/*; do
			chmod u+w "$pack"
			random_bytes 5 4096 | dd of="$pack" bs=4096 conv=notrunc status=none
		done
		run vmbackup -r golden/$repo verify
		assert_status 8
		run vmbackup -r golden/$repo verify --heal
		assert_success
		for pack in "golden/$repo"/packs/*/*; do
			cmp "$pack" "$GOLDEN-2/${repo%2}/${pack#"golden/$repo/"}"
		done
	done
}

@test "version 2: the parity is what the format document says" {
	require python3
	local pack n=0
	for pack in "$GOLDEN"-2/*/packs/*/*; do
		n=$((n + 1))
		python3 - "$pack" <<-'E'
			import struct, sys
			pack = open(sys.argv[1], "rb").read()
			def mul(a, b):
			    r = 0
			    while b:
			        r ^= a if b & 1 else 0
			        a = a << 1 ^ (0x11d if a & 128 else 0)
			        b >>= 1
			    return r
			inverse = {a: b for a in range(1, 256) for b in range(1, 256) if mul(a, b) == 1}
			at = next(o for o in range(0, len(pack), 4096) if pack[o:o + 8] == b"VMKITPAR")
			one, data, stride, shards, extra = struct.unpack_from("<IIIHH", pack, at + 8)
			assert one == 1 and at == data * 4096 and shards == -(-data // stride) and extra == -(-shards * 4 // 100)
			assert pack[at + 24:at + 40].hex() == sys.argv[1][-32:]
			map_bytes = -(-(64 + 4 * (data + extra * stride)) // 4096) * 4096
			second = at + map_bytes + extra * stride * 4096
			assert pack[at:at + map_bytes] == pack[second:second + map_bytes]
			for e in range(extra):
			    for j in range(stride):
			        total = bytearray(4096)
			        for i in range(shards):
			            b = i * stride + j
			            block = pack[b * 4096:b * 4096 + 4096] if b < data else bytes(4096)
			            row = bytes(mul(inverse[(shards + e) ^ i], x) for x in range(256))
			            for k, x in enumerate(block.translate(row)):
			                total[k] ^= x
			        o = at + map_bytes + (e * stride + j) * 4096
			        assert total == pack[o:o + 4096], (e, j)
		E
	done
	[ "$n" = 6 ]
}
