#!/usr/bin/env bats
# vmrun on this machine's /dev/kvm, whatever KVM that is: a guest of our own of some KiB (tests/guest), which no KVM needs more
# than emulation for. vmrun-nested.bats boots Linux.

load common
load vmrun

setup_file() {
	export GUEST=$BATS_FILE_TMPDIR/guest
	require gcc objcopy
	"$ROOT/tests/guest/build.sh" "$GUEST"
}

require_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ] || skip "no /dev/kvm that can be opened here"; }

# guest WHAT [OPTIONS] - run the test guest
guest() {
	local what=$1
	shift
	timeout -k 5 100 vmrun -k "$GUEST" -a "do=$what" -m 8M -t 60s "$@"
}

@test "a guest starts, says something, and powers off: status 0" {
	require_kvm
	run_split guest hello </dev/null
	assert_status 0
	[ "$output" = hello ]
	[ -z "$stderr" ]
	run_split vmrun run --kernel "$GUEST" --append do=hello
	[ "$output" = hello ]
}

@test "command line, memory map and initrd arrive" {
	require_kvm
	[ "$(guest command </dev/null)" = "console=ttyS0 panic=-1 do=command" ]
	[ "$(guest memory </dev/null)" = 7 ]
	[ "$(guest memory -m 3G </dev/null)" = 3071 ]
	# What does not fit below the hole lies above 4 GiB
	[ "$(guest memory -m 4G </dev/null)" = 4095 ]
	head -c 20000 /dev/urandom | tr -d '\0' | (printf BZh; cat) >initrd
	guest initrd -i initrd </dev/null >got
	assert_same_bytes initrd got
}

@test "memory is taken from the host as it is used" {
	require_kvm
	guest hello -m 4G --metrics m.prom </dev/null
	[ "$(awk '/^vmrun_memory_resident_bytes/ { print $2 }' m.prom)" -lt 33554432 ]
}

@test "--hugepages: of the host's pool, which must be large enough" {
	require_kvm
	refused 2 guest hello --hugepages --balloon
	refused 2 guest hello --hugepages -m 9000K
	pool=/proc/sys/vm/nr_hugepages had=$(cat /proc/sys/vm/nr_hugepages)
	free=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)
	refused 9 guest hello --hugepages -m $((2 * free + 512))M
	[[ $stderr == *"pool has"* && $stderr == *vm.nr_hugepages=$((had + 256))* ]]
	(echo $((had + 8)) >$pool) 2>/dev/null || skip "no huge pages can be made here"
	run guest disk:rk -m 16M --hugepages -f raw -d "$GUEST" --metrics m.prom </dev/null
	first=$status
	run_split guest memory -m 18M --hugepages
	left=$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)
	# A control group's limit is one sentence before the guest runs, not SIGBUS in the middle
	mkdir cg
	limited=9
	! mount -t cgroup -o hugetlb none cg 2>/dev/null || {
		mkdir cg/vmkit-test
		echo 2097152 >cg/vmkit-test/hugetlb.2MB.limit_in_bytes
		limited=0
		(echo $BASHPID >cg/vmkit-test/tasks && exec vmrun -k "$GUEST" -a do=memory -m 8M --hugepages) >cg.out 2>cg.err || limited=$?
		rmdir cg/vmkit-test
		umount cg
		grep -q "a limit (of a control group" cg.err || limited="$limited $(cat cg.err)"
	}
	echo "$had" >$pool
	[ "$limited" = 9 ] || fail "limited: $limited"
	[ "$first" = 0 ]
	[ "$status" = 9 ]
	[ "$left" = $((free + 8)) ]
	resident=$(awk '/^vmrun_memory_resident_bytes/ { print $2 }' m.prom)
	[ "$resident" -gt 0 ]
	[ $((resident % 2097152)) = 0 ] # whole pages of 2 MiB
}

