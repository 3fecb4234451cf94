# vmctl against libvirt's test driver, which needs no daemon: its machines live as long as the process.

load common

setup() {
	common_setup
	require virsh xmllint
	export VMKIT_CONNECT=test:///default
	cat >node.xml <<'X'
<node><domain type='test'><name>alpha</name><uuid>11111111-2222-3333-4444-555555555555</uuid><memory unit='MiB'>512</memory>
<currentMemory unit='MiB'>256</currentMemory><vcpu current='2'>4</vcpu><os><type>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/images/a&amp;b.qcow2'/><target dev='vda' bus='virtio'/></disk>
<interface type='bridge'><mac address='52:54:00:01:02:03'/><source bridge='br0'/></interface></devices></domain>
<domain type='test'><name>beta</name><uuid>21111111-2222-3333-4444-555555555555</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain></node>
X
	NODE=test://$PWD/node.xml
}

# shut CMD... - a daemon's socket that nobody answers on
silent_socket() {
	python3 - "$1" <<-'P' 3>&- &
		import socket, sys, time
		s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); time.sleep(60)
	P
	SILENT=$!
	for _ in {1..1200}; do [ -S "$1" ] && return; sleep 0.05; done
	fail "no socket"
}

@test "list: table, JSON, names, a state alone" {
	run_split vmctl -c "$NODE" list
	assert_status 0
	assert_line --regexp '^NAME +STATE +CPUS +MEMORY$'
	assert_line --regexp '^alpha +running.* +2 +256 MiB$'
	run_split vmctl -c "$NODE" list --json
	assert_schema vmctl-list
	[ "$(json '[.[].name] | join(" ")')" = "alpha beta" ]
	[ "$(json '.[0].memory')" = $((256 << 20)) ]
	[ "$(json '.[0].memory_max')" = $((512 << 20)) ]
	[ "$(json '.[0].uuid')" = 11111111-2222-3333-4444-555555555555 ]
	[ "$(vmctl -c "$NODE" list -0 | tr '\0' ' ')" = "alpha beta " ]
	run_split vmctl -c "$NODE" list --state off --json
	assert_schema vmctl-list
	[ "$(json length)" = 0 ]
}

@test "list: names and states are virsh's" {
	for pair in running:--state-running off:--inactive; do
		vmctl list --state "${pair%:*}" -0 | tr '\0' '\n' >ours
		virsh -c test:///default list --name "${pair#*:}" | sed '/^$/d' | sort >theirs
		assert_same_bytes ours theirs
	done
}

@test "list: several hosts at once; one that is not there is told, the others are listed" {
	run_split vmctl -c "$NODE" -c test:///default list --json
	assert_status 0
	assert_schema vmctl-list
	[ "$(json '[.[].name] | join(" ")')" = "alpha beta test" ]
	run_split vmctl -c "$NODE" -c "qemu+unix:///session?socket=$PWD/none" list --json
	assert_status 3
	assert_schema vmctl-list
	[ "$(json length)" = 2 ]
	[[ $stderr == *none* ]]
}

@test "a daemon that is not there is status 7, and so is one that does not answer" {
	refused 7 vmctl -c "qemu+unix:///session?socket=$PWD/none" list
	silent_socket "$PWD/silent"
	refused 7 timeout 20 vmctl --host-timeout 1s -c "qemu+unix:///session?socket=$PWD/silent" info x
	[[ $stderr == *"no answer within 1 s"* ]]
	kill $SILENT
	wait $SILENT || true
}

@test "hosts and groups come from the configuration" {
	mkdir -p "$HOME/.config"
	printf '[vmctl]\nhost_one = %s\nhost_two = test:///default\ngroup_all = one two\n' "$NODE" >"$HOME/.config/vmkit.conf"
	[ "$(vmctl -c one list -0 | tr '\0' ' ')" = "alpha beta " ]
	run_split vmctl -c all list
	assert_status 0
	assert_line --regexp '^alpha .* one$'
	assert_line --regexp '^test .* two$'
	refused 4 vmctl -c three list
	refused 2 vmctl -c all info alpha
}

