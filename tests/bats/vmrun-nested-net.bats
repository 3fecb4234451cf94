#!/usr/bin/env bats
# vmrun's network with Debian's own kernel: in one nested host with a real KVM, started once for all tests here. The host has passt, a
# default route (into a dummy interface), a web server on 127.0.0.1 and a tap device.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio passt
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun" "$(command -v passt)"
	[ ! -e /usr/bin/passt.avx2 ] || cp /usr/bin/passt.avx2 bin/
	for applet in ip udhcpc wget httpd mkdir ifconfig nc ping; do ln -s busybox "rootfs/bin/$applet"; done
	cat >rootfs/lease <<-'END'
		#!/bin/sh
		[ "$1" = bound ] || exit 0
		echo "lease $ip $mask $router mtu $mtu"
		ip addr add $ip/$mask dev $interface
	END
	chmod +x rootfs/lease
	cp kernel rootfs/kernel
	modules=/lib/modules/$(basename "$(find /boot -name 'vmlinuz-*-cloud-amd64' | sort -V | tail -n 1)" | sed s/vmlinuz-//)
	cp "$modules"/kernel/drivers/net/{dummy,tun}.ko .
	cat >../script <<-'END'
		# passt changes its root, which cannot be done from the initial one
		if [ ! -e /again ]; then
			mkdir /again
			mount -o rbind / /again
			cd /again
			mount -o move . /
			exec chroot . sh -c "cd /t && exec sh ./.script"
		fi
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp PATH=/t/bin:$PATH
		mkdir -p /lib64 /etc /run /var/run /out/host
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		echo root:x:0:0::/:/bin/sh >/etc/passwd
		echo nobody:x:65534:65534::/:/bin/false >>/etc/passwd
		echo nameserver 192.0.2.53 >/etc/resolv.conf
		insmod dummy.ko
		insmod tun.ko
		ip link set lo up
		ip addr add 192.0.2.5/24 dev dummy0
		ip link set dummy0 up
		ip route add default via 192.0.2.1
		mkdir /www
		for i in 1 2 3 4 5; do cat kernel; done >/www/big
		sha256sum </www/big >/out/host/sum
		ls -l /www/big >/out/host/size
		sha256sum <kernel >/out/host/kernel
		cp kernel /www/
		httpd -p 127.0.0.1:8080 -h /www
		fast="nokaslr tsc=reliable lpj=5000000 mitigations=off cryptomgr.notests random.trust_cpu=on"
		start() { # NAME OPTIONS... - until it says that it is serving
			mkdir /out/$1
			o=/out/$1
			name=$1
			shift
			vmrun -k kernel --root rootfs --modules modules -a "$fast" -t 300 --name $name "$@" </dev/null >$o/out 2>$o/err &
			pid=$!
			while ! grep -q serving $o/out && [ -d /proc/$pid ]; do sleep 0.2; done
		}
		# Out to a server on the host's 127.0.0.1, a lease, and in by a published port; at the end passt is killed
		start user --net user,host,mac=52:54:00:01:02:03 -p 18080:80 -- sh -c '
			echo "up $(ip addr show eth0 | grep -c "inet 10.0.2.15/24") $(cat /sys/class/net/eth0/mtu) $(cat /sys/class/net/eth0/address)"
			cat /etc/resolv.conf
			wget -q -O - http://10.0.2.2:8080/big | sha256sum
			ip addr flush dev eth0
			udhcpc -i eth0 -n -q -f -s /lease
			ip route add default via 10.0.2.2
			httpd -p 80 -h /
			echo serving
			while [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.2; done
			echo no carrier'
		wget -q -O - http://127.0.0.1:18080/kernel | sha256sum >/out/user/sum
		vmrun stats user --json >/out/user/stats
		vmrun stats user >/out/user/table
		ps -o pid,user,comm | grep passt >/out/user/passt
		kill $(pidof passt passt.avx2)
		wait $pid
		echo $? >/out/user/status
		# A machine that was saved before any command, with its interfaces; two clones at once, each with its own passt
		mkdir /out/saved /w
		vmrun -k kernel --root rootfs --copy-root --modules modules -m 256M -a "$fast" -t 200 --net user --vsock /w/v \
			--prepare /w/ready.state </dev/null >/out/saved/prepare 2>&1
		for n in 1 2; do
			vmrun restore --net user,host -p 1808$n:80 --vsock /w/v$n --name clone$n -t 400 /w/ready.state -- sh -c '
				echo "up $(ip addr show eth0 | grep -c "inet 10.0.2.15/24")"
				wget -q -O - http://10.0.2.2:8080/kernel | sha256sum
				httpd -p 80 -h /
				echo serving
				sleep 1000' </dev/null >/out/saved/out$n 2>/out/saved/err$n &
			eval "clone$n=$!"
		done
		for n in 1 2; do
			i=0
			eval "pid=\$clone$n"
			while ! grep -q serving /out/saved/out$n && [ -d /proc/$pid ] && [ $i -lt 1500 ]; do sleep 0.2; i=$((i + 1)); done
			wget -q -O - http://127.0.0.1:1808$n/kernel | sha256sum >/out/saved/sum$n
			vmrun stop --now clone$n 2>>/out/saved/stop
		done
		wait $clone1
		wait $clone2
		# Without the host's 127.0.0.1; and a tap device beside it: long frames, both ways
		tunctl -t tap0 >/dev/null
		ip addr add 10.9.0.1/24 dev tap0
		ip link set tap0 up
		httpd -p 10.9.0.1:8080 -h /t
		start tap --net user --net tap=tap0 -- sh -c '
			wget -q -T 2 -O - http://10.0.2.2:8080/big | wc -c
			ip addr add 10.9.0.2/24 dev eth1
			wget -q -O - http://10.9.0.1:8080/kernel | sha256sum
			httpd -p 80 -h /
			echo serving
			sleep 1000'
		wget -q -O - http://10.9.0.2/kernel | sha256sum >/out/tap/sum
		vmrun stats tap --json >/out/tap/stats
		pidof passt passt.avx2 >/out/host/there
		kill -9 $pid
		wait $pid
		# Its passt goes too
		i=0
		while pidof passt passt.avx2 >/out/host/left && [ $i -lt 50 ]; do
			sleep 0.1
			i=$((i + 1))
		done
		true
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 700 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/initrd" "$WORK/out.tar"
}

# of NAME STATUS - its results
of() {
	R=$WORK/out/$1
	status=$(cat "$R/status")
	stderr=$(cat "$R/err")
	output=$(cat "$R/out")
	[ "$status" = "$2" ] || fail "$1: status $status: $stderr $output"
}

@test "the user-mode network: the guest has its address, and fetches 70 MB from the host's 127.0.0.1, byte for byte" {
	of user 0
	[ "$(awk '{ print $5 }' "$WORK/out/host/size")" -gt 67108864 ]
	[[ $output == *"up 1 65520 52:54:00:01:02:03"*"nameserver 10.0.2.3"* ]]
	grep -qFx "$(cat "$WORK/out/host/sum")" "$R/out"
}

@test "passt leases it the same address by DHCP" {
	of user 0
	[[ $output == *"lease 10.0.2.15 24 10.0.2.2 mtu 65520"* ]]
}

@test "a published port: the host fetches from the guest, byte for byte" {
	of user 0
	assert_same_bytes "$WORK/out/host/kernel" "$R/sum"
}

@test "stats count what went through" {
	of user 0
	assert_schema vmrun-stats "$R/stats"
	[ "$(jq -r '.nets[0] | [.name, .kind, .mac, .link, .rx_dropped, .tx_dropped] | join(" ")' "$R/stats")" = "net0 user 52:54:00:01:02:03 true 0 0" ]
	[ "$(jq '.nets[0] | .rx_bytes > 67108864 and .tx_bytes > 8000000 and .rx_packets > 1000 and .tx_packets > 100' "$R/stats")" = true ]
	grep -q 'net0.*user.*up' "$R/table"
}

@test "passt is no one's; when it ends, the guest's link is down and its machine goes on" {
	of user 0
	grep -q nobody "$R/passt"
	[[ $output == *"no carrier" ]]
	[[ $stderr == *"passt has ended"* ]]
}

@test "machines restored from one saved with a network: each fetches, and is fetched from, byte for byte" {
	o=$WORK/out/saved
	[ ! -s "$o/prepare" ] || fail "$(cat "$o/prepare")"
	for n in 1 2; do
		[ "$(head -n 1 "$o/out$n")" = "up 1" ] || fail "$(cat "$o/out$n" "$o/err$n")"
		grep -qFx "$(cat "$WORK/out/host/kernel")" "$o/out$n" || fail "$n: $(cat "$o/out$n" "$o/err$n")"
		assert_same_bytes "$WORK/out/host/kernel" "$o/sum$n" || fail "$n: $(cat "$o/out$n" "$o/err$n" "$o/stop")"
	done
}

@test "without ,host the guest does not reach the host's 127.0.0.1" {
	[ "$(head -n 1 "$WORK/out/tap/out")" = 0 ]
}

@test "a tap device: both ways, byte for byte, in frames longer than the link's" {
	R=$WORK/out/tap
	grep -qFx "$(cat "$WORK/out/host/kernel")" "$R/out"
	assert_same_bytes "$WORK/out/host/kernel" "$R/sum"
	assert_schema vmrun-stats "$R/stats"
	# 1500 bytes a frame would be more; how many are put together depends on who is slow
	[ "$(jq '.nets[1] | .kind == "tap" and .rx_packets < .rx_bytes / 1700 and .tx_packets < .tx_bytes / 1700' "$R/stats")" = true ] ||
		fail "$(jq -c '.nets[1]' "$R/stats")"
}

@test "vmrun killed: its passt is gone" {
	[ -s "$WORK/out/host/there" ]
	[ ! -s "$WORK/out/host/left" ]
}
