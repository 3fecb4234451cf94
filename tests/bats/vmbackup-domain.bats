# Backups of running machines: libvirt's session daemon, QEMU without hardware, a guest with its agent.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && two_disks && lv_on A virsh define "$LV_BASE/web.xml" >/dev/null &&
		lv_on A virsh start web >/dev/null && lv_agent A web && writer || return 1
	lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" init --no-encryption
}
teardown_file() { lv_down; }

setup() {
	common_setup
	require jq debugfs xmllint
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
	for ((i = 0; i < 100; i++)); do
		[ -z "$(find "$LV_BASE/A/cache" -name nbd -type s)" ] || break
		sleep 0.1
	done
	[ $i -lt 100 ] || fail "no backup job: $(cat err)"
	sleep 0.7 # the socket is there before the job has begun
	PID=$(cat "$LV_BASE"/A/cache/vmkit-backup-*/lock)
}

@test "freeze and thaw; a freeze that lasts too long is ended, and told" {
	[ "$(guard hold 0)" = "1 held" ]
	[ "$(guard hold 3 1000)" = "1 lost" ]
	[ "$(frozen)" = thawed ]
}

@test "who dies with a frozen guest leaves it thawed, the daemon killed too" {
	run guard die
	thawed
	run guard die
	kill -9 "$(cat "$LV_BASE/A/run/libvirt/libvirtd.pid")"
	thawed
	for ((i = 0; i < 5; i++)); do # the guard that thawed last looks twice
		[ "$(guard hold 0)" != "1 held" ] || return 0
	done
	fail "not held"
}

@test "a guard that is killed leaves no guest frozen" {
	[ "$(guard alone)" = "1 held" ]
	[ "$(frozen)" = thawed ]
}

@test "a running machine: one moment of both disks, frozen, while the guest writes" {
	counted
	local before after
	before=$(number)
	run_split backup --rate-limit 2M --json
	after=$(number)
	assert_status 0
	assert_schema vmbackup-backup
	[ "$(json .domain.consistency)" = quiesced ]
	[ "$(json '.domain.freeze_ms > 0')" = true ]
	[ "$(json '.disks | join(" ")')" = "vda vdb" ]
	at_rest
	one_moment web
	[ "$N" -ge $((before - 1)) ] && [ "$N" -lt "$after" ]
	[ $((after - before)) -ge 20 ] # it did write meanwhile
	run_split repo show web --json
	assert_schema vmbackup-show
	[ "$(json '[.disks[].consistency] | unique | join(" ")')" = quiesced ]
	[ "$(json '.freeze_ms > 0')" = true ]
	[ "$(json .disks[0].checkpoint)" = "$(checkpoints)" ]
	repo show web --machine | xmllint --noout -
	[ "$(repo show web --machine | xmllint --xpath 'string(/domain/uuid)' -)" = "$(lv_on A virsh domuuid web | head -n 1)" ]
}

@test "the next one reads what the checkpoint names" {
	counted
	run_split backup --json
	assert_status 0
	assert_schema vmbackup-backup
	[ "$(json '.domain.incremental | join(" ")')" = "vda vdb" ]
	[ "$(json .read_bytes)" -lt $((3 << 20)) ]
	at_rest
	one_moment web
	[ "$(repo show web --json | jq -r '[.disks[].change_source] | unique | join(" ")')" = checkpoint ]
	[ "$(checkpoints | wc -l)" = 1 ]
}

@test "vmbackup killed while it reads: the machine goes on, the next backup clears up and is incremental" {
	in_background --full
	run_split backup
	assert_status 6
	[[ $stderr == *"process $PID is backing it up"* ]]
	kill -9 "$PID"
	wait "$JOB" || true
	[ "$(state)" = running ]
	[ "$(frozen)" = thawed ]
	counted
	run_split backup --json
	assert_status 0
	[ "$(json '.domain.incremental | join(" ")')" = "vda vdb" ]
	at_rest
	one_moment web
	[ "$(checkpoints | wc -l)" = 1 ]
}

@test "the daemon killed while it reads: the backup is whole all the same" {
	in_background --full
	kill -9 "$(cat "$LV_BASE/A/run/libvirt/libvirtd.pid")"
	wait "$JOB" || fail "$(cat err)"
	at_rest
	one_moment web
	run_split backup --no-full
	assert_status 0
	at_rest
}