@test "iasl reads the ACPI tables, and compiles what it read" {
	require_kvm
	require iasl
	guest acpi -c 4 </dev/null >tables
	python3 - <<-'END'
		import struct
		d = open("tables", "rb").read()
		for name in b"DSDT", b"FACP", b"APIC", b"XSDT", b"RSDT":
		    at = d.index(name + b"\0" * 0)
		    n = struct.unpack("<I", d[at + 4:at + 8])[0]
		    assert sum(d[at:at + n]) % 256 == 0, name
		    open(name.decode() + ".aml", "wb").write(d[at:at + n])
	END
	for t in DSDT FACP APIC XSDT RSDT; do
		iasl -d $t.aml >log 2>&1
		! grep -iE 'error|warning|invalid' log || fail "$(cat log)"
		[ -s $t.dsl ]
	done
	[ "$(grep -c 'Processor Enabled : 1' APIC.dsl)" = 4 ]
	grep -q 'Reset Register Supported (V2) : 1' FACP.dsl
	iasl -tc DSDT.dsl >log 2>&1
	grep -q '0 Errors, 0 Warnings' log
}

@test "1 to 16 vCPUs start" {
	require_kvm
	for n in 1 4 16; do
		[ "$(guest processors -c $n </dev/null)" = $n ]
	done
	refused 2 guest processors -c 17
	refused 2 guest processors -c 0
}

@test "how a guest ends is the status: reset 3, panic and crash 1, --timeout 10" {
	require_kvm
	refused 3 guest reset
	[[ $stderr == *reset* ]]
	refused 3 guest keyboard
	refused 1 guest panic
	[[ $stderr == *panicked* ]]
	refused 1 guest triple
	[[ $stderr == *"triple fault"* ]]
	for what in hang spin; do
		refused 10 guest $what -t 0.3
		[[ $stderr == *"0.3 s"* ]]
	done
}

@test "signals end it with 128+N, and so does a reader that goes away" {
	require_kvm
	for what in hang talk spin; do
		for signal in INT TERM HUP; do
			# A shell's background jobs ignore SIGINT
			env --default-signal=INT vmrun -k "$GUEST" -a do=$what -m 8M >out 2>err </dev/null 3>&- &
			wait_for hears $!
			sleep 0.3
			kill -$signal $!
			status=0
			wait $! || status=$?
			[ "$status" = $((128 + $(kill -l $signal))) ]
		done
	done
	run bash -c 'set -o pipefail; vmrun -k "$GUEST" -a do=talk -m 8M </dev/null | head -n 2'
	[ "$status" = 141 ]
	[ "$output" = $'talk\ntalk' ]
}

@test "a full pipe makes the guest wait, and --timeout still ends it" {
	require_kvm
	run bash -c 'vmrun -k "$GUEST" -a do=talk -m 8M -t 0.5 2>err | { sleep 1.5; wc -c; }; exit ${PIPESTATUS[0]}'
	[ "$status" = 10 ]
}

@test "standard input is the serial line's: nothing is lost, its end is not the guest's" {
	require_kvm
	head -c 6000 /dev/urandom | base64 -w 0 | tr -d q >sent
	{ cat sent; sleep 0.2; printf q; } | guest echo >got
	assert_same_bytes sent got
	refused 10 guest echo -t 0.5 </dev/null
}

@test "ports and addresses without a device do nothing" {
	require_kvm
	[ "$(guest poke -d "$GUEST" --read-only -f raw </dev/null)" = "still here" ]
}

# disk_of FORMAT [OPTIONS] - d.FORMAT, 1 MiB, 'r' in its first two sectors, 'x' in 8 to 15
disk_of() {
	yes rrr | head -c 1024 >raw
	truncate -s 4096 raw
	yes xxx | head -c 4096 >>raw
	truncate -s 1M raw
	rm -f "d.$1"
	vmimg convert -q raw "d.$1" -O "$1"
}

# what the guest should have left
expected_disk() {
	cp raw want
	head -c 4096 /dev/zero | tr '\0' W | dd of=want bs=4096 seek=1 conv=notrunc status=none
	dd if=/dev/zero of=want bs=512 seek=9 count=2 conv=notrunc status=none
}

@test "the timer is there for whoever looks for it, with what was its first word" {
	require_kvm
	[ "$(guest timer:g </dev/null)" = over ]
	[ "$(guest timer:c </dev/null)" = counts ]
	[ "$(guest timer:r </dev/null)" = 0 ]
}

