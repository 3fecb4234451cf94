#!/usr/bin/env bats
# vmrun save and restore with Debian's own kernel: in one nested host with a real KVM, started once for all tests here.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun"
	mkdir rootfs/etc
	echo alice:x:1000:1001::/home/alice:/bin/sh >rootfs/etc/passwd
	echo disk:x:6:bob,alice >rootfs/etc/group
	random_image disk.raw $((4 << 20)) 7
	mkdir -p share/sub
	echo before >share/sub/file
	printf 'first line\nsecond line\n' >share/open
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp
		mkdir -p /lib64 /out/all
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		fast="quiet nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		o=/out/all
		says() { # NAME TEXT - wait until it does
			i=0
			while ! grep -q "$2" $o/$1 && [ $i -lt 3000 ]; do
				sleep 0.1
				i=$((i + 1))
			done
		}
		now() { cut -d' ' -f1 /proc/uptime; }
		mkfifo first.in one.in two.in third.in
		(bin/vmrun -k kernel -i initrd -m 128M -c 2 -t 300 -a "$fast do=shell" --name first -d disk.raw \
			--share share:files <first.in >$o/first 2>$o/first.err
			echo $? >$o/first.status) &
		exec 3>first.in
		says first "guest: 2 cpus"
		cat >&3 <<-'X'
			mkdir /t; mount -t tmpfs t /t; dd if=/dev/urandom of=/t/file bs=1M count=8; sha256sum /t/file >/t/sum
			dd if=/t/file of=/dev/vda bs=1M count=1 conv=fsync
			(while :; do sha256sum /t/file >/t/again; cmp /t/sum /t/again || echo "BRO"KEN; sleep 1; done) &
			mkdir /s; mount -t virtiofs files /s; exec 7</s/open 8>>/s/log; read -r line <&7; echo "share-$line"; cat /s/sub/file
			x=17; echo saved-$((x * 3)); sha256sum /dev/vda | sed s/^/disk-/
		X
		says first "disk-.*vda"
		bin/vmrun save first first.state 2>$o/save.err
		echo $? >$o/save
		ls -ls first.state >$o/size
		sha256sum disk.raw >before
		echo after >share/sub/file
		echo made >share/sub/new
		for n in one two; do
			(bin/vmrun restore --ephemeral -t 400 --name $n first.state <$n.in >$o/$n 2>$o/$n.err
				echo $? >$o/$n.status) &
		done
		exec 4>one.in 5>two.in
		for n in 4 5; do
			cat >&$n <<-'X'
				cat <&7 | sed s/^/share-/; cat /s/sub/file /s/sub/new | sed s/^/share-/; echo x >&8
				echo restored-$((x * 3)); echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda | sed s/^/disk-/
				dd if=/t/file of=/dev/vda bs=1M count=4 conv=fsync; sha256sum -c /t/sum; nproc
				head -c 4194304 /t/file | cmp - /dev/vda && echo written-$((x * 4))
				cat /sys/devices/system/clocksource/clocksource0/current_clocksource
				date +time-%s; sleep 1; date +time-%s; poweroff -f
			X
		done
		wait
		sha256sum -c before >$o/unchanged
		sort share/log >$o/log
		# Once more, with its disk, and from the restored machine a compressed state
		(bin/vmrun restore -t 400 --name third first.state <third.in >$o/third 2>$o/third.err
			echo $? >$o/third.status) &
		exec 6>third.in
		began=$(now)
		echo 'echo up-$((x * 2))' >&6
		says third up-34
		echo "$began $(now)" >$o/seconds
		echo 'dd if=/t/file of=/dev/vda bs=1M count=1 seek=1 conv=fsync; echo done-$((x * 5))' >&6
		says third done-85
		bin/vmrun save -z third third.state 2>>$o/save.err
		echo $? >>$o/save
		ls -ls third.state >>$o/size
		wait
		bin/vmrun restore first.state </dev/null 2>$o/changed.err
		echo $? >$o/changed
		echo 'cmp /t/sum /t/again; echo last-$((x * 6)); sha256sum /dev/vda | sed s/^/disk-/; poweroff -f' |
			bin/vmrun restore -t 400 third.state >$o/last 2>$o/last.err
		echo $? >$o/last.status
		sha256sum disk.raw >$o/disk
		# A machine that waits for a command, and then many commands
		bin/vmrun -k kernel --root rootfs --copy-root --modules modules -m 128M -t 200 -a "$fast" --prepare ready.state \
			>$o/prepare.out 2>$o/prepare.err </dev/null
		echo $? >$o/prepare
		ls -ls ready.state >>$o/size
		for n in 1 2 3 4 5; do
			began=$(now)
			bin/vmrun restore -t 400 ready.state -- true 2>>$o/true.err </dev/null
			echo "$? $began $(now)" >>$o/true
		done
		bin/vmrun restore -t 400 --env WORD=hello --workdir /bin ready.state -- sh -c \
			'cat; echo "$WORD $(pwd) $0 $#" >&2; exit 7' name "an argument" "" <kernel >$o/stream 2>$o/stream.err
		echo $? >>$o/stream.status
		cmp kernel $o/stream >$o/stream.cmp 2>&1
		echo $? >>$o/stream.cmp
		rm $o/stream
		for who in alice 1000 77 nobody; do
			bin/vmrun restore -t 400 --user $who ready.state -- sh -c \
				'echo "$(id -u) $(id -g) $(id -G) $HOME"; echo again >/dev/stdout; echo >/here || exit 5' \
				>$o/user.$who 2>$o/user.$who.err </dev/null
			echo $? >$o/user.$who.status
		done
		bin/vmrun restore -t 400 -u alice --env HOME=/of/mine ready.state -- sh -c 'echo "$HOME"' >$o/user.home </dev/null
		date +%s >$o/date.before
		for n in a b; do
			bin/vmrun restore -t 400 ready.state -- sh -c 'head -c 16 /dev/urandom | sha256sum; busybox date +%s' \
				>$o/random.$n 2>$o/random.err </dev/null &
		done
		wait
		date +%s >$o/date
		# With the root and another folder shared; both are elsewhere than the state
		mkdir /w
		bin/vmrun -k kernel --root rootfs --share share:/srv --modules modules -m 128M -t 200 -a "$fast" --prepare /w/shared.state \
			>$o/shared 2>&1 </dev/null
		bin/vmrun restore -t 400 /w/shared.state -- true >>$o/shared 2>&1 </dev/null
		echo $? >>$o/shared
		bin/vmrun restore -t 400 --share modules --share rootfs /w/shared.state -- true >>$o/shared 2>&1 </dev/null
		echo $? >>$o/shared
		for n in 1 2; do
			echo $n >share/number
			bin/vmrun restore -t 400 --share share --share rootfs /w/shared.state -- sh -c \
				'cat /srv/number; echo more >>/srv/more; echo x >/memory; id -u; wc -l /srv/more' >>$o/shared 2>&1 </dev/null
			echo $? >>$o/shared
		done
		bin/vmrun restore ready.state 2>$o/usage.err
		echo $? >$o/usage
		bin/vmrun restore third.state -- true 2>>$o/usage.err
		echo $? >>$o/usage
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 500 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
	tr -d '\r' <"$WORK/out/all/first" >"$WORK/first"
}

