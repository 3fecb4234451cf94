# vmsnap diff --files: held against what the kernel's file systems show of both states.

setup() {
	load common
	common_setup
	require qemu-img jq python3 mke2fs mkfs.fat mkfs.xfs sfdisk debugfs
	mkdir -p m n
}

teardown() {
	local d
	for d in m n; do ! mountpoint -q $d || umount $d; done
}

# disk - d.raw: ext4, FAT, XFS and swap in partitions; with files
disk() {
	local f n=0 at
	truncate -s 460M d.raw
	sfdisk -q d.raw <<<'label: gpt
		size=40M, type=L
		size=34M, type=U
		size=320M, type=L
		size=10M, type=S'
	mkdir -p tree/{etc,var/log,same,gone/deep}
	for f in etc/passwd etc/fstab var/log/messages same/a same/b gone/deep/x gone/y; do
		n=$((n + 1))
		random_bytes $n $((n * 20000)) >tree/$f
	done
	ln -s passwd tree/etc/link
	ln -s messages tree/var/log/other
	touch -d 2020-01-01T00:00:00Z tree/same/* tree/etc/* tree/var/log/messages
	mke2fs -q -t ext4 -F -E root_owner=0:0 -d tree 1.fs 40M
	truncate -s 34M 2.fs && mkfs.fat -F 32 -s 1 2.fs >/dev/null && mcopy -s -i 2.fs tree/same ::/
	truncate -s 320M 3.fs && mkfs.xfs -q 3.fs
	mount -o loop 3.fs m && cp -a tree/. m/ && umount m
	truncate -s 10M 4.fs && chmod 600 4.fs && mkswap -q 4.fs
	at=1
	for n in 1 2 3 4; do
		dd if=$n.fs of="$1" bs=1M seek=$at conv=notrunc,sparse status=none
		at=$((at + $(stat -c %s $n.fs) / 1048576))
	done
}

# expect A B MOUNT_OPTIONS LABEL - what the kernel says that differs
expect() {
	mount -o "ro,$3" "$1" m && mount -o "ro,$3" "$2" n
	python3 - m n "$4" <<'X'
import os, stat, sys

def load(top):
    out = {}
    for d, dirs, files in os.walk(top):
        for f in dirs + files:
            p = os.path.join(d, f)
            s = os.lstat(p)
            data = os.readlink(p).encode() if stat.S_ISLNK(s.st_mode) else open(p, "rb").read() if stat.S_ISREG(s.st_mode) else b""
            out[os.path.relpath(p, top)] = (stat.S_IFMT(s.st_mode), data), (s.st_mode, s.st_uid, s.st_gid, 0 if stat.S_ISDIR(s.st_mode) else s.st_mtime_ns)
    return out

a, b = load(sys.argv[1]), load(sys.argv[2])
for p in sorted(set(a) | set(b)):
    what = "A" if p not in a else "D" if p not in b else "M" if a[p][0] != b[p][0] else "m" if a[p][1] != b[p][1] else None
    if what:
        print("%s %s/%s" % (what, sys.argv[3], p))
X
	umount m n
}

@test "files in partitions: added, deleted, changed, in place too; the rest is not listed" {
	require_root
	disk d.raw
	losetup -f >/dev/null || skip "no loop devices"
	qemu-img convert -O qcow2 d.raw d.qcow2
	vmsnap create -e external d.qcow2 a
	cp --sparse=always d.raw e.raw
	mount -o loop,offset=$((1 << 20)) e.raw m
	echo more >>m/etc/passwd
	printf X | dd of=m/same/a bs=1 seek=40001 conv=notrunc status=none # the time does not tell
	touch -d 2020-01-01T00:00:00Z m/same/a
	chmod 600 m/same/b
	touch m/etc/fstab
	ln -sfn nowhere m/etc/link
	rm -r m/gone/deep && mkdir m/new && cp m/etc/fstab m/new/ && mkfifo m/new/fifo && mknod m/new/dev c 1 3
	mv m/var/log/messages m/var/log/moved
	rm m/gone/y && mkdir m/gone/y && echo z >m/gone/y/z
	touch m/$'esc\e[31m'
	umount m
	echo x >new.txt
	mcopy -i e.raw@@41M new.txt ::/ && mdel -i e.raw@@41M ::/same/b
	mount -o loop,nouuid,offset=$((75 << 20)) e.raw m
	printf Y | dd of=m/same/b bs=1 seek=50001 conv=notrunc status=none
	touch -d 2020-01-01T00:00:00Z m/same/b
	mv m/gone m/kept && mkdir -p m/$'caf\xe9'/deep
	umount m
	dd if=/dev/urandom of=e.raw bs=1M seek=395 count=1 conv=notrunc status=none
	qemu-img convert -n -O qcow2 e.raw d.qcow2
	{
		expect d.raw e.raw "loop,offset=$((1 << 20))" 1:
		printf '%s\n' "A 2:/new.txt" "D 2:/same/b"
		expect d.raw e.raw "loop,nouuid,norecovery,offset=$((75 << 20))" 3:
	} >want
	grep -q '^M 1:/same/a$' want && grep -q '^m 1:/same/b$' want && grep -q '^A 1:/new/dev$' want || fail "$(cat want)"
	run_split vmsnap diff --files -0 d.qcow2@a
	assert_status 0
	vmsnap diff --files -0 d.qcow2@a | tr '\0' '\n' | LC_ALL=C sort >got.names
	sed 's/^. //' want | LC_ALL=C sort >want.names
	diff want.names got.names
	vmsnap diff --files d.qcow2@a | LC_ALL=C sort >got
	sed 's/\x1b/\\x1b/; s/\xe9/\\xe9/' want | LC_ALL=C sort | diff - got
	run vmsnap diff --files --extents --json d.qcow2@a
	assert_success
	assert_schema vmsnap-diff
	[ "$(json '.files | length')" = "$(wc -l <want)" ]
	[ "$(json '.files[] | select(.path == "1:/etc/passwd") | "\(.change) \(.type) \(.size_a) \(.size_b)"')" = "content file 20000 20005" ]
	# The same the other way round, and nothing against itself
	vmsnap create d.qcow2 b
	vmsnap diff --files d.qcow2@b d.qcow2@a | LC_ALL=C sort | tr AD DA | LC_ALL=C sort >back
	LC_ALL=C sort got | diff - back
	run vmsnap diff --files d.qcow2@b
	assert_success
	assert_output ""
}

@test "files of one file system have plain names; what is not read is told" {
	mkdir tree && echo 1 >tree/a
	mke2fs -q -t ext4 -F -d tree d.raw 16M
	qemu-img convert -O qcow2 d.raw d.qcow2
	vmsnap create -e internal d.qcow2 a
	echo 2 >b
	debugfs -w -R "write b b" d.raw 2>/dev/null
	debugfs -w -R "rm a" d.raw 2>/dev/null
	qemu-img convert -n -O qcow2 d.raw d.qcow2
	run vmsnap diff --files d.qcow2@a
	assert_success
	assert_output "D /a
A /b"
	refused 2 vmsnap diff --files --extents d.qcow2@a
	refused 2 vmsnap diff --null d.qcow2@a
	# btrfs: by its superblock
	truncate -s 16M f.raw
	printf _BHRfS_M | dd of=f.raw bs=1 seek=$((65536 + 64)) conv=notrunc status=none
	qemu-img convert -O qcow2 f.raw f.qcow2
	vmsnap create -e internal f.qcow2 a
	qemu-io -c "write -P 1 1M 4k" f.qcow2 >/dev/null
	run_split vmsnap diff --files --json f.qcow2@a
	assert_status 3
	[[ $stderr == *btrfs* ]]
	assert_schema vmsnap-diff
	[ "$(json '.files | length')" = 0 ]
}