@test "virtio-blk: read, write, flush, zero, by interrupt, on every format that can be written" {
	require_kvm
	for format in raw qcow2 vmdk vdi vhd vhdx; do
		disk_of $format
		run_split guest disk:siwzfbir -d d.$format </dev/null
		assert_status 0
		[ "${lines[0]}" = 1048576 ]
		[ "${lines[1]}" = none ]
		[ "${lines[2]} ${lines[3]} ${lines[4]} ${lines[5]}" = "status 0 status 0 status 0 status 1" ]
		[ "${lines[6]}" = interrupt ]
		[ "${lines[7]}" = rrr ]
		[ "${#lines[@]}" = $((7 + 256)) ]
		expected_disk
		assert_same_disk want d.$format raw
		[ $format = raw ] || vmimg check -q d.$format
	done
	qemu-img convert -f raw -O qed raw d.qed
	refused 9 guest disk:r -d d.qed
	[[ $stderr == *--ephemeral* ]]
	[ "$(guest disk:wr -e -d d.qed </dev/null | head -n 2)" = $'status 0\nrrr' ]
}

@test "discard, a ring that loops, several disks" {
	require_kvm
	disk_of raw
	disk_of qcow2
	run_split guest disk:dhr -d d.raw -d d.qcow2 </dev/null
	assert_status 0
	[ "${lines[0]}" = "status 0" ]
	[ "${lines[1]}" = "broken and healed" ]
	[ "${lines[2]}" = rrr ]
	truncate -s 3M third
	[ "$(guest disk:2s -d d.raw -d d.qcow2 -d third </dev/null)" = 3145728 ]
	[ "$(guest disk:3s -d d.raw -d d.qcow2 -d third </dev/null)" = "no disk" ]
}

@test "a queue that is kicked often is kicked without an exit, also where the guest moved its registers to" {
	require_kvm
	head -c 1M /dev/urandom >d.raw
	for what in k mkk kmk; do
		guest disk:${what}r -f raw -d d.raw --metrics m.prom </dev/null >got
		sed 's/[^k]//g; s/k/status 0\n/g' <<<"$what" | sed '$d' >want
		head -c 1024 d.raw >>want
		assert_same_bytes want got
		exits=$(awk '/^vmrun_cpu_exits_total/ { print $2 }' m.prom)
		echo "$what: $exits exits"
		[ "$exits" -lt 2000 ]
	done
}

@test "--ephemeral: the guest sees its writes, the image keeps its bytes; --read-only" {
	require_kvm
	for format in raw qcow2 vmdk; do
		disk_of $format
		before=$(sha256 d.$format)
		chmod 444 d.$format
		run_split guest disk:wzfr --ephemeral -d d.$format </dev/null
		assert_status 0
		[ "${lines[0]} ${lines[1]} ${lines[2]}" = "status 0 status 0 status 0" ]
		[ "$(sha256 d.$format)" = "$before" ]
		run_split guest disk:wr --read-only -d d.$format </dev/null
		assert_status 0
		[ "${lines[0]}" = "status 1" ]
		[ "${lines[1]}" = rrr ]
		[ "$(sha256 d.$format)" = "$before" ]
		chmod 644 d.$format
	done
	assert_clean
	refused 2 guest hello --ephemeral --read-only
}

@test "a raw disk whose format was guessed cannot become another format by what the guest writes" {
	require_kvm
	disk_of raw
	run_split guest disk:qwr -d d.raw </dev/null
	assert_status 0
	[ "${lines[0]} ${lines[1]} ${lines[2]}" = "status 1 status 0 rrr" ]
	[[ $stderr == *"look like qcow2"* ]]
	[ "$(vmimg info --json d.raw | jq -r .format)" = raw ]
	# Said to be raw, it is the guest's to fill; so is a disk inside of qcow2
	[ "$(guest disk:q -f raw -d d.raw </dev/null)" = "status 0" ]
	[ "$(head -c 3 d.raw)" = QFI ]
	disk_of qcow2
	[ "$(guest disk:q -d d.qcow2 </dev/null)" = "status 0" ]
}

