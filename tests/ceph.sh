#!/bin/bash
# tests/ceph.sh start DIR | stop DIR | stop-gateway DIR | start-gateway DIR - a Ceph of one monitor, one OSD and one S3 gateway,
# on loopback, in a folder of its own
#
# start leaves in DIR: endpoint (a URL), *.pid. Keys AKTEST / SKTEST. Without systemd and without a manager daemon; the OSD is
# bluestore on a sparse file. About 20 s and 150 MB of memory (2026-11-26). Debian: ceph-mon ceph-osd radosgw ceph-common.
set -eu
verb=$1 dir=$2

ports() {
	python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in held))'
}

configure() {
	local mon2 mon1 http
	read -r mon2 mon1 http <<<"$(ports)"
	echo "http://127.0.0.1:$http" >endpoint
	cat >ceph.conf <<-END
		[global]
		fsid = $1
		mon host = [v2:127.0.0.1:$mon2/0,v1:127.0.0.1:$mon1/0]
		auth cluster required = cephx
		auth service required = cephx
		auth client required = cephx
		keyring = $PWD/keyring
		run dir = $PWD/run
		admin socket = $PWD/run/\$name.asok
		log file = $PWD/log/\$name.log
		pid file = $PWD/\$name.pid
		osd pool default size = 1
		osd pool default min size = 1
		mon allow pool size one = true
		osd crush chooseleaf type = 0
		osd pool default pg num = 8
		osd pool default pg autoscale mode = off
		mon max pg per osd = 1000
		public addr = 127.0.0.1
		cluster addr = 127.0.0.1
		ms bind ipv6 = false
		[mon]
		mon data = $PWD/mon
		mon data avail crit = 1
		mon data avail warn = 2
		mon warn on pool no redundancy = false
		auth allow insecure global id reclaim = false
		[osd]
		osd objectstore = bluestore
		osd data = $PWD/osd
		bluestore block size = 8589934592
		bluestore block create = true
		bluestore fsck on mkfs = false
		osd memory target = 939524096
		[client.rgw]
		rgw frontends = beast endpoint=127.0.0.1:$http
		rgw thread pool size = 32
		rgw enable usage log = false
		rgw gc obj min wait = 5
	END
}

# wait_for SECONDS CMD... - until CMD succeeds
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || {
			echo "ceph.sh: no success in time: $*" >&2
			return 1
		}
		sleep 0.1
	done
}

osd_is_up() { ceph -c ceph.conf osd stat -f json | grep -q '"num_up_osds":1'; }

start_gateway() {
	radosgw -n client.rgw -c ceph.conf -f >>log/gateway.out 2>&1 </dev/null 3>&- &
	echo $! >gateway.pid
	wait_for 120 curl -s -o /dev/null "$(cat endpoint)/"
}

# stop_one PIDFILE [SIGNAL] - and wait until it is gone
stop_one() {
	local pid
	[ -f "$1" ] && pid=$(cat "$1") || return 0
	rm -f "$1"
	kill -"${2:-TERM}" "$pid" 2>/dev/null || return 0
	for _ in {1..100}; do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -9 "$pid" 2>/dev/null || true
}

start() {
	local fsid osd
	mkdir -p "$dir"/{mon,osd,run,log}
	cd "$dir"
	fsid=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
	configure "$fsid"
	ceph-authtool -C keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
	ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
	ceph-authtool keyring --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
	ceph-authtool keyring --gen-key -n client.rgw --cap mon 'allow rwx' --cap osd 'allow rwx'
	read -r mon2 mon1 < <(sed -n 's/.*v2:127.0.0.1:\([0-9]*\).*v1:127.0.0.1:\([0-9]*\).*/\1 \2/p' ceph.conf)
	monmaptool --create --clobber --fsid "$fsid" \
		--addv a "[v2:127.0.0.1:$mon2,v1:127.0.0.1:$mon1]" monmap >/dev/null
	ceph-mon --mkfs -i a --monmap monmap --keyring keyring -c ceph.conf
	ceph-mon -i a -c ceph.conf 3>&-
	wait_for 60 timeout 5 ceph -c ceph.conf -s
	ceph -c ceph.conf osd new "$osd" >/dev/null
	ceph-osd -i 0 --mkfs --osd-uuid "$osd" -c ceph.conf >log/mkfs.out 2>&1
	ceph -c ceph.conf auth add osd.0 -i keyring >/dev/null 2>&1 || true
	ceph-osd -i 0 -c ceph.conf >log/osd.out 2>&1 3>&-
	wait_for 60 osd_is_up
	ceph -c ceph.conf auth add client.rgw -i keyring >/dev/null 2>&1 || true
	start_gateway
	radosgw-admin -c ceph.conf user create --uid=t --display-name=t --access-key=AKTEST \
		--secret-key=SKTEST >log/user.out 2>&1
}

case $verb in
start) start ;;
start-gateway)
	cd "$dir"
	start_gateway
	;;
stop-gateway)
	stop_one "$dir/gateway.pid" KILL
	;;
stop)
	stop_one "$dir/gateway.pid"
	stop_one "$dir/osd.0.pid"
	stop_one "$dir/mon.a.pid"
	;;
*)
	echo "usage: ceph.sh start|stop|start-gateway|stop-gateway DIR" >&2
	exit 2
	;;
esac
