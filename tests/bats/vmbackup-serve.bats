#!/usr/bin/env bats
# vmbackup serve: disks of snapshots over NBD. nbdcopy, nbdinfo and qemu-io are the clients.
load common

setup() {
	common_setup
	require nbdkit nbdinfo nbdcopy qemu-io qemu-img
	export VMKIT_REPOSITORY=$PWD/repo
	runtime=
	if sanitized; then
		runtime=$(ldd "$VMKIT_BIN/vmbackup" | awk '/lib[at]san/ { print $3 }')
	fi
	server=
}

teardown() { [ -z "$server" ] || { kill -9 "$server" && wait "$server"; } 2>/dev/null || true; }

serve() { ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS LD_PRELOAD=$runtime vmbackup serve "$@"; }

@test "to a command: reading, and writing that is dropped" {
	vmbackup init --no-encryption
	random_image a.raw 20000256 1 40
	random_image b.raw 3000320 2 20
	vmbackup backup --vm web a.raw data=b.raw
	serve web:vda -- nbdcopy '$uri' out.raw
	assert_same_bytes a.raw out.raw
	serve web@latest:data --name d -- sh -c 'nbdcopy "$uri" out2.raw'
	assert_same_bytes b.raw out2.raw
	[ "$(serve web:vda -- nbdinfo --size '$uri')" = 20000256 ]
	run serve web:vda -- sh -c 'exit 7'
	assert_status 7
	run serve web:vda -- env -u LD_PRELOAD qemu-io -f raw -c 'write 0 4k' '$uri'
	[ "$status" != 0 ]
	serve --copy-on-write web:data -- sh -c 'env -u LD_PRELOAD qemu-io -f raw -c "write -P 7 1000000 100000" "$uri" >/dev/null &&
		nbdcopy "$uri" out3.raw'
	! cmp -s b.raw out3.raw || fail 'nothing was written'
	cmp -n 1000000 b.raw out3.raw
	serve web:data -- nbdcopy '$uri' out4.raw
	assert_same_bytes b.raw out4.raw
	refused 2 vmbackup serve web -- true
	refused 4 vmbackup serve web:vdz -- true
	refused 4 vmbackup serve nobody -- true
	refused 2 vmbackup serve web:vda
	refused 4 vmbackup -r nothing serve web:vda -- true
	assert_clean
}

@test "on a socket, by its id, from an encrypted repository; ends with its last client" {
	printf 'secret' >pw
	export VMKIT_PASSWORD_FILE=$PWD/pw
	vmbackup init
	random_image a.raw 6000128 3 30
	vmbackup backup --vm web a.raw
	(serve web --socket "$PWD/s" --once 2>log 3>&-) &
	server=$!
	local i
	for ((i = 0; i < 1200; i++)); do
		[ ! -S s ] || break
		sleep 0.1
	done
	printf x | dd of=a.raw bs=1 seek=5 conv=notrunc status=none
	vmbackup backup --vm web a.raw
	refused 6 vmbackup serve web --socket "$PWD/s"
	nbdcopy "nbd+unix:///?socket=$PWD/s" out.raw
	# An error in its log would hang nbdkit at its end where a sanitizer's runtime is preloaded: glibc's lock of locales
	# is out of balance then, and p11-kit wants it in its destructor (seen with nbdkit's null plugin too).
	wait $server
	server=
	[ ! -s log ] || fail "$(cat log)"
	[ "$(cmp -l a.raw out.raw | wc -l)" = 1 ]
	assert_not_exists s
	echo other >pw
	refused 12 vmbackup serve web -- true
}

@test "whatever descriptors the caller has open, the passphrase arrives, and nothing of the caller's is lost" {
	printf 'secret' >pw
	export VMKIT_PASSWORD_FILE=$PWD/pw
	vmbackup init --scrypt-log2n 10
	random_image a.raw 2000128 3 30
	vmbackup backup --vm web a.raw
	local last
	echo yes >mine
	for last in 2 5 8 9; do
		(
			for fd in 3 4 5 6 7 8 9; do
				((fd > last)) && eval "exec $fd>&-" || eval "exec $fd<mine"
			done
			LD_PRELOAD=$runtime ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS timeout -s KILL 30 \
				vmbackup serve web -- sh -c 'nbdcopy "$uri" - >out.raw; cat <&5 >read; true'
		) || fail "$last: status $?"
		assert_same_bytes a.raw out.raw
		((last < 5)) || [ "$(cat read)" = yes ] || fail "$last: descriptor 5 is gone"
	done
}

@test "a repository that was rolled back is not served; options of object stores go along" {
	vmbackup init --no-encryption
	random_image a.raw 200000 3 30
	vmbackup backup --vm web a.raw
	refused 8 vmbackup --expect-at-least 2 serve web -- true
	serve --expect-at-least 1 web -- true
	# nbdkit's place is taken by one that tells what it was given.
	mkdir bin
	printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' >bin/nbdkit
	chmod +x bin/nbdkit
	PATH=$PWD/bin:$PATH run vmbackup serve --s3-retries 3 --s3-rate-limit 5M --s3-cache-size 7M web -- true
	assert_success
	assert_line s3_retries=3
	assert_line s3_rate_limit=5242880
	assert_line s3_cache_size=7340032
}
