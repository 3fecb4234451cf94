#!/usr/bin/env bats
# vmctl report: what is given away, disks that nobody uses, advice of recorded samples. On builtin, with files that can be looked at.

load common

setup() {
	common_setup
	require jq qemu-img
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run VMKIT_CONNECT=builtin
	MACHINES=$HOME/.config/vmkit/machines
	DISKS=$(realpath "$HOME")/.local/share/vmkit/disks
	SAMPLES=$HOME/.local/state/vmkit/samples.ndjson
	mkdir -p "$MACHINES"
}

teardown() { VMKIT_CONNECT=builtin vmctl stop -q --now --all 2>/dev/null || true; }

@test "what is given away, and the disks that nobody uses; a chain's base and a seed are used" {
	run_split vmctl report --json
	assert_status 0
	assert_schema vmctl-report
	[ "$(json '[.orphans, .advice, .hosts[0].disks] | tostring')" = "[[],[],0]" ]
	cpus=$(json '.hosts[0].cpus')
	random_image in.raw $((4 << 20))
	vmctl create web --image in.raw --size 10M -m 64M --cpus 3 --user me
	vmctl create gone --size 20M -m 64M
	vmctl clone --linked web two
	jq ".disks[0].file = \"$PWD/none.qcow2\"" "$MACHINES/gone.json" >x && mv x "$MACHINES/gone.json"
	mkdir more && cp in.raw more/left.img && echo text >more/notes.txt && ln -s left.img more/link.img
	run_split vmctl report --json --dir more
	assert_status 0
	assert_schema vmctl-report
	[ "$(json '[.orphans[].path] | join(" ")')" = "$DISKS/gone.qcow2 $(realpath more)/left.img" ] ||
		[ "$(json '[.orphans[].path] | join(" ")')" = "$(realpath more)/left.img $DISKS/gone.qcow2" ]
	[ "$(json '.orphans[] | select(.path | endswith("left.img")) | .bytes')" = $((4 << 20)) ]
	[ "$(json '.hosts[0] | [.machines, .disks, .disk_capacity, .cpus_allocated, .cpus_running, .memory_allocated, .cpus] | join(" ")')" = \
		"3 2 $((20 << 20)) 7 0 $((192 << 20)) $cpus" ]
	[ "$(json '.hosts[0].disk_allocated')" = $(($(allocated "$DISKS/web.qcow2") + $(allocated "$DISKS/two-vda.qcow2"))) ]
	run vmctl report
	assert_line --regexp '^HOST +CPUS +GIVEN +MEMORY'
	assert_line --partial "no machine uses $DISKS/gone.qcow2"
	refused 4 vmctl -c nowhere report
	run_split vmctl -c builtin -c "qemu+unix:///session?socket=$PWD/none" report --json
	assert_status 3
	assert_schema vmctl-report
}

# samples NAME CPUS USED_CPUS MEMORY USED_MEMORY N - every minute until now
samples() {
	local i now
	now=$(date +%s)
	for ((i = 0; i < $6; i++)); do
		jq -nc "{at: ($now - 60 * ($6 - $i)), host: \"h\", name: \"$1\", uuid: \"$1\", cpus: $2, cpu_seconds: (60 * $i * $3), memory: ($4 * 1048576),
			memory_resident: 1, guest_memory: ($4 * 1048576), guest_memory_usable: (($4 - $5) * 1048576)}"
	done
}

@test "advice: what is too large shrinks, what is too small grows; few, old and torn samples do not count" {
	mkdir -p "$(dirname "$SAMPLES")"
	{
		samples large 4 0.2 2048 300 20
		samples small 2 1.9 1024 1000 20
		samples right 2 1.0 1024 700 20
		samples few 4 0.1 2048 100 9
		samples old 4 0.1 2048 100 20 | jq -c '.at -= 800000'
		echo '{"at": 1'
		echo '[]'
	} >"$SAMPLES"
	run_split vmctl report --json
	assert_status 0
	assert_schema vmctl-report
	[ "$(json '[.advice[] | "\(.name) \(.what) \(.advice) \(.now) \(.better)"] | join(",")')" = \
		"large cpus shrink 4 1,large memory shrink $((2048 << 20)) $((384 << 20)),small cpus grow 2 3,small memory grow $((1024 << 20)) $((1280 << 20))" ]
	[ "$(json .samples)" = 69 ]
	run vmctl report
	assert_line "large: shrink processors from 4 to 1"
	assert_line --partial "small: grow memory from 1.00 GiB to"
	[ "$(vmctl report --json --least-samples 9 | jq '[.advice[].name] | index("few") != null')" = true ]
	[ "$(vmctl report --json --age 2m --least-samples 2 | jq .samples)" -lt 15 ]
	vmctl report --samples none --json | jq -e '.samples == 0'
}

@test "--record: a sample of what runs" {
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$PWD/guest"
	echo "{\"memory\": \"8M\", \"cpus\": 2, \"kernel\": \"$PWD/guest\", \"append\": \"do=spin\"}" >"$MACHINES/web.json"
	echo "{\"memory\": \"8M\", \"kernel\": \"$PWD/guest\", \"append\": \"do=spin\"}" >"$MACHINES/off.json"
	vmctl start web
	for i in 1 2 3; do
		vmctl report --record
		sleep 1.1
	done
	[ "$(jq -r .name "$SAMPLES" | sort | uniq -c | xargs)" = "3 web" ]
	jq -se '.[2].cpu_seconds > .[0].cpu_seconds and .[2].at > .[0].at' "$SAMPLES"
	[ "$(vmctl report --json --least-samples 2 | jq .samples)" = 3 ]
}
