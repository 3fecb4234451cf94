# A machine that runs and is backed up, for tests of live backups: web on host A of lvhost.bash, with its agent, and the
# repository $LV_BASE/repo. After lvhost.bash; live_setup_file in setup_file, lv_down in teardown_file.

live_setup_file() {
	lv_init && lv_guest && two_disks && lv_on A virsh define "$LV_BASE/web.xml" >/dev/null &&
		lv_on A virsh start web >/dev/null && lv_agent A web && writer || return 1
	lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" init --no-encryption
}

# two_disks - web: vda with ext4 and 6 MiB that do not compress, vdb for blocks
two_disks() {
	mkdir -p "$LV_BASE/fill"
	random_bytes 7 $((6 << 20)) >"$LV_BASE/fill/fill"
	truncate -s 64M "$LV_BASE/vda.raw"
	mke2fs -q -t ext4 -F -d "$LV_BASE/fill" "$LV_BASE/vda.raw" && qemu-img convert -O qcow2 "$LV_BASE/vda.raw" "$LV_BASE/vda.qcow2" &&
		qemu-img create -q -f qcow2 "$LV_BASE/vdb.qcow2" 32M || return 1
	[ "$(id -u)" != 0 ] || chown "$LV_UID:$LV_UID" "$LV_BASE"/vd?.qcow2
	cat >"$LV_BASE/web.xml" <<X
<domain type='qemu'><name>web</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><kernel>$LV_BASE/vmlinuz</kernel><initrd>$LV_BASE/initrd.gz</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$LV_BASE/vda.qcow2'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$LV_BASE/vdb.qcow2'/><target dev='vdb' bus='virtio'/></disk>
<serial type='pty'/><console type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>
X
}

# writer - the guest counts: each number with its checksum goes to a file of vda, then to block N % 32 of vdb
writer() {
	local script='i=0; while :; do i=$((i + 1)); printf "%-4095s\\n" "$i $(echo $i | md5sum)" >/tmp/b
		dd if=/tmp/b of=/mnt/seq bs=4096 conv=notrunc,fsync; dd if=/tmp/b of=/dev/vdb bs=4096 seek=$((i % 32)) conv=notrunc,fsync; done'
	lv_on A virsh qemu-agent-command web \
		"$(jq -nc --arg s "$script" '{execute: "guest-exec", arguments: {path: "/bin/sh", arg: ["-c", $s]}}')" >/dev/null
}

backup() { lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" backup --domain web "$@"; }
repo() { lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" "$@"; }
state() { lv_on A virsh domstate web | head -n 1; }
guard() { lv_on A "$VMKIT_TOOLS/guard" qemu:///session web "$@"; }
frozen() { lv_on A virsh qemu-agent-command web '{"execute":"guest-fsfreeze-status"}' | jq -r .return; }
checkpoints() { lv_on A virsh checkpoint-list web --name | sed '/^$/d'; }

# thawed - within 10 s
thawed() {
	local i
	for ((i = 0; i < 50; i++)); do
		[ "$(frozen)" != thawed ] || return 0
		sleep 0.2
	done
	fail "still frozen"
}

# at_rest - the machine runs, thawed, without a job, and nothing of ours lies about
at_rest() {
	[ "$(state)" = running ]
	[ "$(frozen)" = thawed ]
	[[ $(lv_on A virsh domjobinfo web) == *None* ]]
	[ -z "$(find "$LV_BASE/A/cache" -name 'vmkit-backup-*')" ]
}

# one_moment SNAPSHOT - both disks are of the same moment: vdb holds the last 32 numbers, vda's file the last one or the
# one after. Sets N.
one_moment() {
	repo restore "$1:vda" "$LV_BASE/r.vda" -O raw --force
	repo restore "$1:vdb" "$LV_BASE/r.vdb" -O raw --force
	cat >check.py <<-'P'
		import hashlib, sys
		data, seq, seen = open(sys.argv[1], 'rb').read(), int(sys.argv[2]), []
		for k in range(32):
		    number, digest = data[k * 4096:(k + 1) * 4096].split()[:2]
		    assert hashlib.md5(number + b'\n').hexdigest().encode() == digest and int(number) % 32 == k, (k, number)
		    seen.append(int(number))
		assert sorted(seen) == list(range(max(seen) - 31, max(seen) + 1)), seen
		assert seq - max(seen) in (0, 1), (seq, max(seen))
		print(max(seen))
	P
	N=$(python3 check.py "$LV_BASE/r.vdb" "$(debugfs -R 'cat /seq' "$LV_BASE/r.vda" 2>/dev/null | cut -d' ' -f1)") || fail "not one moment"
}

number() { lv_on A "$VMKIT_BIN/vmctl" exec web -- head -c 8 /mnt/seq | cut -d' ' -f1; }

# counted - the guest has written 32 numbers more
counted() {
	local from to i
	from=$(number)
	for ((i = 0; i < 200; i++)); do
		to=$(number)
		[ $((to - from)) -lt 34 ] || return 0
		sleep 0.3
	done
	fail "the guest does not count: $from $to"
}

# in_background ARGS... - a backup that takes a while; returns when it reads; sets PID, and JOB for wait
in_background() {
	lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" backup --domain web --rate-limit 1M "$@" >out 2>err 3>&- &
	JOB=$!
	local i
	for ((i = 0; i < 1200; i++)); do
		[ -z "$(find "$LV_BASE/A/cache" -name nbd -type s)" ] || break
		sleep 0.1
	done
	[ $i -lt 100 ] || fail "no backup job: $(cat err)"
	sleep 0.7 # the socket is there before the job has begun
	PID=$(cat "$LV_BASE"/A/cache/vmkit-backup-*/lock)
}

# killed AT WHEN WHOM - a backup that is killed (self), or its daemon or QEMU (a file with its number), WHEN (before, after) it is
# called the AT-th time (tests/preload/rpc.c, RPC_OF says of what); the status is RC
killed() {
	RC=0
	lv_on A env LD_PRELOAD="$(preload rpc.so)" RPC_AT="$1" RPC_WHEN="$2" RPC_KILL="$3" \
		"$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" backup --domain web >out 2>err || RC=$?
}

# jobless - within 10 s there is no job, and nothing of a backup's lies about
jobless() {
	local i
	for ((i = 0; i < 50; i++)); do
		[[ $(lv_on A virsh domjobinfo web 2>&1) != *None* || -n $(find "$LV_BASE/A/cache" -name 'vmkit-backup-*') ]] || return 0
		sleep 0.2
	done
	fail "a job is left: $(lv_on A virsh domjobinfo web) $(find "$LV_BASE/A/cache" -name 'vmkit-backup-*')"
}
