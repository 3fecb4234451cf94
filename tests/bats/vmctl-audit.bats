#!/usr/bin/env bats
# vmctl audit, net and pool: with libvirt's test driver, which needs no daemon.

load common

setup() {
	common_setup
	require jq
	export VMKIT_CONNECT=test:///default
	LOG=$HOME/.local/state/vmkit/audit.ndjson
}

@test "audit: what changed something is there, with who and how it ended; what only looked is not" {
	run_split vmctl audit --json
	assert_status 0
	[ "$output" = "[]" ]
	vmctl list >/dev/null
	vmctl start test
	SUDO_USER=eve vmctl suspend test
	refused 4 vmctl start nobody
	refused 2 vmctl start
	run_split vmctl audit --json
	assert_status 0
	assert_schema vmctl-audit
	[ "$(json '[.[] | .verb + " " + .arguments[0] + " " + .result] | join(",")')" = "start test done,suspend test done,start nobody not_found" ]
	[ "$(json '.[0] | [.uid, .user, (.hosts | join(" ")), (.command | join(" "))] | join("|")')" = "$(id -u)|$(id -un)|test:///default|vmctl start test" ]
	[ "$(json '.[1].sudo_user')" = eve ]
	[ "$(stat -c %a "$LOG")" = 600 ]
	[ "$(vmctl audit --user eve --json | jq length)" = 1 ]
	[ "$(vmctl audit --verb start --machine test --json | jq length)" = 1 ]
	[ "$(vmctl audit --since 2999-01-01 --json | jq length)" = 0 ]
	[ "$(vmctl audit --since 2020-01-01T10:00 --json | jq length)" = 3 ]
	refused 2 vmctl audit --since yesterday
	run vmctl audit
	assert_line --regexp "^[0-9TZ:-]+  $(id -un)  start nobody: not_found \(.*\)$"
	refused 4 vmctl audit --file none
	assert_schema vmctl-audit <(jq -s . "$LOG")
}

@test "audit: a line that is changed, taken out or put in is found; one torn by a crash does not stop the next" {
	for i in 1 2 3 4 5; do vmctl start test; done
	vmctl audit --verify
	cp "$LOG" good
	sed -i '3s/"result":"done"/"result":"fail"/' "$LOG"
	refused 8 vmctl audit -q --verify
	sed 3d good >"$LOG"
	refused 8 vmctl audit -q --verify
	{ sed -n 1p good; cat good; } >"$LOG"
	refused 8 vmctl audit -q --verify
	{ cat good; sed -n '5s/test:\/\/\/default/x/p' good; } >"$LOG"
	refused 8 vmctl audit -q --verify
	head -n 4 good >"$LOG"
	vmctl audit --verify
	printf '{"time":"2026' >>"$LOG"
	vmctl start test
	[ "$(vmctl audit --json 2>/dev/null | jq length)" = 5 ]
	# Many at a time: none is lost
	head -n 4 good >"$LOG"
	pids=()
	for i in 1 2 3 4 5 6 7 8; do
		vmctl start test 3>&- &
		pids+=($!)
	done
	wait "${pids[@]}" # not for the clock of bats
	vmctl audit --verify
	[ "$(wc -l <"$LOG")" = 12 ]
}

@test "audit: a log that cannot be written is told, and what was asked for is done; the configuration names another" {
	mkdir -p "$HOME/.config" "$LOG"
	run_split vmctl start test
	assert_status 0
	[[ $stderr == *"audit log"* ]]
	printf '[vmctl]\naudit_log = %s/other\n' "$PWD" >"$HOME/.config/vmkit.conf"
	vmctl start test
	[ "$(vmctl audit --json | jq length)" = 1 ]
	[ -s other ]
}

@test "net: list, create, ensure, delete; what it defines is what was asked for" {
	run_split vmctl net list --json
	assert_status 0
	assert_schema vmctl-net
	[ "$(json '.[0] | [.name, .active, .forward] | join(" ")')" = "default true nat" ]
	run vmctl net list
	assert_line --regexp '^NAME +ACTIVE +AUTOSTART'
	vmctl net create lan --bridge br0 --autostart
	vmctl net create test --nat 192.168.77.1/24
	vmctl net create deep --isolated 10.0.0.200/24
	vmctl net ensure default --bridge br0
	refused 5 vmctl net create default --bridge br0
	refused 4 vmctl net stop nobody
	vmctl net stop default
	vmctl net autostart default
	vmctl net delete default
	vmctl net info default | xmllint --noout -
	for bad in 192.168.77.0/24 192.168.77.255/24 192.168.77.1 1.2.3/24 192.168.77.1/31 'x/24' '192.168.77.1/24x'; do
		refused 2 vmctl net create x --nat "$bad"
	done
	refused 2 vmctl net create x
	refused 2 vmctl net create x --bridge a --nat 192.168.77.1/24
	refused 2 vmctl net dance x
	refused 2 vmctl net list x
	refused 2 vmctl net start
	run_split vmctl net stop default nobody
	assert_status 3
	refused 9 vmctl -c builtin net list
	[ "$(vmctl audit --verb net --json | jq -r '[.[] | select(.result == "done") | .arguments[0]] | unique | join(" ")')" = \
		"autostart create delete ensure stop" ]
}

@test "pool: list, volumes, create, delete" {
	run_split vmctl pool list --json
	assert_status 0
	assert_schema vmctl-pool
	[ "$(json '.[0] | [.name, .active, .type] | join(" ")')" = "default-pool true dir" ]
	[ "$(json '.[0].capacity > 0')" = true ]
	run_split vmctl pool volumes default-pool --json
	assert_status 0
	assert_schema vmctl-pool
	vmctl pool create images --dir /images --autostart
	vmctl pool ensure default-pool --dir /x
	refused 5 vmctl pool create default-pool --dir /x
	refused 2 vmctl pool create x
	refused 2 vmctl pool create x --dir images
	refused 4 vmctl pool volumes nobody
	vmctl pool refresh default-pool
	vmctl pool stop default-pool
	vmctl pool delete default-pool
	refused 9 vmctl -c builtin pool list
}
