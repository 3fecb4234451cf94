# vmsnap on machines that vmrun runs for vmctl (-c builtin): off as their disks are, running ones to go back.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	require jq qemu-img qemu-io
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
	mkdir -p "$HOME/.config/vmkit/machines"
	echo "{\"memory\": \"8M\", \"kernel\": \"$GUEST\", \"append\": \"do=hang\", \"disks\": [{\"file\": \"$PWD/d.qcow2\", \"format\": \"qcow2\"}]}" \
		>"$HOME/.config/vmkit/machines/web.json"
	qemu-img create -q -f qcow2 d.qcow2 8M
	qemu-io -c "write -q -P 1 0 1M" d.qcow2
	qemu-img convert -O raw d.qcow2 a.raw
}

teardown() { vmctl -c builtin stop -q --now --all 2>/dev/null || true; }

state() { vmctl -c builtin list --json | jq -r '.[] | select(.name == "web") | .state'; }

@test "off: create, list, revert, merge" {
	vmsnap -c builtin create -e external web a
	run vmsnap list --json builtin:///web
	assert_success
	assert_schema vmsnap-list
	[ "$(json '.[].name')" = a ]
	qemu-io -c "write -q -P 2 0 1M" d.qcow2
	vmsnap -c builtin:/// revert -q --discard-current web a
	assert_same_disk d.qcow2 a.raw qcow2 raw
	[ "$(state)" = off ]
	refused 2 vmsnap -c builtin create --memory web m
	vmsnap -c builtin merge --all web
	assert_same_disk d.qcow2 a.raw qcow2 raw
	refused 4 vmsnap -c builtin list nothere
}

@test "what another machine's disk leans on stays" {
	vmsnap create -e external d.qcow2 a
	mkdir other
	qemu-img create -q -f qcow2 -F qcow2 -b "$PWD/d.a.qcow2" other/x.qcow2
	sed "s,$PWD/d.qcow2,$PWD/other/x.qcow2," "$HOME/.config/vmkit/machines/web.json" >"$HOME/.config/vmkit/machines/second.json"
	refused 6 vmsnap -c builtin delete web a
	[[ $stderr == *"needed by second"* ]] || fail "$stderr"
	[ -e d.a.qcow2 ]
	# Its disk is the snapshot itself
	sed "s,$PWD/d.qcow2,$PWD/d.a.qcow2," "$HOME/.config/vmkit/machines/web.json" >"$HOME/.config/vmkit/machines/second.json"
	refused 6 vmsnap -c builtin delete web a
	rm "$HOME/.config/vmkit/machines/second.json"
	vmsnap -c builtin delete web a
	assert_same_disk d.qcow2 a.raw qcow2 raw
}

@test "running: nothing is deleted; it stands still for a snapshot, and revert stops and starts it" {
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	vmsnap -c builtin create -e external web a
	qemu-io -c "write -q -P 2 0 1M" d.qcow2
	vmctl -c builtin start -q web
	run_split vmsnap -c builtin create -v web b
	assert_status 0
	[[ $stderr == *"stood still"* ]]
	[ "$(state)" = running ]
	refused 9 vmsnap -c builtin delete web a
	[ ! -e d.qcow2.snap/.journal.json ]
	run_split vmsnap -c builtin revert --json web a
	assert_status 0
	assert_schema vmsnap-revert
	[ "$(state)" = running ]
	vmctl -c builtin stop -q --now web
	assert_same_disk d.qcow2 a.raw qcow2 raw
}

@test "killed while it stands still: recover lets it go on, but not on disks that somebody else wrote to" {
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	local at i state=$HOME/.local/state/vmkit
	vmctl -c builtin start -q web
	# Saved; its memory a snapshot's that is not announced; the disk changed
	for at in 20 22 48; do
		run env LD_PRELOAD="$(preload inject.so)" INJECT_AT=$at INJECT_HOW=kill INJECT_UNLINK=1 vmsnap -c builtin create -e external --memory web k$at
		[ "$status" = 137 ] || fail "$at: $status $output"
		[ "$(state)" = off ] && [ -s "$state/web.save" ]
		if [ $at = 48 ]; then
			qemu-io -c "write -q -P 9 0 4k" d.qcow2
			refused 3 vmsnap -c builtin recover web
			[ -s "$state/web.save" ] && [ "$(state)" = off ]
			vmsnap -c builtin recover -q --unchanged web
		else
			vmsnap -c builtin recover -q web
		fi
		[ "$(state)" = running ] || fail "$at: $(state)"
		[ ! -e "$state/web.save" ] && [ ! -e "$state/web.held" ]
		[ $at = 48 ] || [ ! -e d.qcow2.snap/.k$at.memory ]
	done
}
