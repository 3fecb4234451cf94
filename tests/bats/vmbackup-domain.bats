# Backups of running machines: libvirt's session daemon, QEMU without hardware, a guest with its agent.
# bats file_tags=slow,release

load common
load lvhost
load live

setup_file() { live_setup_file; }
teardown_file() { lv_down; }

setup() {
	common_setup
	require jq debugfs xmllint
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

@test "killed frozen, its daemon too, killed as it clears up: no job, no frozen guest, the next one works" {
	RPC_OF=agent killed 3 before self # the thaw
	[ "$RC" = 137 ]
	thawed
	jobless
	RPC_OF=agent killed 2 after "$LV_BASE/A/run/libvirt/libvirtd.pid" # the freeze
	[ "$RC" = 7 ] || [ "$RC" = 0 ] || fail "$RC $(cat err)" # 0: its answer was on its way
	thawed
	jobless
	RPC_OF=417 killed 1 after self # checkpoint-delete
	[ "$RC" = 137 ]
	at_rest
	run_split backup --no-full
	assert_status 0
	[ "$(checkpoints | wc -l)" = 1 ]
	at_rest
	one_moment web
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
