#!/usr/bin/env bats
# vmctl's driver "builtin": machines that vmrun runs, on this machine's /dev/kvm with the guest of tests/guest.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	require jq xmllint qemu-img
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run VMKIT_CONNECT=builtin
	MACHINES=$HOME/.config/vmkit/machines
	STATE=$HOME/.local/state/vmkit
	mkdir -p "$MACHINES"
}

teardown() {
	VMKIT_CONNECT=builtin vmctl stop -q --now --all 2>/dev/null || true
}

needs_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }

# describe NAME WHAT [MORE JSON] - a machine by a file, as people write one
describe() { echo "{\"memory\": \"8M\", \"kernel\": \"$GUEST\", \"append\": \"do=$2\"${3:+, $3}}" >"$MACHINES/$1.json"; }

state() { vmctl list --json | jq -r ".[] | select(.name == \"$1\") | .state + (if .reason == \"\" then \"\" else \" \" + .reason end)"; }

# until_state NAME STATE
until_state() {
	for ((i = 0; i < 1200; i++)); do
		[ "$(state "$1")" != "$2" ] || return 0
		sleep 0.05
	done
	fail "$1 is $(state "$1"), not $2: $(cat "$STATE/$1.json")"
}

# says NAME TEXT [TIMES] - wait until its log does
says() {
	for ((i = 0; i < 1200; i++)); do
		[ "$(grep -c "$2" "$STATE/$1.log" 2>/dev/null)" -lt "${3:-1}" ] || return 0
		sleep 0.05
	done
	fail "$1 does not say $2: $(cat "$STATE/$1.log")"
}

@test "list and info: what the files say; a broken one is told and keeps no other out" {
	run_split vmctl list --json
	assert_status 0
	[ "$(json length)" = 0 ]
	describe web button '"cpus": 2, "autostart": true, "disks": [{"file": "/x/a & b.iso", "read_only": true}, {"file": "/x/d.qcow2", "format": "qcow2"}]'
	describe db hang
	run_split vmctl list --json
	assert_schema vmctl-list
	[ "$(json '[.[] | [.host, .name, .state, .cpus, .memory, .autostart] | join(" ")] | join(",")')" = \
		"builtin:/// db off 1 8388608 false,builtin:/// web off 2 8388608 true" ]
	run_split vmctl info --json web
	assert_schema vmctl-info
	[ "$(json '[.[0].disks[] | .target + " " + .source] | join(",")')" = "vda /x/d.qcow2,vdb /x/a & b.iso" ]
	[ "$(json '.[0].disks[1].read_only')" = true ]
	uuid=$(json '.[0].uuid')
	[ "$(vmctl info --json "$uuid" | jq -r '.[0].name')" = web ]
	vmctl info --xml web | xmllint --noout -
	for broken in '{' '[]' '{"memory": "8M", "cpu": 2}' '{"memory": 1}' '{"memory": "8M", "cpus": 17}' '{"memory": "8M", "kernel": "x"}' \
		'{"memory": "8M", "disks": [{"format": "raw"}]}' '{"memory": "8M", "limits": {"cpus": 1}}' '{"memory": "8M", "uuid": "../x"}'; do
		echo "$broken" >"$MACHINES/bad.json"
		run_split vmctl list -0
		assert_status 0
		[[ $stderr == *"bad.json: "* ]] || fail "$broken: $stderr"
		[ "$(vmctl list -0 2>/dev/null | tr '\0' ' ')" = "db web " ]
		refused 8 vmctl info bad
	done
	refused 4 vmctl info nobody
	refused 4 vmctl start ../web
	refused 2 vmctl -c builtin:///x list
	run_split vmctl hosts --json
	assert_schema vmctl-hosts
	[ "$(json '.[0] | .up and .machines == 2 and .running == 0')" = true ]
	[ "$(vmctl __complete machine w)" = web ]
}

