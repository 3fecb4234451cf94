#!/usr/bin/env bats
# vmbackup run: what a profile says, in one go; and verify --share, which it uses.
load common

setup() {
	common_setup
	mkdir conf
	vmbackup -r repo init --no-encryption
	random_image a.raw 6000128 1 30
	random_image b.raw 4000256 2 30
}

# profile TEXT - conf/p.conf: the repository, then TEXT
profile() { printf 'repository = %s\n%s\n' "$PWD/repo" "$1" >conf/p.conf; }

run_p() { run_split vmbackup run --config-dir conf p "$@"; }
# shellcheck disable=SC2120
refused_p() { refused "$1" vmbackup run --config-dir conf p "${@:2}"; }

metric() { sed -n "s/^vmkit_backup_$1{$2} //p" out.prom; }

@test "backups, retention, verification, hooks, metrics; silent when all is well" {
	profile "# nightly
keep_last = 2
verify = 50%
tag = nightly
metrics = $PWD/out.prom
before = echo before \$VMKIT_PROFILE >>$PWD/hooks
after = echo after \$VMKIT_STATUS >>$PWD/hooks
[web]
disk = $PWD/a.raw
description = the web server
keep_clone = yes
[db]
disk = root=$PWD/b.raw
disk = $PWD/a.raw
force_share = no"
	local i
	for i in 1 2 3; do
		run_p
		assert_status 0
		[ -z "$output$stderr" ] || fail "said: $output $stderr"
	done
	[ "$(vmbackup -r repo list --json | jq -r 'map(.vm) | join(",")')" = web,db,web,db ]
	run vmbackup -r repo show --json db
	[ "$(json '.disks | map(.name) | join(",")')" = root,vdb ]
	[ "$(json '.tags | join(",")')" = nightly ]
	[ "$(vmbackup -r repo show --json web | jq -r .description)" = 'the web server' ]
	[ "$(cat hooks)" = "$(printf 'before p\nafter 0\n%.0s' 1 2 3)" ]
	[ "$(metric status 'profile="p"')" = 0 ]
	[ "$(metric machine_status 'profile="p",machine="db"')" = 0 ]
	[ "$(metric new_bytes 'profile="p",machine="db"')" = 0 ]
	[ "$(($(date +%s) - $(metric last_success_timestamp_seconds 'profile="p",machine="web"')))" -lt 100 ]
	assert_clean
}

@test "a machine that fails: the others are backed up, nothing is removed, the status says it" {
	profile "keep_last = 1
metrics = $PWD/out.prom
after = echo \$VMKIT_STATUS >$PWD/hook
[web]
disk = $PWD/a.raw
[gone]
disk = $PWD/gone.raw
[db]
disk = $PWD/b.raw"
	cp b.raw gone.raw
	run_p
	assert_status 0
	local success
	success=$(metric last_success_timestamp_seconds 'profile="p",machine="gone"')
	[ -n "$success" ]
	rm gone.raw
	run_p
	assert_status 4
	[[ $stderr == *gone.raw* ]]
	[ "$(cat hook)" = 4 ]
	[ "$(vmbackup -r repo list --json web | jq length)" = 2 ]
	[ "$(vmbackup -r repo list --json db | jq length)" = 2 ]
	[ "$(metric status 'profile="p"')" = 4 ]
	[ "$(metric machine_status 'profile="p",machine="gone"')" = 4 ]
	[ "$(metric machine_status 'profile="p",machine="db"')" = 0 ]
	[ "$(metric last_success_timestamp_seconds 'profile="p",machine="gone"')" = "$success" ]
}

@test "hooks that fail" {
	profile "before = exit 3
after = echo \$VMKIT_STATUS >$PWD/hook
[web]
disk = $PWD/a.raw"
	refused_p 1
	[[ $stderr == *before*3* ]]
	[ "$(cat hook)" = 1 ]
	[ "$(vmbackup -r repo list --json)" = '[]' ]
	profile "after = exit 9
[web]
disk = $PWD/a.raw"
	refused_p 1
	[ "$(vmbackup -r repo list --json | jq length)" = 1 ]
}

@test "a hook afterwards that fails: in the figures too, and never instead of what failed before it" {
	profile "after = exit 9
metrics = $PWD/out.prom
[web]
disk = $PWD/a.raw"
	refused_p 1
	[ "$(metric status 'profile="p"')" = 1 ]
	[ "$(metric machine_status 'profile="p",machine="web"')" = 0 ]
	mv a.raw gone.raw
	run_p
	assert_status 4
	[[ $stderr == *a.raw*after* ]] || fail "$stderr"
	[ "$(metric status 'profile="p"')" = 4 ]
}

