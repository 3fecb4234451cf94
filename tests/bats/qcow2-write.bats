# What random writing does to the file: sizes, header marks, space given back.

load common

setup() {
	common_setup
	require qemu-img qemu-io jq
	imgio=$VMKIT_TOOLS/imgio
	[ -x "$imgio" ] || skip "build it: make tools"
}

allocated() { echo $(($(stat -c '%b * %B' "$1"))); }

@test "qcow2 resize: growing reads as zero, shrinking gives the space back" {
	for o in cluster_size=512 compat=0.10 extended_l2=on lazy_refcounts=on; do
		rm -f a.qcow2
		qemu-img create -q -f qcow2 -o $o a.qcow2 1M
		"$imgio" a.qcow2 "write 0 1M 7" "resize 300M" "read 1M 50M 0" "write 200M 5M 9" flush
		qemu-img check -q a.qcow2
		qemu-io -r -c "read -P 7 0 1M" -c "read -P 9 200M 5M" -c "read -P 0 1M 100M" a.qcow2 >out
		refute grep -i failed out
		"$imgio" a.qcow2 "resize 1000448"
		qemu-img check -q a.qcow2
		[ "$(allocated a.qcow2)" -lt 4000000 ]
		"$imgio" a.qcow2 "resize 2M" "read 1000448 48128 0" "read 0 1000448 7"
		qemu-img check -q a.qcow2
	done
}

@test "qcow2 resize: growing does not show what a longer backing file holds" {
	qemu-img create -q -f qcow2 b.qcow2 4M
	qemu-io -c "write -P 5 0 4M" b.qcow2 >out
	for compat in 0.10 1.1; do
		rm -f a.qcow2
		qemu-img create -q -f qcow2 -o compat=$compat -b b.qcow2 -F qcow2 a.qcow2 1048064
		"$imgio" a.qcow2 "resize 8M" "read 0 1048064 5" "read 1048064 7M 0"
		qemu-img check -q a.qcow2
		qemu-io -r -c "read -P 0 1048064 6M" a.qcow2 >out
		refute grep -i failed out
	done
}

@test "qcow2 resize: version 2 with snapshots is refused" {
	qemu-img create -q -f qcow2 -o compat=0.10 a.qcow2 1M
	qemu-img snapshot -c one a.qcow2
	run "$imgio" a.qcow2 "resize 2M"
	assert_failure
	assert_output --partial "internal snapshots"
}

@test "qcow2 refcount table grows" {
	for bits in 1 16 64; do
		rm -f a.qcow2
		qemu-img create -q -f qcow2 -o cluster_size=512,refcount_bits=$bits a.qcow2 40M
		"$imgio" a.qcow2 "write 0 30M 3" flush "read 0 30M 3" "read 30M 10M 0"
		qemu-img check -q a.qcow2
	done
}

@test "qcow2 bitmaps are marked stale before the first write" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	qemu-img bitmap --add a.qcow2 b
	"$imgio" a.qcow2 flush
	[ "$(od -An -tu1 -j95 -N1 a.qcow2)" -eq 1 ]
	"$imgio" a.qcow2 "write 0 512 1"
	[ "$(od -An -tu1 -j95 -N1 a.qcow2)" -eq 0 ]
}

@test "qcow2 lazy refcounts: dirty while open, clean after" {
	qemu-img create -q -f qcow2 -o lazy_refcounts=on a.qcow2 1M
	coproc IO { "$imgio" a.qcow2; }
	printf '%s\n' "write 0 64k 1" flush >&"${IO[1]}"
	for _ in {1..1200}; do
		[ "$(od -An -tu1 -j79 -N1 a.qcow2)" -eq 1 ] && break
		sleep 0.05
	done
	[ "$(od -An -tu1 -j79 -N1 a.qcow2)" -eq 1 ]
	eval "exec ${IO[1]}>&-"
	wait "$IO_PID"
	[ "$(od -An -tu1 -j79 -N1 a.qcow2)" -eq 0 ]
	qemu-img check -q a.qcow2
}

@test "qcow2 discard and unmapping give space back" {
	qemu-img create -q -f qcow2 a.qcow2 32M
	"$imgio" a.qcow2 "write 0 32M 3" flush
	"$imgio" a.qcow2 "discard 0 16M" "unmap 16M 8M" flush "read 16M 8M 0" "read 24M 8M 3"
	qemu-img check -q a.qcow2
	[ "$(allocated a.qcow2)" -lt $((10 << 20)) ]
}

@test "qcow2 write_zeroes keeps what may not be unmapped" {
	qemu-img create -q -f qcow2 a.qcow2 4M
	"$imgio" a.qcow2 "write 0 4M 3" flush
	"$imgio" a.qcow2 "zero 0 4M" "read 0 4M 0" flush
	[ "$(allocated a.qcow2)" -ge $((4 << 20)) ]
	"$imgio" a.qcow2 "write 65000 1000 9" "read 0 65000 0" "read 65000 1000 9" "read 66000 1M 0"
	qemu-img check -q a.qcow2
}

@test "qcow2 writing refuses to reuse what is in use" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	# the refcount block says that nothing is in use
	dd if=/dev/zero of=a.qcow2 bs=1 seek=$((2 * 65536)) count=64 conv=notrunc status=none
	cp a.qcow2 before
	run "$imgio" a.qcow2 "write 0 512 1"
	assert_failure
	assert_output --partial "refcount 0"
	cmp a.qcow2 before
}
