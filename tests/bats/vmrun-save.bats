#!/usr/bin/env bats
# vmrun save and restore on this machine's /dev/kvm, with the guest of tests/guest; vmrun-nested-save.bats does it with Linux.

load common

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

setup() {
	common_setup
	[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"
	mkdir -m 700 "$BATS_TEST_TMPDIR/run"
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
	pids=()
}

teardown() {
	((${#pids[@]} == 0)) || kill -9 "${pids[@]}" 2>/dev/null || true
}

# says FILE TEXT - wait until it does
says() {
	for ((i = 0; i < 1200; i++)); do
		! grep -aq "$2" "$1" || return 0
		sleep 0.05
	done
	fail "$1 does not say $2: $(cat "$1" "${1%.out}.err")"
}

# background NAME COMMAND... - COMMAND reads what ask writes for NAME; NAME.out, NAME.err are what it says
background() {
	local name=$1
	shift
	mkfifo "$name.in"
	"$@" <"$name.in" >"$name.out" 2>"$name.err" 3>&- &
	pids+=("$!")
	eval "$name=$!"
	exec {fd}>"$name.in"
	eval "${name}_fd=$fd"
}

# ask NAME BYTES - to its serial line
ask() {
	local fd=${1}_fd
	printf %s "$2" >&"${!fd}"
}

# ended NAME STATUS
ended() {
	local status=0
	wait "${!1}" || status=$?
	[ "$status" = "$2" ] || fail "$1 has status $status: $(cat "$1.err")"
}

# served NAME OPTIONS... - a machine of that name that answers
served() {
	local name=$1
	shift
	background "$name" vmrun -k "$GUEST" -m 8M -t 100s --name "$name" "$@"
	says "$name.out" ready
}

# saved FILE OPTIONS... - a machine that was asked CCC and saved
saved() {
	local file=$1
	shift
	served origin -a do=serve "$@"
	ask origin CCC
	says origin.out '^3'
	vmrun save origin "$file"
	ended origin 3
	rm origin.in
}

@test "the timer goes on as it was set; where nobody looked for one there is none, and can be" {
	served one -a do=serve
	ask one T
	says one.out set
	vmrun save one one.state
	ended one 3
	saved none.state
	for f in one none; do
		background "again_$f" vmrun restore --name "again-$f" $f.state
		[ $f = one ] || ask again_none T
		ask "again_$f" U
		says "again_$f.out" 'timer 52'
		ask "again_$f" Q
		ended "again_$f" 0
	done
}

@test "a machine is saved, ends, and goes on from the file: registers, memory, its serial line" {
	saved a.state -c 4
	[[ $(cat origin.err) == *"saved by vmrun save"* ]]
	[ "$(stat -c %a a.state)" = 600 ]
	[ "$(stat -c %b a.state)" -lt 12000 ] # untouched memory is holes
	[ "$(vmrun ps -0)" = "" ]
	[ "$(printf CMQ | vmrun restore a.state)" = $'4\nmemory is whole' ]
	# As often as one likes, and under a name
	background again vmrun restore --name again a.state
	ask again C
	says again.out '^4'
	[ "$(vmrun ps --json | jq -r '.[] | [.name, .cpus, .memory] | join(" ")')" = "again 4 8388608" ]
	vmrun save again b.state
	ended again 3
	[ "$(printf CMQ | vmrun restore b.state)" = $'5\nmemory is whole' ]
	assert_clean
}

# bats test_tags=release
@test "a guest that was saved runs no step more, however slowly its machine ends" {
	local before
	background m bash -c 'TIMEFORMAT="%U %S"; time env LD_PRELOAD="$0" SLOWWAKE_MS=1500 vmrun -k "$GUEST" -m 8M -t 100s -a do=spin --name m' \
		"$(preload slowwake.so)"
	wait_for eval 'vmrun stats m --json >stats 2>/dev/null && jq -e "[.cpus[].cpu_seconds] | add > 0.2" stats'
	vmrun pause m
	before=$(vmrun stats m --json | jq '[.cpus[].cpu_seconds] | add')
	vmrun save m m.state
	ended m 3
	# It spins: what it ran since would show in the time that it took.
	tail -n 1 m.err | jq -e -n --argjson before "$before" '[inputs] | add - $before < 1' || fail "$before s, then $(cat m.err)"
}

@test "clones of one file at once, each with disks of its own; the image keeps its bytes" {
	truncate -s 1M disk.raw
	saved a.state -d disk.raw -a do=serve:w
	sha256sum disk.raw a.state >before
	for c in one two three; do background "$c" vmrun restore --ephemeral --name "$c" a.state; done
	for c in one two three; do ask "$c" Cwf; done
	for c in one two three; do says "$c.out" 'status 0'; done
	[ "$(vmrun ps -0 | tr '\0' ' ')" = "one three two " ]
	for c in one two three; do
		ask "$c" MQ
		ended "$c" 0
		[ "$(cat "$c.out")" = $'4\nstatus 0\nstatus 0\nmemory is whole' ]
	done
	sha256sum -c --quiet before
}

@test "disks of all formats stand where they stood when the machine has ended; one that was changed since is refused" {
	truncate -s 1M raw
	for f in raw qcow2 qcow2:lazy_refcounts=on vmdk vmdk:subformat=twoGbMaxExtentSparse vdi vpc vhdx; do
		rm -f a.state origin.in disk*
		o=
		[[ $f != *:* ]] || o=${f#*:}
		f=${f%:*}
		qemu-img convert -f raw -O "$f" ${o:+-o "$o"} raw "disk.$f"
		saved a.state -d "disk.$f" -a do=serve:wf
		run_split timeout 60 vmrun restore a.state <<<CMfwfQ
		assert_status 0
		[ "$output" = $'4\nmemory is whole\nstatus 0\nstatus 0\nstatus 0' ]
		refused 3 vmrun restore a.state
		[[ $stderr == *"disk.$f"*"changed since"* ]]
		refused 3 vmrun restore --ephemeral a.state
		case $f in qcow2 | vdi) assert_qemu_clean "disk.$f" ;; vhdx) qemu-img check -q "disk.$f" ;; esac
	done
}

@test "what was written to an ephemeral disk is in the file, also of a machine that was restored" {
	head -c 1048576 /dev/zero | tr '\0' d >disk.raw
	sha256sum disk.raw >before
	background e vmrun -k "$GUEST" -m 8M --name e -e -d disk.raw -a do=serve:wz
	says e.out ready
	vmrun save e e.state
	ended e 3
	background f vmrun restore --name f e.state
	ask f d
	says f.out 'status 0'
	vmrun save f f.state
	ended f 3
	for s in e.state f.state; do
		# Sectors 8 to 15, as the guest left them: 9 and 10 are zero, later 12 and 13 too
		background g vmrun restore "$s"
		ask g DQ
		ended g 0
		tr -d '\0' <g.out | fold -w 512 >"$s.sectors"
		rm g.in
	done
	[ "$(tr -d '\n' <e.state.sectors | wc -c)" = 3072 ]
	[ "$(tr -d '\n' <f.state.sectors | wc -c)" = 2048 ]
	[ "$(tr -d 'W\n' <f.state.sectors)" = "" ]
	sha256sum -c --quiet before
}

@test "--keep-running, --compress, --force" {
	served a -a do=serve -c 2
	ask a CC
	says a.out '^2'
	vmrun save --keep-running --compress a a.state
	ask a C
	says a.out '^3'
	[ "$(stat -c %s a.state)" -lt 2000000 ]
	refused 5 vmrun save a a.state
	ask a C
	says a.out '^4'
	vmrun pause a
	vmrun save --keep-running --force a b.state
	[ "$(vmrun ps --json | jq -r '.[0].state')" = paused ] # as it was
	vmrun save --force a a.state
	ended a 3
	[ "$(printf CMQ | vmrun restore a.state)" = $'5\nmemory is whole' ]
	[ "$(printf CMQ | vmrun restore b.state)" = $'5\nmemory is whole' ]
}

@test "the file names a disk elsewhere: refused; --disk says where it is" {
	mkdir disks states
	truncate -s 1M disks/disk.raw
	saved states/a.state -d disks/disk.raw -a do=serve:wf
	refused 12 vmrun restore states/a.state
	[[ $stderr == *"disk.raw does not lie in its folder"*"--disk $PWD/disks/disk.raw"* ]]
	[ "$(printf CQ | vmrun restore -e --allow-backing disks states/a.state)" = 4 ]
	refused 2 vmrun restore -d disks/disk.raw -d disks/disk.raw states/a.state
	cp -a disks/disk.raw moved.raw # with its times
	[ "$(printf CfQ | vmrun restore -d moved.raw states/a.state)" = $'4\nstatus 0' ]
	ln -s ../disks/disk.raw states/disk.raw
	mv disks/disk.raw disks/other.raw
	refused 12 vmrun restore states/a.state
	truncate -s 2M moved.raw
	refused 3 vmrun restore -d moved.raw states/a.state
}

@test "a network is joined anew: passt by itself, others by --net, with the address that the guest knows" {
	require passt
	saved a.state --net user,host,mac=52:54:00:0a:0b:0c --publish 18093:80
	served_again() { # OPTIONS...
		background r vmrun restore --name r "$@" a.state
		ask r C
		says r.out '^4'
		run_split vmrun stats r --json
		[ "$(json '.nets[] | .kind + " " + .mac + " " + (.link | tostring)')" = "user 52:54:00:0a:0b:0c true" ]
		ask r Q
		ended r 0
		rm r.in
	}
	served_again
	served_again --net user,mac=52:54:00:00:00:01 --publish 18093:80
	refused 2 vmrun restore --net user --net user a.state
	refused 2 vmrun restore --net none a.state
	# What the driver agreed on with passt another end may not be able to do
	run_split python3 -c 'import os, socket; a, b = socket.socketpair(); os.set_inheritable(a.fileno(), True);
os.execvp("vmrun", ["vmrun", "restore", "--net", "fd=%d" % a.fileno(), "a.state"])'
	assert_status 2
	[[ $stderr == *"another kind than fd"* ]]
	refused 2 vmrun restore --vsock v a.state
	saved b.state --vsock "$PWD/v"
	refused 2 vmrun restore b.state
	[[ $stderr == *"--vsock PATH"* ]]
	refused 2 vmrun restore --vsock w --net user b.state
	refused 2 vmrun restore --vsock w --publish 18093:80 b.state
	[ "$(printf CQ | vmrun restore --vsock w b.state)" = 4 ]
	saved c.state
	refused 2 vmrun restore --net user c.state
	# What a file says of interfaces is hostile
	for lie in '[{}]' '[1]' '[{"kind": 1, "mac": "52:54:00:0a:0b:0c"}]' '[{"kind": "user", "mac": "x"}]' \
		'[{"kind": "user", "mac": "53:54:00:0a:0b:0c"}]' "[$(printf '{"kind": "user", "mac": "52:54:00:0a:0b:0c"},%.0s' 1 2 3 4)1]"; do
		python3 "$ROOT/tests/state_lies.py" a.state lie.state "nets=$lie"
		refused 8 vmrun restore lie.state
	done
	# A tap device is never opened because a file says so
	python3 "$ROOT/tests/state_lies.py" a.state lie.state 'nets=[{"kind": "tap", "mac": "52:54:00:0a:0b:0c"}]'
	refused 2 vmrun restore lie.state
}

@test "what cannot be saved: no such machine, one that runs a command, a folder without room" {
	refused 4 vmrun save nobody a.state
	served a -a do=serve
	refused 4 vmrun save a no/such/folder/a.state
	require_root
	mkdir small
	mount -t tmpfs -o size=64k tmpfs small
	run --separate-stderr vmrun save a small/a.state
	left=$(ls -A small)
	umount small
	assert_status 13
	[ -z "$left" ]
	ask a CQ # and it goes on
	ended a 0
	[ "$(cat a.out)" = $'ready\n1' ]
}

@test "damaged files: one sentence, status 8" {
	truncate -s 1M disk.raw
	saved a.state -e -d disk.raw -a do=serve:w
	refused 8 timeout 60 vmrun restore -t 1s disk.raw
	[[ $stderr == *"not a saved machine"* ]]
	refused 4 vmrun restore nothing.state
	refused 2 vmrun restore .
	size=$(stat -c %s a.state)
	for n in 0 7 8 100 4095 4096 5000 $((size / 2)) $((size - 1)); do
		head -c "$n" a.state >cut.state
		refused 8 timeout 60 vmrun restore -t 1s cut.state
	done
	# A bit each of the head and of the description
	for at in 3 14 17 25 33 41 49 57 70 2000 4090 $((size - 10)) $((size - 3000)); do
		cp a.state bit.state
		printf '\xaa' | dd of=bit.state bs=1 seek="$at" conv=notrunc status=none
		refused 8 timeout 60 vmrun restore -t 1s bit.state
	done
}

@test "descriptions that lie, with the right digests: a sentence, never more" {
	truncate -s 1M disk.raw
	saved a.state -c 2 -e -d disk.raw -a do=serve:w
	for ((seed = 0; seed < 60; seed++)); do
		python3 "$ROOT/tests/state_lies.py" a.state lie.state "$seed"
		status=0
		timeout 60 vmrun restore -t 1s lie.state </dev/null >out 2>err || status=$?
		# What KVM takes may run, or not; what it does not take is told
		case $status in
		0 | 1 | 2 | 3 | 8 | 9 | 10 | 12) ;;
		*) fail "seed $seed: status $status: $(cat err)" ;;
		esac
		[ "$(wc -l <err)" -le 2 ] || fail "seed $seed: $(cat err)"
	done
}
