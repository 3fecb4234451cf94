#!/usr/bin/env bats
# vmctl with libvirt's system daemon, which has control groups: in a mount namespace of its own, so that neither its files
# nor its sockets are the machine's.
# bats file_tags=slow,release

load common

setup() { common_setup; }

@test "set: limits of processors and networks are libvirt's, and the control group's of a machine that runs" {
	[ "$(id -u)" = 0 ] || return 0 # a system daemon needs root
	cat >web.xml <<-END
		<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
		<os><type arch='x86_64'>hvm</type></os>
		<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='null'/></devices></domain>
	END
	# Only defined: its interface would need a device of the host
	sed "s|<name>web|<name>net|; s|</devices>|<interface type='ethernet'><mac address='52:54:00:aa:bb:cd'/></interface>&|" web.xml >net.xml
	cat >inside <<-'END'
		set -e
		for p in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt run; do
			mkdir -p root/$p /$p
			[ $p != etc/libvirt ] || cp -a /etc/libvirt/. root/etc/libvirt/
			mount --bind root/$p /$p
		done
		# Debian's libvirtd asks for this user, which comes with another package
		sed '/^libvirt-qemu:/d' /etc/passwd >passwd
		echo libvirt-qemu:x:64055:64055::/:/bin/false >>passwd
		sed '/^libvirt-qemu:/d' /etc/group >group
		echo libvirt-qemu:x:64055: >>group
		mount --bind passwd /etc/passwd
		mount --bind group /etc/group
		mkdir -p /run/libvirt
		printf 'host_uuid = "11111111-2222-3333-4444-555555555599"\nauth_unix_rw = "none"\n' >/etc/libvirt/libvirtd.conf
		printf 'user = "root"\ngroup = "root"\nremember_owner = 0\nsecurity_driver = "none"\n' >/etc/libvirt/qemu.conf
		virtlogd >log 2>&1 3>&- &
		logd=$!
		libvirtd >daemon.log 2>&1 3>&- &
		daemon=$!
		trap 'vmctl stop --now web >/dev/null 2>&1 || true; kill $daemon $logd; wait $daemon $logd || true' EXIT
		for i in $(seq 100); do
			! virsh -c qemu:///system version >/dev/null 2>&1 || break
			sleep 0.2
		done
		export VMKIT_CONNECT=qemu:///system
		virsh -c qemu:///system define web.xml >/dev/null
		virsh -c qemu:///system define net.xml >/dev/null
		vmctl set --cpu-limit 150 --cpu-shares 512 --memory-limit 1G web >set.txt
		virsh -c qemu:///system memtune web --config >memory
		vmctl set --memory-limit none web >/dev/null # libvirt would lock as much of QEMU's memory, which needs a right
		virsh -c qemu:///system schedinfo web --config >config
		vmctl set --net-limit 52:54:00:aa:bb:cd=in:10M,out:1M --json net >net.json
		virsh -c qemu:///system domiftune net 52:54:00:aa:bb:cd --config >net
		vmctl set --net-limit 52:54:00:aa:bb:cd=in:none net >/dev/null
		virsh -c qemu:///system domiftune net 52:54:00:aa:bb:cd --config >out-only
		vmctl start web
		# As a machine of its own would have it; not every machine that runs tests has control groups
		if [ -d /sys/fs/cgroup/cpu ] || grep -qw cpu /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
			vmctl set --live --cpu-limit 140 --json web >live.json
			virsh -c qemu:///system schedinfo web --live >live
			vmctl set --live --memory-limit 700M web >/dev/null
			virsh -c qemu:///system memtune web --live >memory-live
			vmctl set --live --memory-limit none web >/dev/null
			virsh -c qemu:///system memtune web --live >memory-none
			vmctl set --live --cpu-limit none web >/dev/null
			virsh -c qemu:///system schedinfo web --live >none
		fi
	END
	mkdir root
	run timeout 100 unshare -m bash inside
	# What libvirt leaves of its groups
	find /sys/fs/cgroup -depth -path '*/machine*' -type d -exec rmdir {} + 2>/dev/null || true
	assert_status 0
	schedinfo() { awk '$1 ~ /^(cpu_shares|global_quota)$/ { print $1 $2 $3 }' "$1" | xargs; }
	[ "$(schedinfo config)" = "cpu_shares:512 global_quota:150000" ]
	grep -q 'at most 150 % of a processor' set.txt
	hard() { awk '$1 == "hard_limit" { print $3 }' "$1"; }
	[ "$(hard memory)" = $((1 << 20)) ]
	rates() { awk '/average/ { print $NF }' "$1" | xargs; }
	[ "$(rates net)" = "10240 1024" ]
	[ "$(jq -c '.config.limits.nets' net.json)" = '[{"mac":"52:54:00:aa:bb:cd","in":10485760,"out":1048576}]' ]
	[ "$(rates out-only)" = "0 1024" ]
	[ ! -e live ] || {
		[ "$(hard memory-live) $(hard memory-none)" = "$((700 << 10)) unlimited" ]
		[ "$(schedinfo live)" = "cpu_shares:512 global_quota:140000" ]
		[ "$(jq -c '[.live.limits.cpu_percent, .config.limits.cpu_percent]' live.json)" = "[140,150]" ]
		[ "$(schedinfo none)" = "cpu_shares:512 global_quota:-1" ] || fail "$(cat none)"
	}
}
