#!/usr/bin/env bats
# vmimg inspect, ls, cat, get and vmbackup ls, get: what is inside of a disk, against debugfs, mtools, blkid, tar and the tree it was made of.
load common

ROOT_ID=5ca1ab1e-0000-4000-8000-000000000001

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	make_tree tree
	mke2fs -q -t ext4 -F -L rootfs -U $ROOT_ID -E root_owner=0:0 -d tree root.fs 40M
	truncate -s 34M efi.fs
	mkfs.fat -F 32 -s 1 -i 12345678 -n EFI efi.fs >/dev/null
	mmd -i efi.fs ::/EFI ::/EFI/debian
	mcopy -i efi.fs tree/big "::/EFI/debian/A long name with spaces.efi"
	mcopy -i efi.fs tree/etc/hostname ::/EFI/SHORT.TXT
	make_disk disk.raw
}

# make_tree DIR - what a small Debian has, and what is hard to copy
make_tree() {
	mkdir -p "$1"/{etc,boot/efi,lib/modules/6.1.0-18-amd64,lib/modules/6.1.0-9-amd64,bin,var/empty}
	printf 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n' >"$1/etc/os-release"
	echo web1 >"$1/etc/hostname"
	printf '#c\nUUID=%s / ext4 ro 0 1\nUUID=1234-5678\t/boot/efi vfat umask=0077 0 1\n/dev/vda3 none swap sw 0 0\n/dev/sdb1 /a\\040b xfs ro 0 0\n' \
		$ROOT_ID >"$1/etc/fstab"
	cp /bin/true "$1/bin/sh"
	ln -s ../etc "$1/var/e"
	ln -s /etc/hostname "$1/abs"
	ln -s ../../../../../../etc/hostname "$1/var/up"
	ln -s loop2 "$1/loop1"
	ln -s loop1 "$1/loop2"
	ln -s "$(printf 'x%.0s' {1..200})" "$1/var/long-link"
	ln "$1/etc/hostname" "$1/etc/other-name"
	random_bytes 3 700001 >"$1/big"
	truncate -s 10M "$1/sparse"
	echo here | dd of="$1/sparse" bs=1 seek=5000000 conv=notrunc status=none
	: >"$1/var/empty/file"
	printf 'evil' >"$1/var/"$'esc\e[31m\nname'
	printf 'latin' >"$1/var/"$'caf\xe9'
	printf 'utf8' >"$1/var/käse"
	chmod 4755 "$1/bin/sh"
	chmod 600 "$1/big"
	chmod 555 "$1/var/empty"
	touch -d 2001-02-03T04:05:06Z "$1/big" "$1/var/empty"
}

make_disk() {
	truncate -s 100M "$1"
	sfdisk -q "$1" <<<'label: gpt
		size=34M, type=U, name="EFI System"
		size=40M, type=L, name="root part"
		size=10M, type=S'
	dd if=efi.fs of="$1" bs=1M seek=1 conv=notrunc status=none
	dd if=root.fs of="$1" bs=1M seek=35 conv=notrunc status=none
	truncate -s 10M swap.fs
	chmod 600 swap.fs
	mkswap -q -U $ROOT_ID -L sw swap.fs
	dd if=swap.fs of="$1" bs=1M seek=75 conv=notrunc status=none
}

setup() {
	common_setup
	require sfdisk mke2fs debugfs mkfs.fat mcopy blkid tar qemu-img
	D=$BATS_FILE_TMPDIR
}

teardown() { chmod -R u+w . 2>/dev/null || true; }

