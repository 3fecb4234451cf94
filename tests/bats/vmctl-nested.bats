#!/usr/bin/env bats
# Limits of vmctl's machines of the driver "builtin", in a nested host with a real KVM and control groups of version 2
# (tests/nested-kvm.sh): the host's script looks at what the kernel has of them. It has one processor, so that what threads are
# pinned to is tests/unit/test_pin.c's.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	"$ROOT/tests/guest/linux-payload.sh" . "$VMKIT_BIN/vmrun" "$VMKIT_BIN/vmctl"
	"$ROOT/tests/guest/build.sh" "$PWD/guest"
	cat >web.json <<-'END'
		{"memory": "8M", "cpus": 2, "kernel": "/t/guest", "append": "do=spin",
		 "limits": {"cpu_percent": 40, "cpu_shares": 512, "memory": "512M", "pins": {"1": "0", "emulator": "0"}}}
	END
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp XDG_RUNTIME_DIR=/tmp/run VMKIT_CONNECT=builtin
		mkdir -p /lib64 -m 755
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		mkdir -m 700 /tmp/run
		mkdir -p $HOME/.config/vmkit/machines
		cp web.json $HOME/.config/vmkit/machines/
		bin/vmctl start web >/out/none 2>&1 # no control groups yet
		echo $? >>/out/none
		bin/vmctl stop --now web >/dev/null
		mount -t cgroup2 none /sys/fs/cgroup
		echo "+cpu +memory" >/sys/fs/cgroup/cgroup.subtree_control
		bin/vmctl start web >/out/start 2>&1
		echo $? >>/out/start
		cd /sys/fs/cgroup/vmkit-web
		grep . cpu.max cpu.weight memory.max >/out/group
		for p in $(cat cgroup.procs); do
			ls /proc/$p/task
		done >/out/threads
		/t/bin/vmrun stats --json web >/out/stats
		cd /t
		bin/vmctl stop --now web >/dev/null
		sed -i 's/"1": "0"/"1": "7"/' $HOME/.config/vmkit/machines/web.json
		bin/vmctl start web >/out/beyond 2>&1
		bin/vmctl stop --now web >/dev/null
		ls -d /sys/fs/cgroup/vmkit-* >/out/left 2>/dev/null
		exit 0
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 200 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
}

@test "limits are the kernel's: time, weight, memory; where they cannot be, start says so" {
	cd "$WORK/out"
	[ "$(xargs <start)" = 0 ] || fail "$(cat start)"
	[ "$(xargs <group)" = "cpu.max:40000 100000 cpu.weight:50 memory.max:536870912" ]
	[ "$(jq -r '.cpus | length' stats)" = 2 ]
	[ "$(jq -r '.cpus[].thread' stats | sort)" = "$(grep -xF -f <(jq -r '.cpus[].thread' stats) threads | sort)" ] || fail "$(cat stats threads)"
	[ ! -s left ]
	[[ $(cat beyond) == *"web: it runs, but its limits do not hold: it is pinned to processors that it may not use"* ]] || fail "$(cat beyond)"
	[[ $(cat none) == *"web: it runs, but its limits do not hold: "*"control group"* ]] || fail "$(cat none)"
	[ "$(tail -n 1 none)" = 0 ]
}