@test "options of every verb: the command line beats the profile, which beats the environment" {
	vmbackup -r other init --no-encryption
	profile "[web]
disk = $PWD/a.raw"
	run_p -r other
	assert_status 0
	[ "$(vmbackup -r repo list --json)" = '[]' ]
	[ "$(vmbackup -r other list --json | jq length)" = 1 ]
	VMKIT_REPOSITORY=nowhere run_p
	assert_status 0
	run_p --expect-at-least 9
	assert_status 8
	[[ $stderr == *9* ]]
	profile "expect_at_least = 1
[web]
disk = $PWD/a.raw"
	run_p
	assert_status 0
	profile "expect_at_least = 7
[web]
disk = $PWD/a.raw"
	run_p
	assert_status 8
	run_p --expect-at-least 1
	assert_status 0
	[ "$(vmbackup -r repo list --json | jq length)" = 3 ]
	printf '[web]\ndisk = %s\n' "$PWD/a.raw" >conf/p.conf
	refused_p 2
	VMKIT_REPOSITORY=other run_p -v
	assert_status 0
	[[ $stderr == *"disk vda: unchanged"* || $stderr == *"disk vda: scan"* ]] || fail "$stderr"
}

@test "nothing is begun when a value is one that a step would not take" {
	local text
	while IFS='|' read -r want text; do
		{
			printf 'repository = %s\nbefore = touch %s\n' "$PWD/repo" "$PWD/began"
			printf '%b' "$text"
			printf '[db]\ndisk = %s\n' "$PWD/b.raw"
		} >conf/p.conf
		refused_p 2
		[[ $stderr == *"$want"* && $stderr == *conf/p.conf* ]] || fail "$text: $stderr"
		assert_not_exists began
	done <<-END
		keep-last|keep_last = many\\n
		max-delete|keep_last = 1\\nmax_delete = 0\\n
		share|verify = 200%\\n
		level|level = 23\\n
		quiesce|quiesce = perhaps\\n
		format|format = qcow9\\n
		tag|tag = $(printf '%0300d' 1)\\n
		rate-limit|rate_limit = fast\\n
		s3-retries|s3_retries = -1\\n
		standard input|[web]\\ndisk = -\\n
		standard input|[web]\\ndisk = vda=-\\n
		standard input|[web]\\ndisk = x\\nmachine = -\\n
		two disks|[web]\\ndisk = a=x\\ndisk = a=y\\n
		goes with --domain|[web]\\ndisk = x\\nexclude_disk = vdb\\n
		a disk and a domain|[web]\\ndisk = x\\ndomain = web\\n
		--domain finds|[web]\\ndomain = web\\nformat = raw\\n
	END
	printf 's3_object_lock = governance:1\nbefore = touch %s\n[web]\ndisk = x\n' "$PWD/began" >conf/p.conf
	refused_p 2 -r repo
	[[ $stderr == *"lock"* ]]
	refused_p 2 -r s3://bucket/x --s3-object-lock governance:0
	assert_not_exists began
	[ "$(vmbackup -r repo list --json)" = '[]' ]
}