@test "inspect: table, file systems, system; the same for people, in JSON and in every format" {
	run_split vmimg inspect --json "$D/disk.raw"
	assert_status 0
	assert_schema vmimg-inspect
	[ "$(json .partition_table)" = gpt ]
	[ "$(json '[.partitions[].filesystem.type] | join(" ")')" = "vfat ext4 swap" ]
	[ "$(json '.partitions[0].name')" = "EFI System" ]
	[ "$(json '.partitions[1].uuid')" = "$(sfdisk --part-uuid "$D/disk.raw" 2 | tr A-F a-f)" ]
	[ "$(json '.partitions[0].type')" = c12a7328-f81f-11d2-ba4b-00a0c93ec93b ]
	[ "$(json '.partitions[1].filesystem | .label + .uuid')" = rootfs$ROOT_ID ]
	[ "$(json '.partitions[1].filesystem.used')" = "$(dumpe2fs -h "$D/root.fs" 2>/dev/null |
		awk '/^Block count/ { n = $3 } /^Free blocks:/ { n -= $3 } /^Block size/ { b = $3 } END { print n * b }')" ]
	[ "$(json '.systems | length')" = 1 ]
	[ "$(json '.systems[0] | [.partition, .id, .version, .hostname] | map(tostring) | join(" ")')" = "2 debian 12 web1" ]
	[ "$(json '.systems[0].architecture')" = "$(uname -m)" ]
	[ "$(json '.systems[0].kernels | join(" ")')" = "6.1.0-9-amd64 6.1.0-18-amd64" ]
	[ "$(json '[.systems[0].mounts[] | .directory + "=" + (.partition | tostring)] | join(" ")')" = "/=2 /boot/efi=1 none=3 /a b=null" ]
	want=$(json '{partitions, systems}')
	for f in qcow2 vmdk vhdx; do
		vmimg convert "$D/disk.raw" "d.$f"
		run_split vmimg inspect --json "d.$f"
		[ "$(json '{partitions, systems}')" = "$want" ] || fail "$f: $output"
	done
	qemu-img snapshot -c before d.qcow2
	qemu-io -c "write -z 0 100M" d.qcow2 >/dev/null
	[ "$(vmimg cat --snapshot before d.qcow2 /etc/hostname)" = web1 ]
	refused 4 vmimg cat d.qcow2 /etc/hostname
	run vmimg inspect "$D/disk.raw"
	[[ $output == *"Debian GNU/Linux 12"* && $output == *"/boot/efi (partition 1)"* ]]
}

@test "inspect: kinds, labels and UUIDs are blkid's" {
	ours() { vmimg inspect --json "$1" | jq -r '.partitions[0].filesystem | [.type, .label // "", .uuid // ""] | join(" ")'; }
	theirs() {
		local t l u
		t=$(blkid -p -s TYPE -o value "$1")
		l=$(blkid -p -s LABEL -o value "$1")
		u=$(blkid -p -s UUID -o value "$1")
		echo "$t $l $u"
	}
	local kind
	for kind in "ext2" "ext3" "ext4"; do
		truncate -s 20M $kind
		mke2fs -q -t $kind -L "label $kind" $kind
	done
	truncate -s 2M fat12 && mkfs.fat -F 12 -n TWELVE fat12 >/dev/null
	truncate -s 20M fat16 && mkfs.fat -F 16 -n "SIX TEEN" fat16 >/dev/null
	truncate -s 300M xfs && mkfs.xfs -q -L exefes xfs
	truncate -s 4M ntfs && mkntfs -q -F ntfs >/dev/null 2>&1
	truncate -s 4M swap && chmod 600 swap && mkswap -q -L swappy swap
	printf '' >nothing && truncate -s 1M nothing
	for kind in ext2 ext3 ext4 fat12 fat16 xfs ntfs swap; do
		[ "$(ours $kind)" = "$(theirs $kind)" ] || fail "$kind: $(ours $kind), blkid: $(theirs $kind)"
	done
	[ "$(ours nothing)" = "empty  " ]
}

