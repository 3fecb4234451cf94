#!/usr/bin/env bats
# vmbackup mount: disks of snapshots as files, through FUSE. What reads them are cmp, qemu-img, e2fsck, debugfs and dd.
load common
load vmbackup

setup() {
	common_setup
	[ -c /dev/fuse ] || skip "/dev/fuse is missing"
	require fusermount3
	[ "$(id -u)" != 0 ] || unshare -m true 2>/dev/null || skip "mounting is not allowed here"
	export VMKIT_REPOSITORY=$PWD/repo
	server=
	mkdir m
}

teardown() {
	[ -z "$server" ] || { kill -9 "$server" && wait "$server"; } 2>/dev/null || true
	fusermount3 -q -u -z "$BATS_TEST_TMPDIR/m" || true
}

mounted() { grep -qF " $PWD/m " /proc/self/mountinfo; }

# begin ARG... - vmbackup mount ARG... m, in the background, until it is mounted; what it says goes to the file said
begin() {
	# a shell's background job ignores SIGINT
	(exec env --default-signal=INT vmbackup mount "$@" m 2>said 3>&-) &
	server=$!
	local i
	for ((i = 0; i < 1200; i++)); do
		! mounted || return 0
		sleep 0.05
	done
	fail "not mounted: $(cat said)"
}

# ends STATUS - the one in the background has ended so, and nothing is mounted
ends() {
	local status=0
	wait "$server" || status=$?
	server=
	[ "$status" = "$1" ] || fail "status $status: $(cat said 2>/dev/null)"
	! mounted || fail "still mounted"
	[ -z "$(ls -A m)" ]
}

@test "all snapshots: bytes, sizes, times, holes, links; qemu-img and e2fsprogs read them" {
	require qemu-img e2fsck debugfs jq
	local first last third
	vmbackup init --no-encryption
	mkdir files
	echo 'inside of a disk' >files/hello
	random_bytes 7 900000 >files/big
	ext4_image fs.raw 24M files
	cp fs.raw old.raw
	random_image data.raw 20000256 1 40
	qemu-img convert -O qcow2 data.raw data.qcow2
	vmbackup backup --vm web fs.raw data=data.qcow2
	printf 'changed' | dd of=data.raw bs=1 seek=12345678 conv=notrunc status=none
	debugfs -w -R 'rm hello' fs.raw 2>/dev/null
	vmbackup backup --vm web fs.raw data=data.raw
	vmbackup backup --vm db.1 root=data.raw
	run vmbackup list --json
	first=$(json '.[0].id[:8]') last=$(json '.[1].id[:8]') third=$(json '.[2].id[:8]')
	run vmbackup mount m -- sh -ec '
		find m -mindepth 1 | LC_ALL=C sort
		[ "$(readlink m/web/latest)" = '"$last"' ]
		cmp m/web/'"$first"'/vda.raw old.raw
		cmp m/web/latest/vda.raw fs.raw
		cmp m/web/latest/data.raw data.raw
		cmp m/db.1/latest/root.raw data.raw
		qemu-img compare -q -f raw -F qcow2 m/web/'"$first"'/data.raw data.qcow2
		qemu-img compare -q -f raw -F raw m/web/latest/data.raw data.raw
		e2fsck -fn m/web/'"$first"'/vda.raw >e2fsck.out 2>&1
		[ "$(debugfs -R "cat hello" m/web/'"$first"'/vda.raw 2>/dev/null)" = "inside of a disk" ]
		debugfs -R "dump big big.out" m/web/latest/vda.raw 2>/dev/null
		cmp big.out files/big
		[ "$(stat -c %s m/web/latest/data.raw)" = 20000256 ]
		stat -c %Y m/web/'"$first"'/vda.raw m/web/latest/vda.raw >times
		qemu-img map --output json -f raw m/web/latest/data.raw >map
	'
	assert_success
	[ "$output" = "$(printf '%s\n' m/db.1{,/latest} "m/db.1/$third"{,/root.raw} m/web{,/latest} \
		m/web/{"$first","$last"}{,/data.raw,/vda.raw} | LC_ALL=C sort)" ]
	[ "$(cat times)" = "$(vmbackup list --json | jq -r '.[:2][].time | fromdateiso8601')" ]
	# Zeros are holes: what qemu-img sees as data is not much more than what random_image wrote.
	[ "$(jq '[.[] | select(.data) | .length] | add' map)" -lt 12000000 ]
	jq -e 'any(.[]; .data | not)' map
	! mounted
	assert_clean
}

@test "more disks than are kept open, read by many at once" {
	local i args=()
	vmbackup init --no-encryption
	for ((i = 0; i < 24; i++)); do
		random_bytes $i 600064 >d$i.raw
		args+=("d$i=d$i.raw")
	done
	random_bytes 99 24000000 >big.raw
	vmbackup backup --vm many "${args[@]}" big=big.raw
	tail -c +13107201 big.raw >end.raw # from 200 times 64k on
	# two readers of one disk at different places, and all others beside them, twice
	run vmbackup mount many m -- sh -c '
		cd m/many/latest || exit 1
		cmp big.raw ../../../big.raw & p="$!"
		dd if=big.raw bs=64k skip=200 status=none | cmp - ../../../end.raw & p="$p $!"
		for i in $(seq 0 23) $(seq 23 -1 0); do cmp d$i.raw ../../../d$i.raw & p="$p $!"; done
		bad=0
		for i in $p; do wait $i || bad=$((bad + 1)); done
		exit $bad'
	assert_success
	assert_output ''
}