# of NAME STATUS - $output: what it said
of() {
	output=$(tr -d '\r' <"$WORK/out/all/$1")
	stderr=$(cat "$WORK/out/all/$1.err")
	[ "$(cat "$WORK/out/all/$1.status")" = "$2" ] || fail "$1: status $(cat "$WORK/out/all/$1.status"): $stderr $output"
}

disk() { sed -n 's/^disk-\([0-9a-f]*\) .*/\1/p' <<<"$output"; }

@test "Linux with two vCPUs at work is saved, and its vmrun ends" {
	of first 3
	[ "$(head -n 1 "$WORK/out/all/save")" = 0 ]
	[[ $output == *saved-51* && $output != *BROKEN* ]]
	was=$(disk)
	[ -n "$was" ]
}

@test "two clones at once go on: memory, variables, processors, disk" {
	of first 3
	was=$(disk)
	for n in one two; do
		of "$n" 0
		[[ $output == *restored-51* && $output == *"/t/file: OK"* && $output == *kvm-clock* && $output != *BROKEN* ]]
		[ "$(disk)" = "$was" ]
		[[ $output == *written-68* ]]
		grep -qx 2 <<<"$output"
		mapfile -t t < <(sed -n 's/^time-//p' <<<"$output")
		((t[1] >= t[0] + 1 && t[1] <= t[0] + 20))
	done
	grep -q 'disk.raw: OK' "$WORK/out/all/unchanged"
	read -r began ended <"$WORK/out/all/seconds"
	echo "# restored and answered in $(bc <<<"$ended - $began") s; sizes: $(cut -c -60 "$WORK/out/all/size" | xargs)" >&3
}