@test "create, set, edit, clone, attach, export, delete: the same verbs as with libvirt" {
	random_image in.raw $((4 << 20))
	qemu-img convert -O vmdk in.raw in.vmdk
	run_split vmctl create web --image in.vmdk --size 8M -m 64M --cpus 2 --kernel "$GUEST" --append 'do=button' --user me --json
	assert_status 0
	assert_schema vmctl-create
	disk=$HOME/.local/share/vmkit/disks/web.qcow2
	[ "$(json .disk)" = "$disk" ]
	assert_same_disk in.raw "$disk" raw qcow2
	[ "$(blkid -p -o value -s LABEL "$(json .seed)")" = cidata ]
	jq . "$MACHINES/web.json" >/dev/null
	refused 5 vmctl create web --size 1M
	refused 9 vmctl create x --size 1M --network default
	refused 9 vmctl create x --size 1M --accel tcg
	refused 2 vmctl create .x --size 1M
	[ ! -e "$HOME/.local/share/vmkit/disks/x.qcow2" ]
	run_split vmctl set --cpus 3 --memory 96M --json web
	assert_status 0
	assert_schema vmctl-set
	[ "$(json '.config | [.cpus, .memory] | join(" ")')" = "3 $((96 << 20))" ]
	refused 9 vmctl set --cpus 17 web
	vmctl set --cpu-limit 150% web
	[ "$(jq -c .limits "$MACHINES/web.json")" = '{"cpu_percent":150}' ]
	[ "$(vmctl set --json web | jq .config.limits.cpu_percent)" = 150 ]
	vmctl set --cpu-limit none web
	[ "$(jq -c .limits "$MACHINES/web.json")" = null ]
	vmctl set --cpu-shares 512 --memory-limit 1G --pin all=0 --pin emulator=0 web >set.txt
	grep -q 'at most 1.00 GiB of the host' set.txt
	[ "$(jq -cS .limits "$MACHINES/web.json")" = '{"cpu_shares":512,"memory":1073741824,"pins":{"0":"0","1":"0","2":"0","emulator":"0"}}' ]
	vmctl info --xml web >tuned.xml
	vmctl set --cpu-shares 1024 --pin all=any --memory-limit none web
	[ "$(jq -cS .limits "$MACHINES/web.json")" = '{"cpu_shares":1024,"pins":{"emulator":"0"}}' ]
	vmctl edit --input web <tuned.xml
	run_split vmctl set --json web
	assert_schema vmctl-set
	[ "$(json '.config.limits | [.cpu_shares, .memory, (.pins | map(.vcpu) | join(","))] | join(" ")')" = "512 1073741824 0,1,2,emulator" ]
	refused 2 vmctl set --pin 3=0 web
	refused 2 vmctl set --pin 0=4095 web
	refused 2 vmctl set --memory-limit 32M web # less than it has
	sed 's/"0"/"5-"/' "$MACHINES/web.json" >bad.json && mv bad.json "$MACHINES/bad.json"
	refused 8 vmctl info bad
	rm "$MACHINES/bad.json"
	refused 9 vmctl set --disk-limit vda:iops=5 web
	refused 2 vmctl set --cpu-limit 5000 web
	vmctl info --xml web | sed 's/do=button/do=hang/' | vmctl edit --input web
	[ "$(jq -r .append "$MACHINES/web.json")" = do=hang ]
	vmctl info --xml web | sed "s|<devices>|<devices><interface type='network'/>|" >net.xml
	refused 9 vmctl edit --input web <net.xml
	vmctl autostart web
	vmctl clone --linked web two
	[ "$(qemu-img info --output=json "$HOME/.local/share/vmkit/disks/two-vda.qcow2" | jq -r '."full-backing-filename"')" = "$disk" ]
	[ "$(jq -r .uuid "$MACHINES/web.json")" != "$(jq -r .uuid "$MACHINES/two.json")" ]
	[ "$(jq -r .autostart "$MACHINES/web.json" "$MACHINES/two.json" | xargs)" = "true false" ]
	vmctl attach web --disk "$PWD/in.raw"
	[ "$(vmctl info --json web | jq -r '[.[0].disks[].target] | join(" ")')" = "vda vdb vdc" ]
	[ "$(vmctl info --json web | jq -r '.[0].disks[1].source')" = "$PWD/in.raw" ]
	vmctl detach web vdb
	[ "$(vmctl info --json web | jq -r '[.[0].disks[].target] | join(" ")')" = "vda vdb" ]
	vmctl detach web vdb # the seed
	vmctl export web web.ova
	tar -xf web.ova
	assert_same_disk in.raw web-disk1.vmdk raw vmdk
	vmctl delete two
	[ "$(vmctl list -0 | tr '\0' ' ')" = "web " ]
	[ -e "$disk" ]
	assert_clean
}