@test "bad input: one sentence and the right status" {
	refused 2 vmrun run
	[[ $stderr == *--kernel* ]]
	refused 2 vmrun --kernel
	refused 4 vmrun -k nothing-here
	[[ $stderr == *nothing-here* ]]
	echo text >text
	refused 9 vmrun -k text
	[[ $stderr == *"not a Linux kernel"*hint* ]]
	refused 2 vmrun -k .
	refused 9 vmrun -k "$VMKIT_BIN/vmrun"
	for n in 600 1024 2000 5000; do
		head -c $n "$GUEST" >short
		run_split vmrun -k short
		[ "$status" = 8 ] || [ "$status" = 9 ]
		[[ $stderr == "vmrun: short: "* ]]
	done
	refused 4 vmrun -k "$GUEST" -i nothing-here
	: >empty
	refused 8 vmrun -k "$GUEST" -i empty
	head -c 300 /bin/true >data
	echo data | cpio -o -H newc --quiet >whole
	head -c 300 whole >half
	refused 8 vmrun -k "$GUEST" -i half
	[[ $stderr == *"cut off"* ]]
	truncate -s 20M big
	refused 2 vmrun -k "$GUEST" -i big -m 8M
	[[ $stderr == *8.00\ MiB* || $stderr == *"8 MiB"* || $stderr == *8.0\ MiB* ]]
	refused 2 vmrun -k "$GUEST" -m 1M
	refused 2 vmrun -k "$GUEST" -m 3000001
	refused 9 vmrun -k "$GUEST" -m 100T
	[[ $stderr == *"more than this host has"* ]]
	refused 2 vmrun -k "$GUEST" -a "$(head -c 3000 /dev/zero | tr '\0' x)"
	refused 2 vmrun -k "$GUEST" extra
}

@test "bad disks: missing, locked, damaged, too many" {
	refused 4 vmrun -k "$GUEST" -d nothing-here
	truncate -s 1M d.raw
	qemu-img create -q -f qcow2 d.qcow2 1M
	if [ -w /dev/kvm ]; then
		vmrun -k "$GUEST" -a do=talk -m 8M -d d.qcow2 </dev/null >out 2>err 3>&- &
		until [ -s out ]; do sleep 0.1; done
		refused 6 vmrun -k "$GUEST" -d d.qcow2
		require qemu-io
		run qemu-io -c 'write 0 512' d.qcow2
		[[ $output == *lock* ]] # and QEMU sees ours
		kill $!
		wait $! || true
	fi
	patch_bytes d.qcow2 20 ff
	refused 8 vmrun -k "$GUEST" -d d.qcow2
	head -c 200 d.qcow2 >cut.qcow2
	run_split vmrun -k "$GUEST" -d cut.qcow2
	[ "$status" = 8 ] || [ "$status" = 9 ]
	args=()
	for ((i = 0; i < 25; i++)); do args+=(-d d.raw); done
	refused 2 vmrun -k "$GUEST" "${args[@]}" --read-only
	chmod 000 d.raw
	refused 12 as_nobody vmrun -k "$GUEST" -d d.raw
}

@test "a KVM that is not there, is none, or is not ours" {
	refused 9 vmrun -k "$GUEST" --kvm "$PWD/nothing-here"
	[[ $stderr == *"no KVM"* ]]
	refused 9 vmrun -k "$GUEST" --kvm /dev/null
	[[ $stderr == *"is not KVM"* ]]
	cp "$GUEST" guest
	require_root
	: >device
	chmod 600 device
	refused 12 as_nobody vmrun -k guest --kvm "$PWD/device"
	[[ $stderr == *"group"* ]]
}

@test "the terminal is raw while the guest runs, and restored however it ends" {
	require_kvm
	run on_terminal $'ab\x03q' vmrun -k "$GUEST" -a do=echo -m 8M
	assert_line --index 0 "raw restored 0"
	[[ ${lines[1]} == *ab$'\x03'* ]]
	run on_terminal $'\x1d' vmrun -k "$GUEST" -a do=echo -m 8M
	assert_line --index 0 "raw restored 3"
	run on_terminal SIGTERM vmrun -k "$GUEST" -a do=hang -m 8M
	assert_line --index 0 "raw restored -15"
	for signal in SIGQUIT SIGSEGV SIGABRT; do
		! sanitized || continue
		run on_terminal $signal vmrun -k "$GUEST" -a do=hang -m 8M
		[[ ${lines[0]} == "raw restored -"* ]]
	done
	run on_terminal x vmrun -k "$GUEST" -a do=hang -m 8M -t 1
	assert_line --index 0 "raw restored 10"
}