@test "killed at once: the step that was at work ends, and holds the lock until then" {
	require pgrep
	local pid child i
	random_bytes 5 20000000 >slow.raw
	profile "rate_limit = 1M
[web]
disk = $PWD/slow.raw"
	vmbackup run --config-dir conf p 2>err 3>&- &
	pid=$!
	for ((i = 0; i < 1200; i++)); do
		child=$(pgrep -P $pid) && ls repo/tmp/* >/dev/null 2>&1 && break
		sleep 0.05
	done
	kill -STOP "$child"
	kill -KILL $pid
	wait $pid || true
	refused_p 6
	kill -CONT "$child"
	for ((i = 0; i < 1200; i++)); do
		kill -0 "$child" 2>/dev/null || break
		sleep 0.05
	done
	((i < 100)) || fail 'the step goes on alone'
	profile "[web]
disk = $PWD/a.raw"
	run_p
	assert_status 0
}

@test "a libvirt machine in a profile" {
	require virsh
	# LeakSanitizer stumbles over threads that libvirt is just ending
	export ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0
	cat >dom.xml <<-END
		<domain type='test'><name>lvm1</name><memory>1024</memory><os><type>hvm</type></os><devices>
		<disk type='file' device='disk'><source file='$PWD/a.raw'/><target dev='vda'/></disk></devices></domain>
	END
	cat >node.xml <<-END
		<node><domain file='$PWD/dom.xml'/></node>
	END
	sed -i "s/<name>/<testdomain:runstate xmlns:testdomain='http:\/\/libvirt.org\/schemas\/domain\/test\/1.0'>5<\/testdomain:runstate>&/" dom.xml
	profile "connect = test://$PWD/node.xml
quiesce = no
[web]
domain = lvm1"
	run_p
	assert_status 0
	vmbackup -r repo restore web - | cmp - a.raw
	[ "$(vmbackup -r repo show web --json | jq -r .machine | grep -c lvm1)" -ge 1 ]
	# What one machine has is not another one's.
	profile "[web]
domain = lvm1
connect = test://$PWD/node.xml
quiesce = no
[db]
disk = $PWD/b.raw
description = the database"
	run_p
	assert_status 0
}

@test "one run of a profile at a time; a signal ends it, and after it the hook runs" {
	profile "before = touch $PWD/began; exec sleep 20
after = echo \$VMKIT_STATUS >$PWD/hook
[web]
disk = $PWD/a.raw"
	vmbackup run --config-dir conf p 2>err 3>&- &
	local pid=$! i
	for ((i = 0; i < 1200; i++)); do
		[ ! -e began ] || break
		sleep 0.05
	done
	refused_p 6
	refused_p 6 --wait=100ms
	kill -TERM $pid
	wait $pid && fail 'status 0' || [ $? = 143 ] || fail "status $?"
	[ "$(cat hook)" != 0 ]
	profile "[web]
disk = $PWD/a.raw"
	run_p --wait --jitter 100ms
	assert_status 0
}

@test "a profile that is wrong is named with its line" {
	refused_p 4
	refused 2 vmbackup run --config-dir conf ../p
	local text
	while IFS='|' read -r line text; do
		printf "%b" "$text" >conf/p.conf
		refused_p 2
		[[ $stderr == *"conf/p.conf: $line"* ]] || fail "$text: $stderr"
	done <<-'END'
		line 1: there is no key "repositry"|repositry = x\n
		line 2: neither|# ok\nnonsense\n
		line 1: keep_last has no value|keep_last =\n
		line 2: disk|[web]\ndisk =\n
		line 1: a disk belongs|disk = x\n
		line 3: repository belongs|[web]\ndisk = x\nrepository = y\n
		line 1: "we b" is not|[we b]\n
		line 3: [web] is there twice|[web]\ndisk = x\n[web]\n
		line 2: force_share is yes|[web]\nforce_share = maybe\n
		line 2: verify is given twice|verify = 1/2\nverify = quick\n
		no [MACHINE]|repository = x\n
		[web] has no disk|[web]\n
	END
	profile "keep_lst = 1"
	refused_p 2
	[[ $stderr == *'hint: did you mean keep_last?'* ]]
	profile "keep_last = many
[web]
disk = $PWD/a.raw"
	run_p
	assert_status 2
}

@test "verify --share: the shares together are all packs, and find what is damaged in one of them" {
	local i sum=0 all bad=0
	for i in 1 2 3 4 5 6; do
		random_bytes "$i" 300000 >"r$i.raw"
		vmbackup -r repo backup --vm "m$i" "r$i.raw"
	done
	all=$(vmbackup -r repo verify --json | jq .packs)
	for i in 1 2 3; do
		sum=$((sum + $(vmbackup -r repo verify --share $i/3 --json | jq .packs)))
	done
	[ $sum = "$all" ]
	[ "$(vmbackup -r repo verify --share 100% --json | jq .packs)" = "$all" ]
	run vmbackup -r repo verify --share 20% --json
	assert_success
	assert_schema vmbackup-verify
	local pack
	pack=$(find repo/packs -type f -size +200k | head -1)
	chmod u+w "$pack"
	printf '\0\0\0\0' | dd of="$pack" bs=1 seek=100000 conv=notrunc status=none
	for i in 1 2 3; do
		vmbackup -r repo verify --share $i/3 >/dev/null 2>&1 || bad=$((bad + 1))
	done
	[ $bad -ge 1 ] || fail 'no share found it'
	for i in 0/3 4/3 1/0 0% 101% x 1/ /2 50 ' 1/3' +1/3 1/+3 -1/3 1/99999999999999999999 4294967297/3 1e1% 10.5% 10%%; do
		refused 2 vmbackup -r repo verify --share "$i"
	done
	refused 2 vmbackup -r repo verify --share 50% m1
}

@test "verify --share PERCENT: never less than that, other packs each day, all in their turn" {
	[ -e "$VMKIT_TOOLS/clock.so" ] || fail "clock.so is missing: make tools"
	local i day n sum=0 sum60=0 all
	for i in {1..25}; do
		random_bytes "$i" 100000 >"r$i.raw"
		vmbackup -r repo backup --vm "m$i" "r$i.raw"
	done
	all=$(find repo/packs -type f | wc -l)
	run vmbackup -r repo verify -v --share 1/2
	n=$(vmbackup -r repo verify --json --share 1/2 | jq .packs)
	assert_output --partial " $n of $all packs ($(awk "BEGIN { printf \"%.1f\", 100 * $n / $all }") %)"
	# five days of 20 % are the whole, and of 60 % three times the whole
	share() { LD_PRELOAD=$(preload clock.so) TEST_TIME=$((1796000000 + day * 86400)) vmbackup -r repo verify --json --share "$1" | jq .packs; }
	for day in 0 1 2 3 4; do
		sum=$((sum + $(share 20%)))
		sum60=$((sum60 + $(share 60%)))
	done
	[ $sum = "$all" ]
	[ $sum60 = $((3 * all)) ]
}
