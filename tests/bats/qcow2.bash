# What the qcow2-*.bats files share: looking into an image and damaging it at known places.

# be64 FILE OFFSET, be32 FILE OFFSET - an integer of the file, decimal
be64() { echo $((0x$(od -An -v -tx1 -j "$(($2))" -N 8 "$1" | tr -d ' \n'))); }
be32() { echo $((0x$(od -An -v -tx1 -j "$(($2))" -N 4 "$1" | tr -d ' \n'))); }

# poke64 FILE OFFSET VALUE, poke32, poke16 - overwrite one
poke64() { patch_bytes "$1" "$2" "$(printf %016x "$3")"; }
poke32() { patch_bytes "$1" "$2" "$(printf %08x "$3")"; }
poke16() { patch_bytes "$1" "$2" "$(printf %04x "$3")"; }

COPIED=$((1 << 63))
MASK=$((0x00fffffffffffe00))

# Where the structures of an image are
l1_at() { be64 "$1" 40; }
l2_at() { echo $(($(be64 "$1" "$(l1_at "$1")") & MASK)); }
reftable_at() { be64 "$1" 48; }
refblock_at() { be64 "$1" "$(reftable_at "$1")"; }

# set_refcount FILE HOST_OFFSET VALUE - 16 bit refcounts, 64 KiB clusters
set_refcount() { poke16 "$1" "$(($(refblock_at "$1") + 2 * ($2 / 65536)))" "$3"; }

# luks_qcow2 FILE SIZE - an encrypted image with the passphrase "abc"; qemu-img measures its processor for the iterations and
# gives up where it got no time ("Unable to get accurate CPU usage")
luks_qcow2() {
	local _
	for _ in {1..20}; do
		qemu-img create -q -f qcow2 --object secret,id=s,data=abc \
			-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 "$1" "$2" 2>luks.log && return
	done
	fail "$(cat luks.log)"
}

# same_verdict FILE - vmimg check and qemu-img check count the same corruptions and leaks
same_verdict() {
	local ours theirs
	ours=$(vmimg check --json "$1" 2>/dev/null | jq -r '"\(.corruptions) corruptions \(.leaks) leaks"')
	theirs=$(qemu-img check --output=json "$1" 2>/dev/null |
		jq -r '"\(.corruptions // 0) corruptions \(.leaks // 0) leaks"')
	[ "$ours" = "$theirs" ] || fail "$1: vmimg: $ours; qemu-img: $theirs
$(vmimg check "$1" 2>&1 | head -20)
$(qemu-img check "$1" 2>&1 | head -20)"
	verdict=$ours
}

# same_content FILE [SNAPSHOT] - what we read is what qemu-img converts
same_content() {
	local ours theirs
	rm -f .ours .theirs
	vmimg convert ${2:+--snapshot "$2"} -O raw "$1" .ours || fail "vmimg cannot read $1 ${2:-}"
	qemu-img convert -f qcow2 -O raw ${2:+-l snapshot.name="$2"} "$1" .theirs || fail "qemu-img cannot read $1"
	cmp .ours .theirs || fail "$1 ${2:-}: content differs"
	ours=$(vmimg digest "$1" ${2:+--snapshot "$2"} | cut -d' ' -f1)
	theirs=$(sha256 .theirs)
	[ "$ours" = "$theirs" ] || fail "$1 ${2:-}: digest $ours instead of $theirs"
	rm -f .ours .theirs
}