@test "info: as the definition says it, by name and by UUID" {
	run_split vmctl -c "$NODE" info --json alpha 21111111-2222-3333-4444-555555555555
	assert_status 0
	assert_schema vmctl-info
	[ "$(json '.[1].name')" = beta ]
	[ "$(json '.[0].disks[0] | .target + " " + .source + " " + .format')" = "vda /images/a&b.qcow2 qcow2" ]
	[ "$(json '.[0].interfaces[0] | .mac + " " + .source')" = "52:54:00:01:02:03 br0" ]
	run vmctl -c "$NODE" info alpha
	assert_line --regexp '^disk +vda qcow2 /images/a&b.qcow2$'
	vmctl -c "$NODE" info --xml alpha >xml
	[ "$(xmllint --xpath 'string(/domain/uuid)' xml)" = 11111111-2222-3333-4444-555555555555 ]
}

@test "a machine that is not there is status 4; one of several is status 3" {
	refused 4 vmctl info nobody
	refused 4 vmctl start nobody
	refused 4 vmctl console nobody
	refused 4 vmctl exec nobody -- true
	refused 4 vmctl set nobody
	run_split vmctl info --json test nobody
	assert_status 3
	assert_schema vmctl-info
	[ "$(json '.[0].name')" = test ]
}

@test "set: a limit that makes no sense is status 2, and changes nothing" {
	local bad
	for bad in --cpu-limit=0 --cpu-limit=x --cpu-limit=10x --cpu-shares=1 --pin=0 --pin=x=0 --pin=0=1-0 "--pin=0=1," --pin=0=-1 --pin=0=99999 \
		--pin==0 --disk-limit=vda --disk-limit=:none --disk-limit=vda:iops --disk-limit=vda:iops=1M --disk-limit=vda:iops=-1 --disk-limit=vda:speed=1 \
		--disk-limit=vda:bytes=1M,read-bytes=1M --disk-limit=vda: --net-limit=x --net-limit=x=in --net-limit=x=in:1X --net-limit==none --net-limit=x=in:5000T; do
		refused 2 vmctl -c test:///default set --cpus 3 "$bad" test
	done
	[ "$(vmctl -c test:///default set --json test | jq -c '.config.limits')" = '{"cpu_percent":null,"cpu_shares":null,"pins":[],"memory":null,"disks":[],"nets":[]}' ]
}

@test "start, suspend, resume, reboot, stop, delete end well where they can" {
	vmctl start test
	vmctl suspend test
	vmctl resume test
	vmctl autostart test
	run_split vmctl stop --json test
	assert_status 0
	assert_schema vmctl-stop
	[ "$(json '.[0].name')" = test ]
	[[ $(json '.[0].method') == acpi ]]
	run_split vmctl -c "$NODE" stop --now --all --json
	assert_schema vmctl-stop
	[ "$(json '[.[].method] | join(" ")')" = "destroy destroy" ]
	refused 1 vmctl delete test
	[ "$(vmctl delete --force --dry-run test)" = test ]
	vmctl delete --force test
	refused 2 vmctl stop
	refused 2 vmctl stop --all test
	refused 2 vmctl stop --now --no-force test
	refused 2 vmctl start --paused --fresh test
	run_split vmctl list -0 --json
	assert_status 2
}

@test "set: what it says is what libvirt has" {
	run_split vmctl -c "$NODE" set --cpus 3 --memory 300M --json alpha
	assert_status 0
	assert_schema vmctl-set
	[ "$(json '.live.cpus, .config.cpus' | xargs)" = "3 3" ]
	[ "$(json .live.memory)" = $((300 << 20)) ]
	run_split vmctl -c "$NODE" set --config --cpus 1 --json alpha
	assert_schema vmctl-set
	[ "$(json '.live.cpus, .config.cpus' | xargs)" = "2 1" ]
	run vmctl -c "$NODE" set --cpus 9 alpha
	[ "$status" -ne 0 ]
	refused 2 vmctl -c "$NODE" set --live --config alpha
	refused 2 vmctl -c "$NODE" set --live --max-cpus 8 alpha
}

