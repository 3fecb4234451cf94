# Locks: QEMU and we never write the same image at once, and a reader is not read past a writer.

load common

imgio=$VMKIT_TOOLS/imgio

setup() {
	common_setup
	require qemu-img qemu-io
	[ -x "$imgio" ] || skip "make tools"
	qemu-img create -q -f raw a.raw 1M
	qemu-img create -q -f qcow2 a.qcow2 1M
}

teardown() {
	release
	if [ -n "${dev:-}" ]; then
		mountpoint -q mnt && umount mnt
		losetup -d "$dev"
	fi
}

# hold CMD... - CMD in the background with an open pipe as its standard input, until release; it has opened its
# image when it answers the command on the pipe with a line
hold() {
	mkfifo .in .out
	"$@" <.in >.out 2>&1 &
	holder=$!
	exec 7>.in 8<.out
}
answer() { # answer COMMAND - give it to the holder, wait for a line
	echo "$1" >&7
	read -r -u 8 -t 20 _
}
release() {
	[ -n "${holder:-}" ] || return 0
	exec 7>&- 8<&-
	wait "$holder" || true
	holder=
	rm -f .in .out
}

# our own process that holds an image: "extents" answers with at least a line
hold_ours() { hold "$imgio" "$@"; answer extents; }
hold_qemu() { hold qemu-io "$@"; answer 'read 0 512'; }

busy() {
	run_split "$@"
	assert_status 6
}

@test "while QEMU writes an image we neither read nor write it" {
	for f in raw qcow2; do
		hold_qemu -f $f a.$f
		busy "$imgio" -f $f -r a.$f 'read 0 512'
		[[ $stderr == *qemu-io*"(pid $holder)"* ]]
		busy "$imgio" -f $f a.$f 'read 0 512'
		"$imgio" -f $f -U a.$f 'read 0 512'
		release
		"$imgio" -f $f -r a.$f 'read 0 512'
	done
}

@test "while QEMU reads a qcow2 we may read it, not write it" {
	hold_qemu -r -f qcow2 a.qcow2
	"$imgio" -r a.qcow2 'read 0 512'
	busy "$imgio" a.qcow2 'read 0 512'
	release
}

@test "while we read, QEMU may read but not write" {
	for f in raw qcow2; do
		hold_ours -f $f -r a.$f
		qemu-io -r -f $f -c 'read 0 512' a.$f
		qemu-img info a.$f
		run qemu-io -f $f -c 'write 0 512' a.$f
		[ "$status" != 0 ]
		[[ $output == *lock* ]]
		release
		qemu-io -f $f -c 'write 0 512' a.$f
	done
}

# A QEMU that reads raw shares it with writers, also with other QEMUs; not so with formats that have tables.
@test "while we write, QEMU neither writes nor reads metadata" {
	hold_ours -f raw a.raw
	run qemu-io -f raw -c 'write 0 512' a.raw
	[ "$status" != 0 ]
	[[ $output == *lock* ]]
	qemu-img info -U a.raw
	release
	hold_ours -f qcow2 a.qcow2
	run qemu-io -f qcow2 -c 'write 0 512' a.qcow2
	[ "$status" != 0 ]
	run qemu-img convert -O raw a.qcow2 b.raw
	[ "$status" != 0 ]
	qemu-img info -U a.qcow2
	release
	qemu-img check a.qcow2
}

@test "our writers exclude each other and our readers" {
	hold_ours -f raw a.raw
	busy "$imgio" -f raw a.raw 'read 0 512'
	busy "$imgio" -f raw -r a.raw 'read 0 512'
	release
	hold_ours -f raw -r a.raw
	"$imgio" -f raw -r a.raw 'read 0 512'
	busy "$imgio" -f raw a.raw 'read 0 512'
	release
}

@test "the layers below are held as well" {
	qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
	hold_ours -r top.qcow2
	run qemu-io -c 'write 0 512' a.qcow2
	[ "$status" != 0 ]
	release
	hold_qemu -f qcow2 a.qcow2
	busy "$imgio" -r top.qcow2 'read 0 512'
	[[ $stderr == *a.qcow2* ]]
	release
}

@test "a killed holder leaves no lock" {
	hold_ours -f raw a.raw
	pid=$(pgrep -P "$holder" || echo "$holder")
	kill -9 "$pid"
	wait "$holder" || true
	release
	"$imgio" -f raw a.raw 'read 0 512'
}

@test "a block device in use is refused, a free one is written" {
	require_root
	require losetup mke2fs
	truncate -s 8M disk
	dev=$(losetup --show -f disk) || skip "no loop devices"
	"$imgio" -f raw "$dev" 'write 1M 64k 7' 'zero 1060864 4096' 'read 1060864 4096 0' flush
	"$imgio" -f raw -r "$dev" 'read 1M 4096 7'
	run "$imgio" -f raw "$dev" 'resize 16M'
	[ "$status" = 9 ]
	mke2fs -q -F "$dev"
	mkdir mnt
	mount "$dev" mnt || skip "may not mount"
	busy "$imgio" -f raw "$dev" 'read 0 512'
	[[ $stderr == *"mounted or in use"* ]]
}
