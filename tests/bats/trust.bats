# What an image may make us open: nothing outside its folder that the caller did not allow.
# tests/tools/imgio stands for every program: they open images through the same library call.

load common

imgio=$VMKIT_TOOLS/imgio

setup() {
	common_setup
	require qemu-img
	[ -x "$imgio" ] || skip "make tools"
	mkdir dir dir/sub outside
	printf 'secret%058d' 0 >outside/secret
	truncate -s 1M outside/secret dir/base.raw
	printf base | dd of=dir/base.raw conv=notrunc status=none
	cp dir/base.raw dir/sub/below.raw
}

# overlay NAME [FORMAT] - dir/o.qcow2 that names NAME, whatever it is
overlay() {
	rm -f dir/o.qcow2
	qemu-img create -q -u -f qcow2 -b "$1" -F "${2:-raw}" dir/o.qcow2 1M
	[ -n "${2:-}" ] || unstated
}

# QEMU no longer makes images that do not state the format of their backing file, but they are about: the type of
# that header extension becomes one that nobody knows.
unstated() {
	local at
	at=$(LC_ALL=C grep -abPo '\xe2\x79\x2a\xca' dir/o.qcow2 | head -1 | cut -d: -f1)
	printf 'none' | dd of=dir/o.qcow2 bs=1 seek="$at" conv=notrunc status=none
}