# The test guest runs no command, it only ends; vmrun-nested-command.bats has those that do.
@test "a command that never ran: 125, with the guest's last words; --timeout is 124" {
	require_kvm
	refused 125 guest hello -- true
	[[ $stderr == *"ended before the command did"* && $stderr == *"last words: hello"* ]]
	refused 125 guest reset -- true
	refused 125 guest triple -- true
	refused 124 guest hang -t 0.5 -- true
	run_split guest hello -v -- true
	assert_status 125
	[ -z "$output" ]
	[[ $stderr == *hello* ]]
	refused 125 vmrun -k nothing-here -- true
	refused 125 vmrun -k "$GUEST" --root nothing-here -- true
	truncate -s 1M empty.raw
	refused 125 vmrun -k "$GUEST" --root empty.raw -- true
	[[ $stderr == *"no ext4"* ]]
	refused 125 vmrun -k "$GUEST" --modules nothing-here -- true
	refused 125 vmrun -k "$GUEST" --env =x -- true
	refused 125 vmrun -k "$GUEST" -m 100T -- true
	refused 2 vmrun -k "$GUEST" true
	[[ $stderr == *"behind --"* ]]
	refused 2 vmrun -k "$GUEST" --root .
	assert_clean
}

@test "a usage failure with a command is vmrun's own: 125" {
	refused 125 vmrun -- true
	refused 125 vmrun -k "$GUEST" --ephemeral --read-only -- true
}

@test "--user: for a command, a name or a number" {
	refused 2 vmrun -k "$GUEST" --user alice
	refused 125 vmrun -k "$GUEST" --user "" -- true
	refused 125 vmrun -k "$GUEST" --user alice:users -- true
	[[ $stderr == *"alice:users"* ]]
	refused 2 vmrun -k "$GUEST" --user alice --prepare x
}

# vmrun-nested-save.bats has it in a guest
@test "--user: groups and home are those of the guest's files, whatever else these hold" {
	require gcc chroot
	[ "$(id -u)" = 0 ] || skip "not root"
	mkdir -p root/etc
	gcc -std=gnu17 -D_GNU_SOURCE -I"$ROOT" -O1 -Wall -Werror -static -o root/become "$ROOT/tests/guest/become.c" "$ROOT/cmd/vmrun/guest/user.c"
	as() { HOME=/none run_split chroot root /become "$1"; }
	as alice # no file at all
	assert_status 126
	as 12
	[ "$output" = "12 12 12 /none" ]
	cat >root/etc/passwd <<-'END'
		root:x:0:0:root:/root:/bin/sh

		:::
		+nis
		bad:x:-1:0::/bad:
		big:x:4294967295:0::/big:
		wide:x:4294967296:0::/wide:
		alice:x:1000:1001:A, of B:/home/alice:/bin/sh
		77:x:5000:5001::/home/77:/bin/sh
		short:x:9:9
		homeless:x:10:10:::
		last:x:4294967294:4294967294::/last:/bin/sh
	END
	printf 'noend:x:8:8::/noend:' >>root/etc/passwd
	cat >root/etc/group <<-'END'
		users:x:1001:alice
		disk:x:6:bob,alice,carol
		audio:x:29:malice,alicex,alice
		video:x:44:alicea

		odd:x:none:alice
		tail:x:30:,alice,
	END
	as alice
	[ "$output" = "1000 1001 6 29 30 1001 /home/alice" ]
	as 1000
	[ "$output" = "1000 1001 6 29 30 1001 /home/alice" ]
	as 77 # a name first
	[ "$output" = "5000 5001 5001 /home/77" ]
	as 5002
	[ "$output" = "5002 5002 5002 /none" ]
	as homeless
	[ "$output" = "10 10 10 /none" ]
	as last
	[ "$output" = "4294967294 4294967294 4294967294 /last" ]
	as noend
	[ "$output" = "8 8 8 /noend" ]
	for who in bad big wide short 4294967295 4294967296 -1 +5 ali alice2 ''; do
		as "$who"
		assert_status 126
		[ "$stderr" = "vmrun: no user $who in the guest's /etc/passwd" ]
	done
}

# vmrun-nested-command.bats has a command that gets it
@test "a signal that no command listens for ends the machine" {
	require_kvm
	vmrun -v -k "$GUEST" -a do=talk -m 8M -- true </dev/null >out 2>err 3>&- &
	until grep -q talk err; do sleep 0.1; done
	kill -TERM $!
	status=0
	wait $! || status=$?
	[ "$status" = 143 ]
}

@test "a FIFO for a kernel or an initial RAM disk is refused, not waited for" {
	mkfifo fifo
	refused 2 timeout 5 vmrun -k fifo
	refused 125 timeout 5 vmrun -k fifo -- true
	refused 2 timeout 5 vmrun -k "$GUEST" -i fifo
	[[ $stderr == *"not a regular file"* ]]
}