@test "a part of it; the command's status; what is refused" {
	local id
	vmbackup init --no-encryption
	random_bytes 1 100096 >a.raw
	random_bytes 2 50176 >b.raw
	vmbackup backup --vm web a.raw data=b.raw
	vmbackup backup --vm web a.raw
	vmbackup backup --vm db a.raw
	run vmbackup list --json
	id=$(json '.[0].id[:8]')
	names() { vmbackup mount "$1" m -- find m -type f | LC_ALL=C sort | tr '\n' ' '; }
	[ "$(names "web@$id:data")" = "m/web/$id/data.raw " ]
	[ "$(names "web@$id")" = "m/web/$id/data.raw m/web/$id/vda.raw " ]
	[[ $(names web@latest) =~ ^m/web/[0-9a-f]{8}/vda.raw\ $ ]]
	[ "$(names web | wc -w)" = 3 ]
	[ "$(names db | wc -w)" = 1 ]
	run vmbackup mount m -- sh -c 'exit 7'
	assert_status 7
	run vmbackup mount m -- sh -c 'kill -9 $$'
	assert_status 137
	echo typed | vmbackup mount m -- cat >out
	[ "$(cat out)" = typed ]
	refused 127 vmbackup mount m -- no-such-command
	refused 2 vmbackup mount a b c
	refused 2 vmbackup mount a b c -- true
	refused 2 vmbackup mount web: m
	refused 4 vmbackup mount nobody m
	refused 4 vmbackup mount web@latest:data m
	refused 4 vmbackup mount missing
	refused 5 vmbackup mount repo
	refused 4 vmbackup -r nothing mount m
	local words
	for words in 'touch m/x' 'rm -f m/web/latest/vda.raw' 'mkdir m/x' 'mv m/web m/x' 'truncate -s 0 m/web/latest/vda.raw' \
		'dd if=a.raw of=m/web/latest/vda.raw conv=notrunc'; do
		run vmbackup mount m -- sh -c "exec $words"
		[ "$status" = 1 ] || fail "$words: $status"
		assert_output --partial 'Read-only file system'
	done
	vmbackup mount web@latest m -- cmp m/web/latest/vda.raw a.raw
	! mounted
}

@test "until a signal, with a file open; until it is unmounted; the command gets the signal" {
	local signal i
	printf 'secret' >pw
	export VMKIT_PASSWORD_FILE=$PWD/pw
	vmbackup init
	random_bytes 3 300032 >a.raw
	vmbackup backup --vm web a.raw
	for signal in TERM INT; do
		begin web@latest
		cmp m/web/latest/vda.raw a.raw
		exec 7<m/web/latest/vda.raw
		kill -$signal "$server"
		ends 0
		exec 7<&-
	done
	begin
	cmp m/web/latest/vda.raw a.raw
	fusermount3 -u m
	ends 0
	(exec vmbackup mount m -- sh -c 'trap "kill \$!; exit 9" TERM; sleep 30 & cat m/web/latest/vda.raw >new; mv new out; wait' 3>&-) &
	server=$!
	for ((i = 0; i < 1200; i++)); do
		[ ! -e out ] || break
		sleep 0.05
	done
	kill "$server"
	ends 9
	assert_same_bytes out a.raw
	! mounted
	echo other >pw
	refused 12 vmbackup mount m
	assert_clean
}

@test "a damaged chunk is an error for its reader, and a sentence" {
	local pack
	vmbackup init --no-encryption --parity 0
	random_bytes 41 20000000 >a.raw
	vmbackup backup --vm web a.raw
	pack=$(biggest_pack)
	flip "$pack" "$(payload "$pack" 9)"
	begin
	run dd if=m/web/latest/vda.raw of=out.raw bs=4k conv=noerror,sync
	assert_output --partial 'Input/output error'
	cmp -n 1000000 out.raw a.raw
	# whatever was read is right or was told to be missing: then it is zero here
	cmp -l out.raw a.raw | awk '$2 != 0 { bad = 1 } END { exit bad || NR == 0 || NR > 8000000 }'
	kill "$server"
	ends 0
	grep -Eq '^vmbackup: warning: web@[0-9a-f]{8}:vda: bytes [0-9]+-[0-9]+ of the disk: ' said
	[ "$(wc -l <said)" -lt 10 ] || fail "$(wc -l <said) sentences"
}

@test "without /dev/fuse or libfuse3" {
	require_root
	local library
	vmbackup init --no-encryption
	refused 9 unshare -m sh -c 'mount -t tmpfs none /dev && exec vmbackup mount m'
	[[ $stderr == *'mount needs /dev/fuse: No such file'* ]]
	library=$(realpath /usr/lib/*-linux-gnu/libfuse3.so.3)
	refused 9 unshare -m sh -c 'mount --bind /dev/null "$1" && exec vmbackup mount m' - "$library"
	[[ $stderr == *'libfuse3.so.3, which is not here'* ]]
	[ -z "$(ls -A m)" ]
}
