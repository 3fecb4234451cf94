# vmctl stats and hosts against libvirt's test driver and daemons that are not there.

load common

setup() {
	common_setup
	require virsh jq
	export VMKIT_CONNECT=test:///default
	DEAD="qemu+unix:///session?socket=$PWD/none"
}

@test "stats: table, JSON, Prometheus; a driver that tells little" {
	run_split vmctl stats
	assert_status 0
	assert_line --regexp '^NAME +STATE +CPU +MEMORY'
	# no figure is no zero, and a driver that has none is not busy
	assert_line --regexp '^test +running .* - +- +- +-$'
	run_split vmctl stats --json
	assert_status 0
	assert_schema vmctl-stats
	[ "$(json 'length')" = 1 ]
	[ "$(json '.[0].name + " " + .[0].state')" = "test running" ]
	[ "$(json '.[0].stale')" = false ]
	vmctl stats --prometheus >prom
	# Each metric has its type before it, each line is a metric, and no metric comes in two places.
	awk '/^# TYPE/ { type[$3] = 1; if (seen[$3]++) exit 1; next } /^#/ { next } { n = $1; sub(/\{.*/, "", n); if (!type[n] || NF < 2) exit 1 }' prom
	grep -q '^vm_state{host="test:///default",name="test",state="running"} 1$' prom
	grep -q '^vm_state{host="test:///default",name="test",state="off"} 0$' prom
	vmctl stats --metrics m.prom
	assert_same_bytes prom m.prom
	refused 2 vmctl stats --metrics m.prom --prometheus
}

@test "stats: a host that is down is told and keeps nobody waiting; for a collector it is a value" {
	run_split vmctl -c test:///default -c "$DEAD" stats --json
	assert_status 3
	assert_schema vmctl-stats
	[ "$(json length)" = 1 ]
	run_split vmctl -c test:///default -c "$DEAD" stats --prometheus
	assert_status 3
	[[ $output == *"vm_host_up{host=\"test:///default\"} 1"* ]]
	[[ $output == *"vm_host_up{host=\"$DEAD\"} 0"* ]]
	refused 7 vmctl -c "$DEAD" stats
}

@test "hosts: up with what they have, down with the reason" {
	run_split vmctl hosts --json
	assert_status 0
	assert_schema vmctl-hosts
	[ "$(json '.[0].cpus')" = "$(virsh -c test:///default nodeinfo | awk '/^CPU\(s\)/ { print $2 }')" ]
	[ "$(json '.[0].memory / 1024')" = "$(virsh -c test:///default nodeinfo | awk '/^Memory size/ { print $3 }')" ]
	[ "$(json '.[0].running')" = 1 ]
	run_split vmctl -c test:///default -c "$DEAD" hosts --json
	assert_status 3
	assert_schema vmctl-hosts
	[ "$(json '[.[].up] | tostring')" = "[true,false]" ]
	run_split vmctl -c test:///default -c "$DEAD" hosts
	assert_status 3
	assert_line --regexp ' +down '
	run_split vmctl -c "$DEAD" hosts --json
	assert_status 7
	[ "$(json '.[0].error | length > 0')" = true ]
}

@test "attach and detach: what is refused" {
	refused 2 vmctl attach test
	refused 2 vmctl attach test --disk a --network b
	refused 2 vmctl attach test --disk a --mac 52:54:00:00:00:01
	refused 2 vmctl attach test --disk a --live --config
	refused 4 vmctl attach test --disk "$PWD/none"
	refused 4 vmctl attach nobody --network user
	refused 4 vmctl detach test vdq
	truncate -s 1M raw.img
	run_split vmctl attach test --disk raw.img # the test driver cannot
	[ "$status" -ne 0 ]
}

@test "Grafana's dashboard asks for nothing that is not told, with labels that are there" {
	vmctl -c test:///default stats --prometheus >prom
	jq -r '.. | .expr? // empty' "$ROOT/docs/grafana-dashboard.json" >exprs
	grep -o 'vm_[a-z_]*' exprs | sort -u >asked
	sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' prom | sort -u >told
	[ -z "$(comm -23 asked told)" ] || fail "not told: $(comm -23 asked told)"
	[ "$(wc -l <asked)" -ge 15 ]
	# Rates are of counters
	grep -o 'rate(vm_[a-z_]*' exprs | cut -c6- | sort -u | while read -r m; do grep -qx "# TYPE $m counter" prom || fail "$m is no counter"; done
	jq -e '[.panels[].id] | length == (unique | length)' "$ROOT/docs/grafana-dashboard.json"
}