@test "a machine that was restored is saved once more, compressed; its disk has what it wrote" {
	of third 3
	of last 0
	[[ $output == *last-102* && $output != *BROKEN* && $output != *differ* ]]
	[ "$(disk)" = "$(cut -d ' ' -f 1 "$WORK/out/all/disk")" ]
	[ "$(xargs <"$WORK/out/all/save")" = "0 0" ]
	[ "$(cat "$WORK/out/all/changed")" = 3 ]
	grep -q "changed since" "$WORK/out/all/changed.err"
}

@test "run --prepare: a command starts in a machine that was saved before, with its streams and status" {
	o=$WORK/out/all
	[ "$(cat "$o/prepare")" = 0 ] || fail "$(cat "$o/prepare.err")"
	[ ! -s "$o/prepare.out" ] && [ ! -s "$o/prepare.err" ]
	[ "$(cut -d ' ' -f 1 "$o/true" | xargs)" = "0 0 0 0 0" ] || fail "$(cat "$o/true.err")"
	echo "# -- true: $(awk '{ printf "%.2f s ", $3 - $2 }' "$o/true")" >&3
	[ "$(xargs <"$o/stream.status")" = 7 ]
	[ "$(xargs <"$o/stream.cmp")" = 0 ]
	[ "$(cat "$o/stream.err")" = "hello /bin name 2" ]
	[ "$(xargs <"$o/usage")" = "2 125" ]
}

@test "clones of it have other random numbers, and the date" {
	o=$WORK/out/all
	[ -s "$o/random.a" ] && [ "$(head -n 1 "$o/random.a")" != "$(head -n 1 "$o/random.b")" ]
	then=$(tail -n 1 "$o/random.a")
	# Its clock has seconds, and is read a moment before
	((then >= $(cat "$o/date.before") - 2 && then <= $(cat "$o/date")))
}

@test "--user: a command is a user of the guest's" {
	o=$WORK/out/all
	for who in alice 1000; do
		[ "$(cat "$o/user.$who")" = $'1000 1001 1001 6 /home/alice\nagain' ] || fail "$(cat "$o/user.$who" "$o/user.$who.err")"
		[ "$(cat "$o/user.$who.status")" = 5 ] # it may not write to /
	done
	[ "$(cat "$o/user.77")" = $'77 77 77 /\nagain' ]
	[ "$(cat "$o/user.nobody.status")" = 126 ]
	[ "$(cat "$o/user.nobody.err")" = "vmrun: no user nobody in the guest's /etc/passwd" ]
	[ "$(cat "$o/user.home")" = /of/mine ]
}

@test "a shared folder goes on: a file that is open, one that was changed meanwhile, one that is new; both clones write there" {
	of first 3
	[[ $output == *"share-first line"*before* ]]
	for n in one two; do
		of "$n" 0
		[[ $output == *"share-second line"*share-after*share-made* ]] || fail "$output"
	done
	[ "$(cat "$WORK/out/all/log")" = $'x\nx' ]
}

@test "run --prepare with a shared root: its folders are named again, and have to be the same" {
	[ "$(cat "$WORK/out/all/shared")" = "vmrun: /w/shared.state: the saved machine's shared folder /t/share does not lie in its folder
hint: if it is yours, name it: --share /t/share
125
vmrun: modules: the shared folder is another one than when the machine was saved
125
1
0
1 /srv/more
0
2
0
2 /srv/more
0" ] || fail "$(cat "$WORK/out/all/shared")"
}