@test "edit: a definition of another machine, or none at all, is refused" {
	vmctl -c "$NODE" info --xml --config alpha >old.xml
	vmctl -c "$NODE" edit --input alpha <old.xml
	sed 's/<vcpu.*vcpu>/<vcpu>3<\/vcpu>/' old.xml | vmctl -c "$NODE" edit --input alpha
	sed s/11111111-/31111111-/ old.xml >other.xml
	refused 2 vmctl -c "$NODE" edit --input alpha <other.xml
	sed 's/<name>alpha/<name>gamma/' old.xml >other.xml
	refused 2 vmctl -c "$NODE" edit --input alpha <other.xml
	echo '<domain' >other.xml
	refused 2 vmctl -c "$NODE" edit --input alpha <other.xml
	EDITOR=false refused 1 vmctl -c "$NODE" edit alpha
	assert_clean
}

@test "what a driver cannot do is status 9" {
	refused 9 vmctl console test
	refused 9 vmctl exec test -- true
	refused 2 vmctl console --wait-for '(' test
	refused 2 vmctl console --timeout 1s test
}

@test "errors are JSON with --json; machines are completed" {
	run_split vmctl info --json nobody
	assert_status 4
	[ "$(jq -r .error.code <<<"$stderr")" = not_found ]
	[ "$(vmctl __complete machine te)" = test ]
	[ -z "$(vmctl __complete machine zz)" ]
}

# is_cib FILE - as the resources of a cluster it holds against Pacemaker's own schema, which is what crm_verify checks
is_cib() {
	local schema
	schema=$(find /usr/share/pacemaker -name 'pacemaker-[0-9]*.rng' 2>/dev/null | sort -V | tail -n 1)
	[ -n "$schema" ] || fail "Pacemaker's schema is missing: run scripts/deps.sh"
	{
		echo "<cib validate-with='$(basename "$schema" .rng)' epoch='1' num_updates='0' admin_epoch='0'><configuration><crm_config/><nodes/>"
		cat "$1"
		echo '<constraints/></configuration><status/></cib>'
	} >.cib
	xmllint --noout --relaxng "$schema" .cib 2>.rng || fail "$(cat .rng)"
	! command -v crm_verify >/dev/null || crm_verify -x .cib || fail "crm_verify refuses it"
}

@test "hosts --pacemaker: a resource for each machine, once, with ids that are ids" {
	sed 's/>alpha</>a \&lt;b\&gt; é</' node.xml >odd.xml
	run_split vmctl -c "$NODE" -c "test://$PWD/odd.xml" hosts --pacemaker --definitions '/shared/"x"'
	assert_status 0
	printf '%s' "$output" >cib.xml
	[ "$(xmllint --xpath 'count(/resources/primitive[@type="VirtualDomain"])' cib.xml)" = 2 ]
	[ "$(xmllint --xpath 'string(//primitive[1]//nvpair[@name="config"]/@value)' cib.xml)" = '/shared/"x"/alpha.xml' ]
	is_cib cib.xml
	[ "$(grep -o ' id="[^"]*"' cib.xml | sort | uniq -d)" = "" ]
	! grep -o ' id="[^"]*"' cib.xml | grep -v ' id="[A-Za-z_][A-Za-z0-9._-]*"'
	run_split vmctl -c "test://$PWD/odd.xml" hosts --pacemaker
	xmllint --noout - <<<"$output"
	HOME=$PWD refused 9 vmctl -c builtin hosts --pacemaker
	run_split vmctl hosts --pacemaker --json
	assert_status 2
}