@test "NBD: what the guest wrote is flushed when a signal ends the machine" {
	require_kvm
	require nbdkit
	nbdkit -f -U s eval get_size='echo 1M' pread='head -c $3 /dev/zero' pwrite='cat >/dev/null' \
		flush="sleep 0.5; touch $PWD/flushed" 3>&- &
	server=$!
	until [ -S s ]; do sleep 0.05; done
	vmrun -k "$GUEST" -a do=button:w -m 8M -f raw -d "nbd+unix:///?socket=$PWD/s" </dev/null >out 2>err 3>&- &
	until grep -q ready out; do sleep 0.05; done
	grep -qx 'status 0' out
	[ ! -e flushed ]
	kill -TERM $!
	status=0
	wait $! || status=$?
	flushed=$([ ! -e flushed ] || echo yes)
	kill $server
	wait $server || true
	[ "$flushed" = yes ] || fail "not waited for: $(cat err)"
	[ "$status" = 143 ]
}

@test "--timeout bounds a disk that does not answer too: five seconds more" {
	require_kvm
	require nbdkit
	# The guest's write hangs, the flush would
	nbdkit -f -U s eval get_size='echo 1M' pread='head -c $3 /dev/zero' pwrite='sleep 30' flush='sleep 30' 3>&- &
	server=$!
	until [ -S s ]; do sleep 0.05; done
	began=$SECONDS
	run_split timeout -k 1 40 vmrun -k "$GUEST" -a do=disk:w -m 8M -t 0.5 -f raw -d "nbd+unix:///?socket=$PWD/s" </dev/null
	took=$((SECONDS - began))
	kill -9 $server
	wait $server || true
	assert_status 10
	[[ $stderr == *"did not answer"* ]]
	[ "$took" -lt 20 ]
}

# vmrun-nested-share.bats has guests that use them
@test "folders that cannot be shared" {
	mkdir dir modules
	refused 4 vmrun -k "$GUEST" --share nothing-here
	refused 2 vmrun -k "$GUEST" --share "$GUEST"
	[[ $stderr == *"only folders are shared"* ]]
	refused 2 vmrun -k "$GUEST" --share /proc
	refused 2 vmrun -k "$GUEST" --share dir:a-tag-that-is-longer-than-the-36-bytes-there-are
	refused 2 vmrun -k "$GUEST" --share dir:one --share dir:one:ro
	[[ $stderr == *"two shares are one"* ]]
	refused 125 vmrun -k "$GUEST" --share dir:not/a/path -- true
	refused 125 vmrun -k "$GUEST" --share nothing-here -- true
	refused 125 vmrun -k "$GUEST" --copy-root -- true
	refused 125 vmrun -k "$GUEST" --root dir --copy-root --write-root -- true
	# A kernel whose modules are known, and virtiofs is not among them
	echo "kernel/drivers/virtio/virtio.ko:" >modules/modules.dep
	refused 125 vmrun -k "$GUEST" --root dir --modules modules -- true
	[[ $stderr == *"no virtiofs"*--copy-root* ]]
	for i in {1..9}; do shares+=(--share "dir:$i"); done
	refused 2 vmrun -k "$GUEST" "${shares[@]}"
	[[ $stderr == *"8 at most"* ]]
}

@test "a vsock and a balloon that cannot be" {
	refused 2 vmrun -k "$GUEST" --vsock v,cid=2
	refused 2 vmrun -k "$GUEST" --vsock v,cid=x
	refused 2 vmrun -k "$GUEST" --vsock "$(printf '%0100d' 1)"
	touch v
	refused 5 vmrun -k "$GUEST" --vsock v
	[ -f v ]
	refused 4 vmrun balloon nobody 128M
	refused 2 vmrun balloon nobody
}

@test "vmrun balloon of a machine without one; sizes that are none" {
	require_kvm
	vmrun -k "$GUEST" -a do=hang -m 8M -n balloon-test -t 60 </dev/null >out 2>err 3>&- &
	until vmrun stats balloon-test >/dev/null 2>&1; do sleep 0.1; done
	refused 9 vmrun balloon balloon-test 4M
	[[ $stderr == *"without --balloon"* ]]
	refused 2 vmrun balloon balloon-test 9M
	refused 2 vmrun balloon balloon-test 0
	refused 2 vmrun balloon balloon-test 4097
	vmrun stop --now balloon-test
	wait $! || true
}
