# Backups of running machines: libvirt's session daemon, QEMU without hardware, a guest with its agent.
# bats file_tags=slow,release

load common
load lvhost

setup_file() {
	lv_init && lv_guest && lv_define A web || return 1
	lv_on A virsh start web >/dev/null && lv_agent A web
}
teardown_file() { lv_down; }

guard() { lv_on A "$VMKIT_TOOLS/guard" qemu:///session web "$@"; }
frozen() { lv_on A virsh qemu-agent-command web '{"execute":"guest-fsfreeze-status"}' | jq -r .return; }

# thawed - within 10 s
thawed() {
	local i
	for ((i = 0; i < 50; i++)); do
		[ "$(frozen)" != thawed ] || return 0
		sleep 0.2
	done
	fail "still frozen"
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
	run guard hold 0
	assert_output --partial "1 held"
}