@test "interrupted: status 130, no job, no checkpoint of it" {
	local before
	before=$(checkpoints)
	in_background --full
	kill -INT "$PID"
	wait "$JOB" && fail "not interrupted"
	[ $? = 130 ]
	at_rest
	[ "$(checkpoints)" = "$before" ]
}

@test "another job is status 6 at once" {
	local start=$SECONDS
	cat >b.xml <<-X
		<domainbackup mode='pull'><server transport='unix' socket='$LV_BASE/n.sock'/>
		<disks><disk name='vda' backup='yes' type='file'><scratch file='$LV_BASE/s.qcow2'/></disk></disks></domainbackup>
	X
	install -m 644 b.xml "$LV_BASE/b.xml"
	lv_on A virsh backup-begin web "$LV_BASE/b.xml"
	run_split backup
	lv_on A virsh domjobabort web
	assert_status 6
	[[ $stderr == *"a backup is under way"* ]]
	[ $((SECONDS - start)) -lt 20 ]
	at_rest
}

@test "QEMU killed while it reads: status, and the next backup reads the disks with broken bitmaps whole" {
	in_background --full
	kill -9 "$(cat "$LV_BASE"/A/run/libvirt/qemu/run/web.pid)"
	local i rc=0
	wait "$JOB" || rc=$?
	[ $rc = 7 ] || fail "status $rc: $(cat err)"
	for ((i = 0; i < 50; i++)); do
		[ "$(state)" != "shut off" ] || break
		sleep 0.2
	done
	# Off: its files are read, and a machine is made of them.
	run_split backup --json
	assert_status 0
	assert_schema vmbackup-backup
	[ "$(json .domain.consistency)" = offline ]
	lv_as mkdir "$LV_BASE/back"
	run_split repo restore --define web "$LV_BASE/back"
	assert_status 5
	run_split repo restore --define web "$LV_BASE/back" --name again --json
	assert_status 0
	assert_schema vmbackup-restore
	for d in vda vdb; do
		assert_same_disk "$LV_BASE/$d.qcow2" "$LV_BASE/back/again-$d.qcow2"
		[ "$(lv_on A virsh domblklist again | awk -v d=$d '$1 == d { print $2 }')" = "$LV_BASE/back/again-$d.qcow2" ]
	done
	[ "$(lv_on A virsh domuuid again | head -n 1)" = "$(json .uuid)" ]
	[ "$(lv_on A virsh domuuid web | head -n 1)" != "$(json .uuid)" ]
	lv_on A virsh start web >/dev/null
	lv_agent A web
	writer
	run_split backup --no-full
	assert_status 11
	run_split backup --json
	assert_status 0
	[ "$(json '.domain.incremental | join(" ")')" = "" ]
	[[ $stderr == *"all of it is read"* ]]
	at_rest
	run_split repo restore --define web "$LV_BASE/back"
	assert_status 6
	counted
	run_split backup --no-full
	assert_status 0
	one_moment web
}

@test "without an agent that answers it is a crash's state, or not done" {
	lv_on A virsh suspend web >/dev/null
	run_split backup --json
	assert_status 0
	[ "$(json .domain.consistency)" = crash ]
	[ "$(json .domain.freeze_ms)" = null ]
	run_split backup --quiesce require
	assert_status 7
	[ "$(state)" = paused ]
	lv_on A virsh resume web >/dev/null
	run_split backup --quiesce no --exclude-disk vda --vm other --json
	assert_status 0
	[ "$(json '.disks | join(" ")')" = vdb ]
	at_rest
}

@test "what cannot be: no such machine, no such disk, images beside a machine" {
	run_split repo backup --domain nobody
	assert_status 4
	run_split backup --exclude-disk vdz
	assert_status 4
	run_split backup "$LV_BASE/vda.qcow2"
	assert_status 2
	run_split repo backup --vm x --quiesce no "$LV_BASE/vda.qcow2"
	assert_status 2
	run_split lv_on A "$VMKIT_BIN/vmbackup" -r "$LV_BASE/repo" backup --domain web -c "qemu+unix:///session?socket=$LV_BASE/none"
	assert_status 7
}