@test "ls: names, long form, links, partitions, JSON; names cannot drive the terminal" {
	run vmimg ls "$D/disk.raw" /etc
	[ "$output" = "$(cd "$D/tree/etc" && LC_ALL=C printf '%s\n' *)" ]
	vmimg ls -R -0 "$D/disk.raw" 2:/ | tr '\0\n' '\n?' | LC_ALL=C sort >ours
	(cd "$D/tree" && find . -mindepth 1 -printf '%P\0'; printf 'lost+found\0') | tr '\0\n' '\n?' | LC_ALL=C sort >theirs
	diff theirs ours
	# what fstab mounts is there, under its folder
	run vmimg ls -R "$D/disk.raw" /boot
	[ "$output" = "efi
efi/EFI
efi/EFI/SHORT.TXT
efi/EFI/debian
efi/EFI/debian/A long name with spaces.efi" ]
	run vmimg ls "$D/disk.raw" /var
	[[ $output == *'esc\x1b[31m\x0aname'* && $output == *'caf\xe9'* && $output == *käse* && $output != *$'\e'* ]]
	run vmimg ls -l "$D/disk.raw" 2:/
	[[ $output == *"lrwxrwxrwx"*"abs -> /etc/hostname"* ]]
	[[ $output =~ -rw-------\ +1\ .*\ 700001\ 2001-02-03T04:05:06Z\ big ]]
	run vmimg ls -l "$D/disk.raw" /bin/sh
	[[ $output == -rwsr-xr-x* ]]
	run vmimg ls -d "$D/disk.raw" rootfs:/etc
	[ "$output" = /etc ]
	run_split vmimg ls --json "$D/disk.raw" /
	assert_schema vmimg-ls
	[ "$(json '.[] | select(.path == "abs") | .target')" = /etc/hostname ]
	[ "$(json '.[] | select(.path == "big") | [.size, .mode] | map(tostring) | join(" ")')" = "700001 0600" ]
	run_split vmimg ls --json=lines -R "$D/disk.raw"
	assert_schema vmimg-ls
	[ "$(vmimg ls --json "$D/disk.raw" /var/empty/file | jq length)" = 1 ]
	for name in 1 EFI "EFI System" 1234-5678; do
		[ "$(vmimg ls "$D/disk.raw" "$name:/")" = EFI ]
	done
	[ "$(vmimg cat "$D/disk.raw" "1:/efi/short.txt")" = web1 ]
}

@test "cat: through links of every kind, and not out of the disk" {
	for path in /etc/hostname /abs /var/e/hostname /var/up /etc/../var/../../etc/hostname //etc//./hostname; do
		[ "$(vmimg cat "$D/disk.raw" $path)" = web1 ] || fail "$path"
	done
	vmimg cat "$D/disk.raw" /big | cmp - "$D/tree/big"
	vmimg cat "$D/disk.raw" /sparse | cmp - "$D/tree/sparse"
	vmimg cat "$D/disk.raw" "/boot/efi/EFI/debian/A long name with spaces.efi" | cmp - "$D/tree/big"
	refused 8 vmimg cat "$D/disk.raw" /loop1
	refused 4 vmimg cat "$D/disk.raw" /etc/nothing
	refused 4 vmimg cat "$D/disk.raw" /etc/hostname/x
	refused 4 vmimg cat "$D/disk.raw" 7:/etc/hostname
	refused 2 vmimg cat "$D/disk.raw" /etc
	refused 2 vmimg cat "$D/disk.raw" etc/hostname
	refused 4 vmimg cat "$D/disk.raw" /var/long-link
	refused 9 vmimg cat "$D/disk.raw" 3:/x
	refused 4 vmimg cat "$D/disk.raw" "/a b/x"
	run bash -c 'vmimg cat "$1" /big | head -c 10 | wc -c' _ "$D/disk.raw"
	[ "$output" = 10 ]
}

@test "get: a folder is as it was, links, holes, modes and times; - is a tar archive of the same" {
	refused 5 bash -c 'mkdir o && echo mine >o/big && exec vmimg get "$1" /big o' _ "$D/disk.raw"
	[ "$(cat o/big)" = mine ]
	vmimg get --force "$D/disk.raw" /big o
	cmp o/big "$D/tree/big"
	vmimg get "$D/disk.raw" 2:/ out
	rm -r out/lost+found
	diff -r --no-dereference "$D/tree" out
	(cd out && find . -mindepth 1 -printf '%P %y %l %T@ %n\n' | sed 's/ -> .*//' | LC_ALL=C sort) | grep -v ' d ' >ours
	(cd "$D/tree" && find . -mindepth 1 -printf '%P %y %l %T@ %n\n' | LC_ALL=C sort) | grep -v ' d ' | sed 's/\(\.[0-9]*\) \([0-9]*\)$/\1 \2/' >theirs
	sed -E 's/\.[0-9]+ ([0-9]+)$/ \1/' ours >o1
	sed -E 's/\.[0-9]+ ([0-9]+)$/ \1/' theirs >t1
	diff t1 o1
	[ "$(stat -c %a out/bin/sh)" = 755 ]
	[ "$(stat -c %a out/big)" = 600 ]
	[ "$(stat -c '%a %Y' out/var/empty)" = "555 $(stat -c %Y "$D/tree/var/empty")" ]
	[ "$(allocated out/sparse)" -lt 100000 ]
	mkdir tarred
	vmimg get "$D/disk.raw" 2:/ - >a.tar
	tar -C tarred -xpf a.tar
	rm -rf tarred/lost+found
	diff -r --no-dereference "$D/tree" tarred
	[ "$(stat -c %a tarred/bin/sh)" = 4755 ]
	[ "$(stat -c %h tarred/etc/hostname)" = 2 ]
	[ "$(stat -c %s a.tar)" -lt 4000000 ]
	run bash -c 'vmimg get "$1" /etc /abs - | tar -t' _ "$D/disk.raw"
	[ "$output" = "etc/
etc/fstab
etc/hostname
etc/os-release
etc/other-name
abs" ]
	# through fstab: the other partition is in it
	vmimg get "$D/disk.raw" /boot b
	cmp "b/boot/efi/EFI/debian/A long name with spaces.efi" "$D/tree/big"
}

# bats test_tags=release
@test "get: killed or failing at every call, a file is whole or as it was; a fault leaves nothing else" {
	mkdir -p t/o
	random_bytes 5 2500001 >t/o/big
	echo one >t/o/name && ln t/o/name t/o/other && ln -s big t/o/sym
	mke2fs -q -t ext4 -F -d t a.raw 8M
	# state - each name in o must be the old or the new one
	state() {
		local n
		for n in big name other; do
			[ -e o/$n ] || { [ "$1" = new ] && continue; } || fail "$2: $n is gone"
			cmp -s o/$n t/o/$n || { [ "$1" = old ] && [ "$(cat o/$n)" = mine ]; } || fail "$2: $n is neither old nor new"
		done
		[ "$1" = new ] || [ "$(readlink o/sym)" = big ] || [ "$(readlink o/sym)" = mine ] || fail "$2: the link is gone"
	}
	start() {
		rm -rf o && mkdir o
		[ "$1" = new ] || { printf mine | tee o/big o/name >o/other && ln -s mine o/sym; }
	}
	local kind how tmpfile n total
	for kind in old new; do
		for tmpfile in "" 1; do
			start $kind
			export INJECT_HOW='' ${tmpfile:+INJECT_NO_TMPFILE=1}
			LD_PRELOAD=$VMKIT_TOOLS/inject.so INJECT_COUNT=count vmimg get --force a.raw /o .
			diff -r --no-dereference t/o o
			[ o/name -ef o/other ]
			[ "$(find o -mindepth 1 | wc -l)" = 4 ]
			total=$(cat count)
			[ "$total" -gt 10 ]
			for how in kill eio full; do
				for ((n = 1; n <= total; n++)); do
					start $kind
					LD_PRELOAD=$VMKIT_TOOLS/inject.so INJECT_AT=$n INJECT_HOW=$how run vmimg get --force a.raw /o .
					state $kind "$kind, $how at $n of $total"
					[ $how = kill ] || [ -z "$(compgen -G 'o/.*.vmkit-*')" ] || fail "$kind, $how at $n: $(ls -A o)"
				done
			done
		done
		unset INJECT_NO_TMPFILE
	done
	# names of one file already: renaming one to the other does nothing, and leaves nothing
	start new
	vmimg get a.raw /o .
	vmimg get --force a.raw /o .
	[ "$(ls -A o)" = "big
name
other
sym" ]
	refused 5 vmimg get a.raw /o/name o
	rm o/big && mkdir o/big
	run_split vmimg get --force a.raw /o/big o
	[ "$status" != 0 ] && [ -d o/big ]
}

@test "vmbackup ls and get: the same from a disk of a snapshot" {
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
	vmbackup backup --vm web "vda=$D/disk.raw"
	vmbackup ls -R -0 web@latest / >ours
	vmimg ls -R -0 "$D/disk.raw" / | cmp - ours
	[ "$(vmbackup ls -l web@latest:vda 1:/)" = "$(vmimg ls -l "$D/disk.raw" 1:/)" ]
	run_split vmbackup ls --json web@latest /etc
	assert_status 0
	assert_schema vmbackup-ls
	[ "$output" = "$(vmimg ls --json "$D/disk.raw" /etc)" ]
	vmbackup get web@latest /etc /big out
	diff -r "$D/tree/etc" out/etc
	cmp "$D/tree/big" out/big
	vmbackup get web@latest 2:/ - >a.tar
	vmimg get "$D/disk.raw" 2:/ - | cmp - a.tar
	refused 4 vmbackup get web@latest /nothing out
	refused 4 vmbackup ls web@latest:vdb
	refused 2 vmbackup ls -l -0 web@latest
	refused 5 vmbackup get web@latest /big out
}

@test "devices: in a tar archive, left out of a folder with status 3" {
	require_root
	mkdir t
	mknod t/null c 1 3
	mknod t/big b 259 100000
	mkfifo t/pipe
	echo x >t/x
	mke2fs -q -t ext4 -F -d t d.raw 8M
	run_split vmimg get d.raw / out
	assert_status 3
	[ "$(ls out)" = "lost+found
x" ]
	vmimg get d.raw / - | tar -tv >list
	grep -qE '^crw.* 1,3 .*null' list && grep -qE '^brw.* 259,100000 .*big' list && grep -q '^prw.*pipe' list
}

@test "old and odd ext: blocks of 1 KiB, ext2's indirect blocks, data in inodes, a large folder" {
	mkdir -p t/many
	(cd t/many && seq -f 'file%.0f' 500 | xargs touch)
	random_bytes 9 5000000 >t/indirect
	echo tiny >t/tiny
	local how
	for how in "-t ext2 -b 1024" "-t ext3 -b 2048" "-t ext4 -b 4096 -O inline_data -I 256" "-t ext4 -O bigalloc -C 16384" "-t ext4 -O ^64bit,^metadata_csum"; do
		rm -rf a.raw out
		# shellcheck disable=SC2086 # options
		mke2fs -q -F $how -N 1024 -d t a.raw 24M
		vmimg get a.raw / out
		rm -r out/lost+found
		diff -r t out || fail "$how"
		[ "$(vmimg ls a.raw /many | wc -l)" = 500 ]
	done
}

@test "FAT12, FAT16, FAT32: short, long and lower-case names, fragments" {
	export LC_ALL=C.UTF-8 # mtools
	random_bytes 4 100000 >f
	local bits size
	for bits in 12:2M 16:20M 32:40M; do
		size=${bits#*:}
		rm -rf x.fs out
		truncate -s "$size" x.fs
		mkfs.fat -F "${bits%:*}" -s 1 x.fs >/dev/null
		mmd -i x.fs ::/Dir ::/Dir/sub
		for i in 1 2 3 4 5 6; do
			mcopy -i x.fs f "::/Dir/piece $i"
			[ $((i % 2)) = 0 ] || mcopy -i x.fs f "::/Dir/sub/hole$i.txt"
		done
		mdel -i x.fs "::/Dir/piece 2" "::/Dir/piece 4"
		cat f f >ff
		mcopy -i x.fs ff "::/grün und lang.bin"
		vmimg get x.fs / out
		mcopy -i x.fs -s -n ::/ theirs."${bits%:*}" 2>/dev/null || { mkdir -p theirs."${bits%:*}" && mcopy -i x.fs -s -n "::/*" theirs."${bits%:*}"; }
		diff -r theirs."${bits%:*}" out
		[ "$(vmimg ls -R x.fs | wc -l)" = 10 ]
		[ "$(vmimg ls x.fs /dir/SUB)" = "hole1.txt
hole3.txt
hole5.txt" ]
	done
}

@test "hostile: names, loops and sizes are refused or end" {
	# a folder that is its own child
	cp "$D/root.fs" a.raw
	debugfs -w -R "ln /var /var/empty/again" a.raw 2>/dev/null
	run_split vmimg ls -R a.raw /var/empty
	assert_status 8
	run_split timeout 10 vmimg get a.raw /var out
	assert_status 8
	# a name with a slash: ../../x
	mkdir t && echo bad >t/aaXaaXx && mke2fs -q -F -t ext2 -d t b.raw 4M
	LC_ALL=C sed -i 's|aaXaaXx|../../x|' b.raw
	run_split vmimg get b.raw / out2/in
	assert_status 4
	mkdir out2
	run_split vmimg get b.raw / out2/in
	assert_status 8
	[[ $stderr == *"cannot be one"* ]]
	[ ! -e x ] && [ ! -e out2/x ]
	refused 8 vmimg ls b.raw /
	# a link, then a folder of the same name: nothing is written behind the link
	mkdir outside w w/aa w/bb && ln -s "$PWD/outside" w/aa/dd && mkdir w/aa/ee && echo bad >w/aa/ee/f
	mke2fs -q -F -t ext2 -d w c.raw 4M
	LC_ALL=C grep -abo $'dd\\|ee' c.raw >places
	LC_ALL=C sed -i 's|\x02\x02ee|\x02\x02dd|' c.raw
	[ "$(vmimg ls c.raw /aa)" = "dd
dd" ]
	run_split vmimg get c.raw /aa out3
	[ "$status" != 0 ]
	[ -z "$(ls outside)" ]
	# a link that lies in the target already
	mkdir out4 && ln -s "$PWD/outside" out4/etc
	run_split vmimg get "$D/root.fs" /etc out4
	[ "$status" != 0 ]
	run_split vmimg get --force "$D/root.fs" /etc out4
	[ "$status" != 0 ]
	[ -z "$(ls outside)" ]
	# a FAT whose chain is a loop
	truncate -s 2M f.fs && mkfs.fat -F 12 -s 1 f.fs >/dev/null
	random_bytes 1 3000 >f && mcopy -i f.fs f ::/f
	patch_bytes f.fs 512 f8ffff032000
	refused 8 vmimg cat f.fs /f
}