reads() { # reads STRING [ARG...] - the disk begins with STRING
	local text=$1 i cmds=()
	shift
	for ((i = 0; i < ${#text}; i++)); do
		cmds+=("read $i 1 $(printf %d "'${text:i:1}")")
	done
	"$imgio" -r "$@" dir/o.qcow2 "${cmds[@]}"
}

denied() { # denied [ARG...] - status 12, and not a byte of the secret
	run_split "$imgio" -r "$@" dir/o.qcow2 'read 0 6'
	assert_status 12
	[[ $stderr != *secret0* ]]
}

@test "a backing file beside the image or below its folder is read" {
	overlay base.raw raw
	reads base
	overlay ./base.raw raw
	reads base
	overlay file:base.raw raw
	reads base
	overlay sub/below.raw raw
	reads base
	overlay "$PWD/dir/base.raw" raw
	reads base
	cd dir
	run "$imgio" -r o.qcow2 'read 0 1 98'
	assert_success
}

@test "names that lead out of the folder are denied, with a hint" {
	overlay ../outside/secret raw
	denied
	[[ $stderr == *"hint: "*"--allow-backing "*"/outside"* ]]
	overlay "$PWD/outside/secret" raw
	denied
	overlay sub/../../outside/secret raw
	denied
	ln -s ../outside/secret dir/link
	overlay link raw
	denied
	ln -s ../outside dir/away
	overlay away/secret raw
	denied
}

@test "an allowed folder opens that folder only" {
	overlay ../outside/secret raw
	reads secret -a outside
	reads secret -a "$PWD"
	mkdir other outsider
	denied -a other
	denied -a outsider
	denied -a outside/nothere
	denied -a outside/secret
}

@test "names outside do not tell whether a file exists" {
	overlay ../outside/nothere raw
	denied
	overlay ../nodir/nothere raw
	denied
	overlay nothere raw
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 4
}

@test "devices, fifos, folders and names with a scheme are refused" {
	overlay /dev/zero raw
	denied -a /dev
	mkfifo dir/fifo
	overlay fifo raw
	run timeout 5 "$imgio" -r dir/o.qcow2 'read 0 6'
	[ "$status" = 12 ]
	overlay sub raw
	denied
	for name in 'json:{"driver":"file","filename":"base.raw"}' nbd://localhost/x nbd:unix:/tmp/x \
		host_device:/dev/vda fuse:x file:json:x; do
		# qemu-img will not write all of these, so the name is put over one of the same length
		local dummy=${name//?/x}
		overlay "$dummy" raw
		local at
		at=$(LC_ALL=C grep -abo "$dummy" dir/o.qcow2 | tail -1 | cut -d: -f1)
		printf %s "$name" | dd of=dir/o.qcow2 bs=1 seek="$at" conv=notrunc status=none
		denied -a / -a "$PWD"
	done
}

@test "an image reached by a link may name files beside the link and beside itself" {
	mkdir links
	overlay base.raw raw
	ln -s ../dir/o.qcow2 links/o
	run "$imgio" -r links/o 'read 0 1'
	[ "$status" = 4 ] # as QEMU: relative to the link's folder
	ln -s ../dir/base.raw links/base.raw
	"$imgio" -r links/o 'read 0 1 98'
}

@test "a chain is confined at each step" {
	qemu-img create -q -f qcow2 -b "$PWD/outside/secret" -F raw outside/mid.qcow2
	mv outside/mid.qcow2 dir/mid.qcow2
	overlay mid.qcow2 qcow2
	denied
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	[[ $stderr == *"mid.qcow2"* ]]
}

@test "a backing file that looks raw must be stated to be raw" {
	overlay base.raw
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 9
	[[ $stderr == *"hint: "*"-F raw"* ]]
}

@test "a guessed layer may be qcow2 but may not name files" {
	qemu-img create -q -f qcow2 dir/mid.qcow2 1M
	qemu-io -c 'write -P 7 0 4k' dir/mid.qcow2 >/dev/null
	overlay mid.qcow2
	"$imgio" -r dir/o.qcow2 'read 0 4k 7'
	# a guest may write such a header into its raw disk
	qemu-img create -q -f qcow2 -b base.raw -F raw dir/mid.qcow2
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 9
	[[ $stderr == *"guessed"* ]]
	qemu-img rebase -u -F qcow2 -b mid.qcow2 dir/o.qcow2
	"$imgio" -r dir/o.qcow2 'read 0 1 98'
}

@test "data files are confined as backing files are" {
	qemu-img create -q -f qcow2 -o data_file=dir/d.raw dir/o.qcow2 1M
	# stored as given: relative to the image's folder it is dir/dir/d.raw, for QEMU as for us
	mkdir dir/dir && mv dir/d.raw dir/dir/
	"$imgio" -r dir/o.qcow2 'read 0 4k 0'
	rm -r dir/dir dir/o.qcow2
	qemu-img create -q -f qcow2 -o data_file="$PWD/outside/d.raw" dir/o.qcow2 1M
	denied
	"$imgio" -r -a outside dir/o.qcow2 'read 0 4k 0'
}

@test "loops and chains without end are corrupt" {
	qemu-img create -q -u -f qcow2 -b b.qcow2 -F qcow2 dir/o.qcow2 1M
	qemu-img create -q -u -f qcow2 -b o.qcow2 -F qcow2 dir/b.qcow2 1M
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 8
	[[ $stderr == *loop* ]]
	qemu-img create -q -u -f qcow2 -b o.qcow2 -F qcow2 dir/o.qcow2 1M
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 8
	ln dir/b.qcow2 dir/hard.qcow2 # another name of the same file
	qemu-img create -q -u -f qcow2 -b hard.qcow2 -F qcow2 dir/b.qcow2 1M
	run_split "$imgio" -r dir/b.qcow2 'read 0 6'
	assert_status 8

	qemu-img create -q -f qcow2 dir/c0.qcow2 1M
	local i
	for i in {1..256}; do
		qemu-img create -q -u -f qcow2 -b "c$((i - 1)).qcow2" -F qcow2 "dir/c$i.qcow2" 1M
	done
	run_split "$imgio" -r dir/c256.qcow2 'read 0 6'
	assert_status 8
	[[ $stderr == *256* ]]
	"$imgio" -r dir/c255.qcow2 'read 0 4k 0'
}

@test "an image on standard input names nothing, unless a folder is allowed" {
	overlay "$PWD/dir/base.raw" raw
	run_split "$imgio" -r - 'read 0 1' <dir/o.qcow2
	assert_status 12
	"$imgio" -r -a dir - 'read 0 1 98' <dir/o.qcow2
	"$imgio" -r -a dir - 'read 0 1 98' < <(cat dir/o.qcow2)
}

@test "terminal controls of a name in a header are not printed" {
	overlay xxxx raw
	local at
	at=$(LC_ALL=C grep -abo xxxx dir/o.qcow2 | tail -1 | cut -d: -f1)
	printf '\033[2J' | dd of=dir/o.qcow2 bs=1 seek="$at" conv=notrunc status=none
	run_split "$imgio" -r dir/o.qcow2 'read 0 6'
	assert_status 4
	[[ $stderr != *$'\033'* ]]
}

@test "nothing is written to what is opened for reading" {
	overlay base.raw raw
	cp dir/o.qcow2 o.before
	cp dir/base.raw base.before
	local before after
	before=$(stat -c '%Y %Z %s' dir/o.qcow2 dir/base.raw)
	"$imgio" -r dir/o.qcow2 sum >/dev/null
	after=$(stat -c '%Y %Z %s' dir/o.qcow2 dir/base.raw)
	[ "$before" = "$after" ]
	cmp o.before dir/o.qcow2
	cmp base.before dir/base.raw
}