@test "start, stop: by the power button, or by the plug; never without --no-force's word" {
	needs_kvm
	describe web button
	describe deaf spin
	vmctl start web deaf
	[ "$(state web)" = running ]
	says web ready
	run_split vmctl list --json
	assert_schema vmctl-list
	[ "$(json 'map(select(.name == "deaf" and .cpu_seconds > 0 and .id > 0)) | length')" = 1 ]
	vmctl start web # runs already
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "deaf web " ]
	refused 1 vmctl delete web
	refused 9 vmctl start --paused nobody || refused 4 vmctl start --paused nobody
	refused 9 vmctl stop --no-force deaf
	[[ $stderr == *"does not listen to the power button"* ]]
	[ "$(state deaf)" = running ]
	run_split vmctl stop --json web deaf
	assert_status 0
	assert_schema vmctl-stop
	[ "$(json '[.[] | .name + " " + .method] | join(",")')" = "web acpi,deaf destroy" ]
	[ "$(state web)" = "off shutdown" ]
	[ "$(state deaf)" = "off destroyed" ]
	vmctl stop deaf
	[ "$(vmrun ps)" = "" ]
	[ -z "$(find "$XDG_RUNTIME_DIR" -type s)" ]
	refused 1 vmctl suspend web
	vmctl delete web deaf
	[ -z "$(find "$STATE" -type f ! -name audit.ndjson)" ]
}

