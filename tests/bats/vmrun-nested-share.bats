#!/usr/bin/env bats
# Folders of the host in Debian's own kernel by virtio-fs, a vsock, a balloon: in one nested host with a real KVM, started once for all tests here.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun" "$(command -v setpriv)"
	for applet in cp mv rm mkdir ln find stat readlink chmod chown touch mknod truncate diff setfattr rmdir sync; do
		ln -s busybox "rootfs/bin/$applet"
	done
	gcc -O2 -static -o rootfs/bin/stream "$ROOT/tests/guest/stream.c"
	mkdir -p tree/deep/er
	for i in {1..40}; do random_bytes "$i" $((i * 997)) >"tree/deep/$i"; done
	random_bytes 99 3000001 >tree/deep/er/big
	ln -s ../1 tree/deep/er/link
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		fast="nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		run() { # NAME OPTIONS...
			mkdir -p /out/$1
			o=/out/$1
			shift
			bin/vmrun -k kernel --root rootfs --modules modules -a "$fast" -t 1000 "$@" >$o/out 2>$o/err </dev/null
			echo $? >$o/status
		}
		mkdir -p /w/share/mnt /w/out
		cp -a tree /w/share/
		(cd /w/share && find . -type f -exec sha256sum {} + | sort -k 2) >/out/host-before
		echo secret >/w/secret
		ln -s /etc/passwd /w/share/absolute
		ln -s ../secret /w/share/relative
		ln -s .. /w/share/up
		mknod /w/share/null c 1 3
		mount -t tmpfs tmpfs /w/share/mnt
		echo mounted >/w/share/mnt/file
		run work -c 2 --share /w/share:/srv --share /w/out:/new/place --share tree:/tree:ro -- sh -c '
			cd /srv
			find tree -type f -exec sha256sum {} + | sed "s/  /  .\//" | sort -k 2
			echo "mount: $(ls mnt | wc -l)" >&2
			for p in absolute relative up/secret /srv/up/w/secret /srv/../w/secret; do
				cat $p >&2 && echo "escaped by $p" >&2
			done
			cat null >&2 && echo "null opened" >&2
			mknod dev c 1 3 && echo "device made" >&2
			echo x >/tree/new && echo "wrote to what is only read" >&2
			set -e
			cp -a tree copy
			mkdir -p a/b/c
			echo one >a/b/c/one
			mv a/b/c a/moved
			mv a/moved/one a/two
			ln a/two a/hard
			ln -s two a/soft
			cp a/soft a/three
			chmod 640 a/three
			touch -d "2020-02-02 02:02:02" a/three
			echo appended >>a/two
			rm -r copy/deep/er
			rmdir a/moved a/b
			dd if=/dev/urandom of=/new/place/random bs=64k count=64 2>/dev/null
			sha256sum /new/place/random >/new/place/sum
			exec 5<>a/gone
			echo "still here" >&5
			rm a/gone
			truncate -s 5 a/hard
			cat a/hard a/soft >&2
			chown 0:0 a/two
			! chown 5:5 a/two
			echo kept in memory >/etc-file
			cat /etc-file >&2
			sync
			stat -c "%a %u %h %Y" a/three a/hard >&2
		'
		(cd /w/share && find . | sort) >/out/names
		(cd /w/share/copy && find . -type f -exec sha256sum {} + | sort -k 2) >/out/host-copy
		cat /w/share/a/hard >/out/hard
		ls -l /w/share/a >/out/a
		(cd / && sha256sum /w/out/random) | sed "s,/w/out,/new/place," >/out/sum-host
		cp /w/out/sum /out/sum-guest
		ls rootfs >/out/rootfs
		run writes --write-root -- sh -c 'echo written >/kept; ls -d /vmrun'
		cp rootfs/kept /out/kept
		# Both ways of a vsock at once, a half end, a port of nobody; the balloon meanwhile
		export XDG_RUNTIME_DIR=/tmp/run
		mkdir -m 700 /tmp/run
		echo "from the host" >/w/reply
		rootfs/bin/stream unix-listen:/w/v_1234 <tree/deep/er/big >/out/vsock-from-guest &
		run vsock -n web -m 256M --balloon --vsock /w/v,cid=42 --share /w:/w --share /out:/out -- sh -c '
			set -e
			stream vsock:1234 </w/share/tree/deep/40 >/out/vsock-in-guest
			! stream vsock:1235 </dev/null
			touch /w/listening
			stream vsock-listen:77 </w/share/tree/deep/39 >/out/vsock-from-host
			while [ ! -e /w/filled ]; do
				[ -e /w/fill ] && [ ! -e /w/full ] && dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>/dev/null && touch /w/full
				[ -e /w/empty ] && rm -f /dev/shm/x && touch /w/filled
				sleep 0.1
			done
			while [ ! -e /w/over ]; do sleep 0.1; done
			grep MemFree /proc/meminfo
		' &
		vm=$!
		alive() { kill -0 $vm 2>/dev/null; }
		until [ -e /w/listening ] || ! alive; do sleep 0.2; done
		ls -l /w/v >/out/vsock-socket
		until grep -q OK /out/vsock-answer 2>/dev/null || ! alive; do
			sleep 0.1
			(echo "CONNECT 77"; cat tree/deep/38) | rootfs/bin/stream unix:/w/v >/out/vsock-answer
		done
		(echo "CONNECT 76") | rootfs/bin/stream unix:/w/v >/out/vsock-refused
		bin/vmrun stats web --json >/out/stats-0
		touch /w/fill
		until [ -e /w/full ] || ! alive; do sleep 0.2; done
		bin/vmrun stats web --json >/out/stats-full
		touch /w/empty
		until [ -e /w/filled ] || ! alive; do sleep 0.2; done
		sleep 3
		bin/vmrun stats web --json >/out/stats-empty
		bin/vmrun stats web >/out/stats-text
		bin/vmrun balloon --wait 60s web 160M
		echo $? >/out/balloon-status
		bin/vmrun stats web --json >/out/stats-small
		bin/vmrun balloon --wait 60s web 256M
		bin/vmrun stats web --json >/out/stats-whole
		bin/vmrun balloon web 257M 2>/out/balloon-err
		echo $? >>/out/balloon-status
		touch /w/over
		wait $vm
		ls /w >/out/vsock-left
		# Not root: files are the caller's on the host, root's in the guest
		mkdir /w/own
		chown 1000:1000 /w/own
		chmod 666 /dev/kvm
		mkdir -m 1777 /tmp/mine
		chmod 755 /w
		cat >/tmp/own.sh <<-'EOS'
			cd /t
			bin/vmrun -k kernel --root rootfs --modules modules -a "$1" -t 1000 --share /w/own:/own -- \
				sh -c 'echo a >/own/file; ls -ln /own; cat /proc/self/mounts'
		EOS
		mkdir -p /out/own
		chmod -R a+rX /t
		(ulimit -n 400; export TMPDIR=/tmp/mine; exec bin/setpriv --reuid 1000 --regid 1000 --clear-groups sh /tmp/own.sh "$fast") \
			>/out/own/out 2>/out/own/err </dev/null
		echo $? >/out/own/status
		ls -ln /w/own >/out/own/host
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 800 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
}

