# NBD, both ways: exports read and written through libnbd, images served by nbdkit with our plugin. nbdinfo, nbdcopy,
# nbdkit's own plugins, qemu-io and qemu-nbd are the other side.

load common

imgio=$VMKIT_TOOLS/imgio

setup_file() { random_image "$BATS_FILE_TMPDIR/disk.raw" 5242880 7 30; }

setup() {
	common_setup
	require qemu-img qemu-io qemu-nbd nbdkit nbdinfo nbdcopy
	cp --sparse=always "$BATS_FILE_TMPDIR/disk.raw" disk.raw
	pids=()
	# The plugin of a build with sanitizers wants their runtime before all else.
	runtime=
	if sanitized; then
		runtime=$(ldd "$VMKIT_BIN/vmimg" | awk '/lib[at]san/ { print $3 }')
	fi
}

teardown() {
	local pid
	for pid in "${pids[@]}"; do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}

# until_true CMD... - for 20 seconds at most
until_true() {
	local i
	for ((i = 0; i < 1200; i++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	fail "waited in vain for: $*"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# serving SOCKET CMD... - in the background, until it answers; its pid is $server
serving() {
	local sock=$1
	shift
	"$@" 3>&- &
	server=$!
	pids+=("$server")
	until_true test -S "$sock"
}

# foreign ARGS... - nbdkit on the socket s
foreign() {
	rm -f s
	serving s nbdkit -f -U s "$@"
	uri="nbd+unix:///?socket=$PWD/s"
}

# serve ARGS... - as a test runs it: with the sanitizers' runtime, where there is one
serve() {
	ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS LD_PRELOAD=$runtime vmimg serve "$@"
}
# Becomes the server, so that its pid is the shell's.
serve_exec() {
	export ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS LD_PRELOAD=$runtime
	exec vmimg serve "$@"
}

# ours ARGS... - vmimg serve on the socket o
ours() {
	serving o serve_exec --socket o "$@"
	uri="nbd+unix:///?socket=$PWD/o"
}

# ---- reading

@test "an export is the disk it shows" {
	foreign file disk.raw
	vmimg compare -s "$uri" disk.raw
	[ "$(vmimg digest "$uri" | cut -d' ' -f1)" = "$(sha256 disk.raw)" ]
	vmimg convert "$uri" copy.qcow2
	assert_same_disk disk.raw copy.qcow2
	run vmimg info --json "$uri"
	assert_schema vmimg-info
	[ "$(json .virtual_size)" = 5242880 ]
	[ "$(json .format)" = raw ]
}

@test "what the server calls a hole is one, and is not read" {
	truncate -s 64M big.raw
	printf x | dd of=big.raw bs=1 seek=40000000 conv=notrunc status=none
	foreign --filter=log file big.raw logfile=log
	run vmimg map --json "$uri"
	assert_schema vmimg-map
	run jq -c '[.[] | [.offset, .length, .kind]]' <<<"$output"
	nbdinfo --map --json "$uri" >theirs
	[ "$output" = "$(jq -c '[.[] | [.offset, .length, if .type == 0 then "data" else "zero" end]]' theirs)" ]
	vmimg digest "$uri"
	[ "$(grep -c ' Read id=' log)" -le 2 ]
}

@test "qemu-nbd serves us, over one connection too" {
	qemu-img convert -O qcow2 disk.raw disk.qcow2
	for shared in 1 5; do
		serving "s$shared" qemu-nbd -r -t -e $shared -f qcow2 -x vda -k "$PWD/s$shared" disk.qcow2
		until_true vmimg info "nbd+unix:///vda?socket=$PWD/s$shared"
		vmimg compare -s "nbd+unix:///vda?socket=$PWD/s$shared" disk.raw
	done
}

@test "sizes that are no multiple of a sector, down to one byte" {
	for size in 0 1 513 70001; do
		head -c $size disk.raw >odd.raw
		foreign file odd.raw
		vmimg compare -s "$uri" odd.raw
		vmimg convert -O raw "$uri" - | cmp - odd.raw
		kill "$server"
		wait "$server" || true
	done
}

@test "several connections, with requests in flight on each" {
	random_bytes 3 8388608 >dense.raw
	foreign --filter=log --filter=delay file dense.raw logfile=log rdelay=30ms
	vmimg compare --threads 4 "$uri" dense.raw
	[ "$(grep -c ' Connect ' log)" -ge 2 ]
	# A second read of a connection begins before its first has ended.
	awk '/ Read / && /connection=1/ { if (/\.\.\.Read/) n--; else if (++n > m) m = n } END { exit m < 2 }' log
}

@test "blocks of 4096 bytes and requests of 64 KiB, because the server says so" {
	foreign --filter=blocksize-policy file disk.raw blocksize-minimum=4096 blocksize-maximum=64K \
		blocksize-preferred=4096 blocksize-error-policy=error
	vmimg compare -s "$uri" disk.raw
	[ -x "$imgio" ] || skip "make tools"
	cp disk.raw mirror.raw
	"$imgio" "$uri" 'random 5 300 1' flush sum >ours
	"$imgio" -f raw mirror.raw 'random 5 300 1' flush sum >theirs
	cmp ours theirs
	cmp disk.raw mirror.raw
}

@test "an export is raw unless -f says what it holds; what that names is not followed" {
	qemu-img convert -O qcow2 disk.raw disk.qcow2
	foreign file disk.qcow2
	run vmimg info --json "$uri"
	[ "$(json .format)" = raw ]
	vmimg compare -f qcow2 "$uri" disk.raw
	kill "$server"
	wait "$server" || true
	qemu-img create -q -f qcow2 -b disk.raw -F raw over.qcow2
	foreign file over.qcow2
	refused 12 vmimg compare -f qcow2 "$uri" disk.raw
}

@test "no header leads to a server" {
	foreign file disk.raw
	qemu-img create -q -u -f qcow2 -F raw -b "$uri" evil.qcow2 5M
	refused 12 vmimg convert evil.qcow2 out.raw
	assert_file_not_exist out.raw
}

@test "a backup of an export" {
	foreign file disk.raw
	export VMKIT_REPOSITORY=$PWD/repo
	vmbackup init --no-encryption
	vmbackup backup --vm web "$uri"
	vmbackup restore web@latest out.raw
	cmp disk.raw out.raw
}

# ---- writing

@test "convert writes to an export only with --force, and all of it" {
	random_bytes 9 6291456 >target.raw
	foreign file target.raw
	refused 5 vmimg convert disk.raw "$uri"
	random_bytes 9 6291456 | cmp - target.raw
	vmimg convert --force disk.raw "$uri"
	cmp -n 5242880 disk.raw target.raw
	truncate -s 6M disk.raw
	vmimg convert --force --verify disk.raw "$uri"
	cmp disk.raw target.raw
	vmimg convert --force -O qcow2 disk.raw "$uri"
	qemu-img compare -f raw -F qcow2 disk.raw target.raw
	refused 2 vmimg convert --force -f qcow2 "$uri" "$uri"
}

@test "an export that is too small, or for reading only, or full" {
	truncate -s 1M target.raw
	foreign file target.raw
	refused 13 vmimg convert --force disk.raw "$uri"
	kill "$server"
	wait "$server" || true
	foreign -r file disk.raw
	refused 12 vmimg convert --force target.raw "$uri"
	kill "$server"
	wait "$server" || true
	truncate -s 5M target.raw
	foreign --filter=error file target.raw error-pwrite=ENOSPC error-pwrite-rate=1
	refused 13 vmimg convert --force disk.raw "$uri"
}

@test "a pipe into an export" {
	truncate -s 5M target.raw
	foreign file target.raw
	cat disk.raw | vmimg convert --force -f raw - "$uri"
	cmp disk.raw target.raw
}

# ---- what goes wrong

@test "names that are none" {
	for bad in nbd:// nbd:///x nbd://host:0/ nbd://host:70000/ nbd://host:x/ 'nbd://[::1/' nbd://me@host/ \
		nbd+unix:///x nbd+unix://host/x?socket=s 'nbd+unix:///x?socket=' 'nbd+unix:///%zz?socket=s' \
		'nbd+unix:///x?tls=1' 'nbd://host/x?socket=s' 'nbd+unix:///x%00?socket=s' "nbd+unix:///?socket=$(printf %0200d 0)"; do
		refused 2 vmimg info "$bad"
	done
	refused 9 vmimg info nbds://host/
}

@test "nobody there, no such export, a server that says nothing" {
	refused 7 vmimg info "nbd+unix:///?socket=$PWD/none"
	refused 7 vmimg info nbd://127.0.0.1:1/
	serving s qemu-nbd -r -t -f raw -x vda -k "$PWD/s" disk.raw
	until_true vmimg info "nbd+unix:///vda?socket=$PWD/s"
	refused 4 vmimg info "nbd+unix:///vdb?socket=$PWD/s"
	[[ $stderr == *vdb* ]]
	serving mute python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX); s.bind("mute"); s.listen(); time.sleep(60)'
	VMKIT_NBD_TIMEOUT=1 refused 7 vmimg info "nbd+unix:///?socket=$PWD/mute"
	[[ $stderr == *"no answer"* ]]
}

@test "the server's errors are told; a server that is killed is no connection" {
	foreign --filter=error file disk.raw error-pread=EIO error-pread-rate=1
	refused 1 vmimg digest "$uri"
	[[ $stderr == *"Input/output error"* ]]
	kill "$server"
	wait "$server" || true
	foreign --filter=log --filter=delay file disk.raw rdelay=10 logfile=log
	vmimg convert -O raw "$uri" out.raw 2>said &
	reader=$!
	until_true grep -q ' Read ' log
	kill -9 "$server"
	code=0
	wait $reader || code=$?
	[ $code = 7 ]
	grep -q connection said
	assert_file_not_exist out.raw
	assert_clean
}

@test "a signal ends a reader that waits" {
	foreign --filter=log --filter=delay file disk.raw rdelay=60 logfile=log
	vmimg convert -O raw "$uri" out.raw &
	reader=$!
	pids+=("$reader")
	until_true grep -q ' Read ' log
	kill -TERM $reader
	code=0
	wait $reader || code=$?
	[ $code = 143 ]
	assert_file_not_exist out.raw
	assert_clean
}

# ---- serving

plugin() { [ -e "$VMKIT_BIN/../libexec/vmkit/nbdkit-vmimg-plugin.so" ] || skip "no plugin: nbdkit-plugin-dev"; }

@test "serve: every format shows its disk, with its holes" {
	plugin
	for format in raw qcow2 vhd vdi; do
		vmimg convert -O $format disk.raw "disk.$format.img"
		serve -f $format "disk.$format.img" -- nbdcopy '$uri' copy.raw
		head -c 5242880 copy.raw | cmp - disk.raw
		# nothing that a hole covers holds data
		serve "disk.$format.img" -- nbdinfo --map --json '$uri' >map
		[ "$(jq '[.[].length] | add' map)" = "$(stat -c %s copy.raw)" ]
		jq -r '.[] | select(.type != 0) | "\(.offset) \(.length)"' map >holes
		[ -s holes ] || [ $format = vdi ] # its blocks are large
		while read -r off len; do
			cmp -n "$len" -i "$off:0" copy.raw /dev/zero
		done <holes
	done
}

@test "serve: a chain, an internal snapshot, a disk of a backup, another export" {
	plugin
	qemu-img create -q -f qcow2 -b disk.raw -F raw top.qcow2
	qemu-img snapshot -c before top.qcow2
	qemu-io -c 'write -P 7 64k 200k' top.qcow2 >/dev/null
	vmimg convert top.qcow2 flat.raw
	serve top.qcow2 -- nbdcopy '$uri' copy.raw
	cmp flat.raw copy.raw
	serve --snapshot before top.qcow2 -- nbdcopy '$uri' copy.raw
	cmp disk.raw copy.raw
	printf secret >key
	export VMKIT_REPOSITORY=$PWD/repo VMKIT_PASSWORD_FILE=$PWD/key
	vmbackup init
	vmbackup backup --vm web disk.raw
	serve repo:repo#web@latest -- nbdcopy '$uri' copy.raw
	cmp disk.raw copy.raw
	foreign file disk.raw
	serve "$uri" -- nbdcopy '$uri' copy.raw
	cmp disk.raw copy.raw
}

@test "serve: read only unless asked; --writable writes, zeroes and trims; the lock is held" {
	plugin
	qemu-img convert -O qcow2 disk.raw disk.qcow2
	cp disk.raw mirror.raw
	ours disk.qcow2
	nbdinfo --is read-only "$uri"
	nbdinfo --can multi-conn "$uri"
	refused 6 vmimg resize disk.qcow2 10M
	kill "$server"
	wait "$server"
	ours --writable disk.qcow2
	run ! nbdinfo --is read-only "$uri"
	for f in "$uri" mirror.raw; do
		qemu-io -f raw -c 'write -P 1 1000 70000' -c 'write -z 200000 100000' -c 'write -z -u 1M 1M' \
			-c 'write -P 2 4M 1M' -c flush "$f" >/dev/null
	done
	qemu-io -f raw -c 'discard 3M 64k' "$uri"
	refused 6 vmimg info disk.qcow2
	kill "$server"
	wait "$server"
	dd if=/dev/zero of=mirror.raw bs=64k seek=48 count=1 conv=notrunc status=none
	assert_qemu_clean disk.qcow2
	assert_same_disk mirror.raw disk.qcow2
}

@test "serve: many random writes over several connections" {
	plugin
	[ -x "$imgio" ] || skip "make tools"
	truncate -s 3M a.raw b.raw
	qemu-img create -q -f qcow2 a.qcow2 3M
	ours --writable a.qcow2
	"$imgio" "$uri" 'random 11 400 512' flush >/dev/null
	"$imgio" -f raw b.raw 'random 11 400 512' flush >/dev/null
	vmimg compare "$uri" b.raw
	kill "$server"
	wait "$server"
	assert_qemu_clean a.qcow2
	vmimg compare a.qcow2 b.raw
}

# nbdkit with its cow filter waits for ever when the sanitizer is preloaded into it
# bats test_tags=release
@test "serve --cow: clients write, the image stays as it is" {
	plugin
	qemu-img convert -O qcow2 disk.raw disk.qcow2
	sum=$(sha256 disk.qcow2)
	serve --cow disk.qcow2 -- sh -c 'qemu-io -f raw -c "write -P 3 0 1M" "$uri" && nbdcopy "$uri" copy.raw'
	[ "$(sha256 disk.qcow2)" = "$sum" ]
	cmp -n 1048576 <(head -c 1M /dev/zero | tr '\0' '\3') copy.raw
	cmp -i 1048576 disk.raw copy.raw
	assert_clean
	for pair in '--cow --writable' '--socket a --port 9'; do
		# shellcheck disable=SC2086 # two words
		refused 2 vmimg serve $pair disk.raw
	done
}

@test "serve: the export's name" {
	plugin
	ours --name vda disk.raw
	[ "$(nbdinfo --size "nbd+unix:///vda?socket=$PWD/o")" = 5242880 ]
	nbdinfo --list "$uri" | grep -q '"vda"'
	run ! nbdinfo "nbd+unix:///vdb?socket=$PWD/o"
	refused 4 vmimg info "nbd+unix:///vdb?socket=$PWD/o"
	vmimg compare "nbd+unix:///vda?socket=$PWD/o" disk.raw
}

@test "serve: a command's status and its \$uri" {
	plugin
	run -7 serve disk.raw -- sh -c 'exit 7'
	run -0 serve disk.raw -- printf '%s|%s' '$uri' "it's \$uri"
	[[ $output == "nbd+unix://"*"|it's \$uri" ]]
	refused 2 vmimg serve disk.raw
	refused 2 vmimg serve --once disk.raw -- true
	refused 4 vmimg serve none.raw -- true
	refused 2 vmimg serve - -- true
	assert_clean
}

@test "serve: a signal ends it and removes the socket; a socket left behind is replaced" {
	plugin
	for signal in TERM INT HUP; do
		ours disk.raw
		until_true nbdinfo "$uri"
		[ $signal = INT ] && signal=TERM # ignored by what a shell starts in the background
		kill -$signal "$server"
		wait "$server" || true
		assert_not_exists o
	done
	ours disk.raw
	refused 6 vmimg serve --socket o disk.raw
	kill -9 "$server"
	wait "$server" || true
	test -S o
	ours disk.raw
	until_true nbdinfo "$uri"
	touch file
	refused 5 vmimg serve --socket file disk.raw
}

@test "serve: a killed client does no harm" {
	plugin
	truncate -s 3G big.raw
	ours big.raw
	until_true nbdinfo "$uri"
	nbdcopy --allocated "$uri" null: &
	client=$!
	sleep 0.1
	kill -9 $client 2>/dev/null || true
	wait $client || true
	nbdinfo "$uri"
}

# nbdkit itself leaks some bytes when it ends so
# bats test_tags=release
@test "serve: --once, --timeout and --exit-with-parent end it" {
	plugin
	ours --once disk.raw
	until_true nbdinfo "$uri"
	until_true gone "$server"
	wait "$server"
	assert_not_exists o
	ours --timeout 300ms disk.raw
	until_true gone "$server"
	wait "$server"
	sh -c 'vmimg serve --exit-with-parent --socket o disk.raw 3>&- & echo $! >pid; while ! test -S o; do sleep 0.05; done' &
	LD_PRELOAD='' wait $!
	until_true gone "$(cat pid)"
}

@test "serve: TCP is for this host alone" {
	plugin
	port=$((20000 + BASHPID % 20000))
	serve_exec --port $port disk.raw 3>&- &
	pids+=($!)
	until_true nbdinfo "nbd://127.0.0.1:$port/"
	vmimg compare "nbd://127.0.0.1:$port/" disk.raw
	vmimg compare "nbd://localhost:$port" disk.raw
	run ss -Hltn "sport = :$port"
	[[ $output != *"0.0.0.0:$port"* && $output != *"[::]:$port"* ]]
}