@test "autostart: those that have an order come in it, with their delays, the others last" {
	needs_kvm
	describe db button '"autostart_order": 1, "autostart": true, "autostart_delay": "1.5s"'
	describe app button
	describe web button
	describe late button '"autostart": true'
	describe never button
	vmctl autostart --order 2 web
	vmctl autostart --order 2 --delay 3h app
	refused 2 vmctl autostart --order 2 --off web
	refused 2 vmctl autostart --delay 2s web
	refused 2 vmctl autostart --order 2 --delay 25h web
	refused 2 vmctl start --autostart web
	run_split vmctl list --json
	assert_schema vmctl-list
	[ "$(json '[.[] | select(.autostart) | .name + " " + (.autostart_order | tostring)] | join(",")')" = "app 2,db 1,late null,web 2" ]
	[[ $(vmctl info app) == *"autostart    yes, order 2"* ]]
	run_split vmctl info --json app
	assert_schema vmctl-info
	# A day's wait behind the last one with an order would keep the one without from starting
	vmctl autostart --order 2 --delay 200ms app
	[ "$(jq -r '.autostart_delay' "$MACHINES/app.json")" = 0.2s ]
	echo '{"memory": "8M", "kernel": "/none"}' >"$MACHINES/broken.json"
	vmctl autostart --order 1 broken
	run_split vmctl start --autostart
	assert_status 3
	[[ $stderr == *"broken: "*"1 of 5 machines failed"* ]]
	for m in db app web late; do
		[ "$(state $m)" = running ]
		began[${#began[@]}]=$(awk '{ print $22 }' "/proc/$(vmctl list --json | jq ".[] | select(.name == \"$m\") | .id")/stat")
	done
	[ "$(state never)" = off ]
	# Clock ticks: db, 1.5 s, app and web, 0.2 s, late
	[ $((began[1] - began[0])) -ge 150 ]
	[ "${began[2]}" -ge "${began[1]}" ]
	[ $((began[3] - began[2])) -ge 20 ]
	# What runs is left alone, and no delay is waited for
	vmctl delete --force broken
	vmctl autostart --order 1 --delay 2h db
	timeout 60 vmctl start --autostart
	vmctl autostart --off app
	[ "$(vmctl list --json | jq -c '.[] | select(.name == "app") | [.autostart, .autostart_order]')" = "[false,null]" ]
	vmctl autostart app
	[ "$(jq -c '[.autostart, .autostart_order, .autostart_delay]' "$MACHINES/app.json")" = "[true,null,null]" ]
}

# seen N - so many events
seen() { [ "$(wc -l <events.seen)" -ge "$1" ]; }

@test "suspend, resume, stats, events" {
	needs_kvm
	truncate -s 1M d.raw
	describe web button:wrf "\"disks\": [{\"file\": \"$PWD/d.raw\", \"format\": \"raw\"}]"
	vmctl events --kind lifecycle --count 4 --timeout 60s >events.seen 3>&- &
	wait_for hears $!
	sleep 1
	vmctl start web
	says web ready
	wait_for seen 1
	vmctl suspend web
	[ "$(state web)" = "paused user" ]
	wait_for seen 2
	vmctl resume web
	[ "$(state web)" = running ]
	wait_for seen 3
	run_split vmctl stats --json
	assert_schema vmctl-stats
	[ "$(json '.[0] | .disks[0] | [.read_requests, .write_requests, .flush_requests, .capacity] | join(" ")')" = "1 1 1 1048576" ]
	[ "$(json '.[0] | .cpu_seconds > 0 and .memory_resident > 0 and .stale == false')" = true ]
	vmctl stats --prometheus | grep -q '^vm_cpu_seconds_total{.*"web"'
	vmctl stop web
	wait $!
	assert_schema vmctl-events events.seen
	[ "$(jq -r '.machine + " " + .event' events.seen | xargs)" = "web started web suspended web resumed web stopped" ]
}

@test "console: what was said before anybody listened comes first; one at a time" {
	needs_kvm
	describe web echo
	refused 1 vmctl console web </dev/null
	vmctl start web
	vmctl console web --send 'hello, guest\n'
	vmctl console web --wait-for 'hello, guest' --timeout 10s >out
	grep -q 'hello, guest' out
	vmctl console web --send 'held\n'
	(sleep 20 | exec vmctl console web) >held 2>held.err 3>&- &
	held=$!
	for ((i = 0; i < 1200; i++)); do
		! grep -q held held || break
		sleep 0.05
	done
	refused 6 vmctl console web --wait-for x --timeout 1s
	vmctl console --force web --send 'mine\n' --wait-for mine --timeout 10s >out
	grep -q mine out
	kill "$held" 2>/dev/null || true
	wait "$held" || true
	vmctl console web --send q
	until_state web "off shutdown"
}

@test "a guest that resets itself starts again; so do reboot and reboot --reset" {
	needs_kvm
	describe again reset
	vmctl start again
	sleep 3
	[ "$(state again)" = "running rebooting" ] || [ "$(state again)" = running ]
	refused 6 vmctl suspend again || [ "$status" = 0 ]
	vmctl stop --now again
	until_state again "off destroyed"
	[ "$(grep -c 'reset itself' "$STATE/again.log")" -ge 2 ]
	describe web button
	vmctl start web
	says web ready
	vmctl reboot web
	says web ready 2
	until_state web running
	vmctl reboot --reset web
	says web ready 3
	until_state web running
	vmctl stop web
	[ "$(grep -c pressed "$STATE/web.log")" = 2 ]
}

@test "a guest that crashes, a vmrun and a keeper that are killed: the state says so, and it starts again" {
	needs_kvm
	describe panic panic
	describe triple triple
	vmctl start panic triple || true
	until_state panic "off crashed"
	until_state triple "off crashed"
	grep -q 'panicked' "$STATE/panic.json"
	describe web hang
	vmctl start web
	kill -9 "$(vmctl list --json | jq '.[] | select(.name == "web") | .id')"
	until_state web "off crashed"
	vmctl start web
	pid=$(vmctl list --json | jq '.[] | select(.name == "web") | .id')
	kill -9 "$(ps -o ppid= -p "$pid" | tr -d ' ')"
	until_state web "off failed"
	! kill -0 "$pid" 2>/dev/null
	vmctl start web
	[ "$(state web)" = running ]
	# Two at a time: one starts it
	vmctl stop --now web
	vmctl start web 2>/dev/null &
	vmctl start web 2>/dev/null || true
	wait $! || true
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "web " ]
}

@test "what keeps a machine from starting is vmrun's sentence and its status" {
	describe web button "\"disks\": [{\"file\": \"$PWD/none.qcow2\"}]"
	refused 4 vmctl start web
	[[ $stderr == *none.qcow2* ]]
	[ "$(state web)" = "off failed" ]
	echo '{"memory": "8M"}' >"$MACHINES/bare.json"
	refused 9 vmctl start bare
	[[ $stderr == *"no kernel"* ]]
	echo "{\"memory\": \"8M\", \"kernel\": \"$PWD/none\"}" >"$MACHINES/bare.json"
	refused 4 vmctl start bare
	if [ -w /dev/kvm ]; then
		truncate -s 1M d.raw
		describe one hang "\"disks\": [{\"file\": \"$PWD/d.raw\", \"format\": \"raw\"}]"
		describe two hang "\"disks\": [{\"file\": \"$PWD/d.raw\", \"format\": \"raw\"}]"
		vmctl start one
		refused 6 vmctl start two
	fi
}

@test "networks: vmrun has those of the file, and libvirt's XML of them comes back" {
	needs_kvm
	require passt
	describe web button '"networks": [{"mac": "52:54:00:11:22:33"}], "publish": ["47113:80"]'
	vmctl info --xml web | sed 's/>8192</>16384</' | vmctl edit --input web
	[ "$(jq -c '[.networks, .publish]' "$MACHINES/web.json")" = '[[{"mac":"52:54:00:11:22:33"}],["47113:80"]]' ]
	run_split vmctl info --json web
	assert_schema vmctl-info
	[ "$(json '.[0].interfaces[0] | .type + " " + .mac')" = "user 52:54:00:11:22:33" ]
	vmctl start web
	pid=$(vmctl list --json | jq '.[0].id')
	tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- '--net user,mac=52:54:00:11:22:33 --publish 47113:80'
	vmctl stop web
	until_state web "off shutdown"
}

@test "save, start: the machine goes on where it was, once; --fresh and delete forget; --to and restore" {
	needs_kvm
	require passt
	truncate -s 1M "$PWD/d.raw"
	describe web serve "\"disks\": [{\"file\": \"$PWD/d.raw\", \"format\": \"raw\"}], \"networks\": [{}], \"publish\": [\"18094:80\"]"
	refused 1 vmctl save web
	vmctl start web
	vmctl console web --send CCC --wait-for '^3'
	vmctl save web
	until_state web "off saved"
	[ "$(vmctl list --json | jq -c '.[] | [.state, .saved]')" = '["off",true]' ]
	[ "$(stat -c %a "$STATE/web.save")" = 600 ]
	vmctl start web
	[ ! -e "$STATE/web.save" ]
	[ "$(vmctl list --json | jq .[0].saved)" = false ]
	vmctl console web --send C --wait-for '^4'
	vmrun stats web --json | jq -e '.nets[0] | .kind == "user" and .link' >/dev/null
	# A paused one too; a disk that was changed since is vmrun's sentence, and the memory stays
	vmctl suspend web
	vmctl save web
	cp -a d.raw as-it-was
	printf x | dd of=d.raw conv=notrunc status=none
	refused 3 vmctl start web
	[[ $stderr == *"changed since"*"--fresh"* ]]
	[ -e "$STATE/web.save" ]
	cp as-it-was d.raw # another time
	refused 3 vmctl start web
	rm d.raw
	mv as-it-was d.raw
	vmctl start web
	vmctl console web --send C --wait-for '^5'
	vmctl save web
	vmctl start --fresh web
	[ ! -e "$STATE/web.save" ]
	vmctl console web --send C --wait-for '^1'
	# A file of the caller's, which stays
	vmctl save --to "$PWD/web.file" web
	[ "$(vmctl list --json | jq .[0].saved)" = false ]
	refused 9 vmctl restore --paused "$PWD/web.file"
	vmctl restore "$PWD/web.file"
	vmctl console web --send C --wait-for '^2'
	refused 6 vmctl restore "$PWD/web.file"
	refused 5 vmctl save --to "$PWD/web.file" web
	[ "$(state web)" = running ]
	vmctl console web --send C --wait-for '^3'
	mkdir small
	! mount -t tmpfs -o size=64k tmpfs small 2>/dev/null || {
		run --separate-stderr vmctl save --to "$PWD/small/x" web
		left=$(ls -A small)
		umount small
		assert_status 13
		[ -z "$left" ]
	}
	[ "$(state web)" = running ]
	vmctl console web --send C --wait-for '^4'
	vmctl save web
	refused 8 vmctl restore "$PWD/d.raw"
	vmctl delete --force web
	[ -z "$(compgen -G "$STATE/web*")" ]
}

@test "what vmrun cannot do is status 9, with one sentence" {
	needs_kvm
	describe web button
	vmctl start web
	refused 9 vmctl exec web -- true
	refused 9 vmctl set --cpus 2 web
	refused 9 vmctl migrate web test:///default
	truncate -s 1M x.raw
	refused 9 vmctl attach web --disk "$PWD/x.raw"
	vmctl set --config --cpus 2 web
	[ "$(jq .cpus "$MACHINES/web.json")" = 2 ]
}

@test "limits are those of the control group" {
	needs_kvm
	require_root
	[ -w /sys/fs/cgroup ] || skip "control groups cannot be made here"
	describe web spin '"limits": {"cpu_percent": 20, "memory": "512M"}'
	vmctl info --xml web >x.xml
	[ "$(xmllint --xpath 'string(/domain/memtune/hard_limit)' x.xml)" = $((512 << 10)) ]
	sed 's/>8192</>16384</' x.xml | vmctl edit --input web
	[ "$(jq -c .limits "$MACHINES/web.json")" = '{"cpu_percent":20,"memory":536870912}' ]
	vmctl start web
	! grep 'limits do not hold' "$STATE/web.log"
	pid=$(vmctl list --json | jq '.[0].id')
	grep -q vmkit-web "/proc/$pid/cgroup"
	sleep 2
	[ "$(vmctl list --json | jq '.[0].cpu_seconds < 0.9')" = true ]
	vmctl stop --now web
	[ -z "$(find /sys/fs/cgroup -maxdepth 4 -name vmkit-web 2>/dev/null)" ]
}