of() {
	R=$WORK/out/$1
	status=$(cat "$R/status")
	stderr=$(cat "$R/err")
	[ "$status" = "$2" ] || fail "$1: status $status: $stderr"
}

@test "a tree is the same on both sides" {
	of work 0
	assert_same_bytes "$WORK/out/host-before" "$R/out"
	[ "$(wc -l <"$R/out")" = 41 ]
}

@test "nothing leads out of the folder: links, .., devices, mounts" {
	of work 0
	[[ $stderr != *escaped* && $stderr != *opened* && $stderr != *"device made"* ]]
	[[ $stderr != *secret$'\n'* && $stderr != *mounted* ]]
	[[ $stderr == *"mount: 0"* ]]
}

@test "a share that is only read" {
	of work 0
	[[ $stderr == *"/tree/new: Read-only file system"* ]]
}

@test "what the guest made, moved, linked, removed is so on the host" {
	of work 0
	grep -v 'deep/er' "$WORK/out/host-before" | sed 's, \./tree/, ./,' | grep -v passwd >expected
	assert_same_bytes expected "$WORK/out/host-copy"
	[ "$(cat "$WORK/out/hard")" = "one
a" ]
	for name in a/hard a/soft a/three a/two; do grep -qx "./$name" "$WORK/out/names"; done
	! grep -qE '/(moved|gone|b|c)$' "$WORK/out/names"
	grep -qE '^-rw-r----- .* Feb +2 +2020 three' "$WORK/out/a"
	[[ $stderr == *"640 0 1 1580608922"* && $stderr == *" 0 2 "* ]]
	assert_same_bytes "$WORK/out/sum-guest" "$WORK/out/sum-host"
}

@test "a root that is only read: what the command writes is in the guest's memory" {
	of work 0
	[[ $stderr == *"kept in memory"* ]]
	[[ $(cat "$WORK/out/rootfs") != *etc-file* && $(cat "$WORK/out/rootfs") != *new* ]]
}

@test "--write-root" {
	of writes 1 # of ls: there is no /vmrun in that root
	[ "$(cat "$WORK/out/kept")" = written ]
}

@test "without root's rights: the caller's files are root's in the guest" {
	of own 0
	[[ $(cat "$R/out") == *"-rw-r--r--    1 0        0                2 "* ]]
	[[ $(cat "$R/host") == *"-rw-r--r--    1 1000     1000             2 "* ]]
	[[ $(cat "$R/out") == *" /own virtiofs rw,nosuid,nodev"* ]]
}

@test "vsock: both ways, both directions, byte for byte" {
	of vsock 0
	cd "$WORK"
	assert_same_bytes payload/tree/deep/40 out/vsock-from-guest
	assert_same_bytes payload/tree/deep/er/big out/vsock-in-guest
	assert_same_bytes payload/tree/deep/38 out/vsock-from-host
	tail -c +$(($(head -n 1 out/vsock-answer | wc -c) + 1)) out/vsock-answer >answer
	assert_same_bytes payload/tree/deep/39 answer
	[[ $(head -n 1 out/vsock-answer) =~ ^OK\ [0-9]+$ ]]
	[ ! -s out/vsock-refused ] # nobody listens there
	[[ $(cat out/vsock-socket) == srw-------* ]]
	! grep -qx v out/vsock-left
}

@test "balloon: what the guest says of its memory, and what it frees goes back to the host" {
	of vsock 0
	cd "$WORK/out"
	for f in stats-{0,full,empty,small,whole}; do assert_schema vmrun-stats "$f"; done
	jq -e '.balloon.guest | .total > 200000000 and .free > 0 and .free < .total and .available <= .total' stats-0
	jq -es '.[0].balloon.guest.free - .[1].balloon.guest.free > 80000000' stats-0 stats-full
	jq -es '.[1].memory_resident - .[0].memory_resident > 80000000' stats-0 stats-full
	jq -es '.[0].memory_resident - .[1].memory_resident > 60000000' stats-full stats-empty
	jq -e '.balloon.reported > 60000000' stats-empty
	jq -e '.balloon | .target == 100663296 and .actual == 100663296 and .guest.free < 120000000' stats-small
	jq -es '.[0].memory_resident - .[1].memory_resident > 0' stats-empty stats-small
	jq -e '.balloon | .target == 0 and .actual == 0 and .guest.free > 120000000' stats-whole
	[ "$(cat balloon-status)" = "0
2" ]
	[[ $(cat stats-text) == *"balloon: 0 B of 0 B wanted; the guest has"*"free"* ]]
}
