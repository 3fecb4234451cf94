# VHDX: what we write is what qemu-img and libvhdi read, what they write is what we read, and what neither can: logs are
# bats file_tags=slow
# laid over the file without writing to it, parents are followed. Such samples come from tests/tools/vhdx.py.

SIZE=$((20 * 1048576 + 512))

setup() {
	load common
	common_setup
	require qemu-img qemu-io vhdiinfo python3 jq
}

vhdxpy() { python3 "$ROOT/tests/tools/vhdx.py" "$@" || fail "vhdx.py $*"; }

same_as() {
	vmimg compare -q "$1" "$2" || fail "$1 is not $2"
	qemu-img compare -f vhdx -F raw "$1" "$2" >.cmp || fail "qemu-img: $1 is not $2: $(cat .cmp)"
}

clean() {
	vmimg check -q "$1" || fail "$1: $(vmimg check "$1")"
}

@test "dynamic and fixed, blocks of 1 to 256 MiB: qemu-img and libvhdi read what we write; measure is exact" {
	random_image a.raw $SIZE 5 30
	for o in subformat=dynamic block_size=2M block_size=256M subformat=fixed subformat=fixed,block_size=32M \
		physical_sector_size=512; do
		vmimg convert --force -o $o a.raw a.vhdx
		same_as a.vhdx a.raw
		clean a.vhdx
		qemu-img check -q -f vhdx a.vhdx
		run vmimg info --json a.vhdx
		assert_schema vmimg-info
		[ "$(json .virtual_size)" = $SIZE ]
		[ "$(json .format)" = vhdx ]
		run vhdiinfo a.vhdx
		assert_output --partial "($SIZE bytes)"
		run vmimg measure --json --scan -O vhdx -o $o a.raw
		[ "$(json .required)" = "$(stat -c %s a.vhdx)" ]
	done
	# What it takes all of it is written in place by QEMU too
	qemu_writes a.vhdx vhdx $SIZE 4 30
	qemu-img convert -f vhdx -O raw a.vhdx b.raw
	vmimg compare -q b.raw a.vhdx
	clean a.vhdx
	assert_clean
}

@test "4096-byte sectors: libvhdi reads them, QEMU does not have them" {
	random_image a.raw 20971520 5 30
	vmimg convert -o logical_sector_size=4096 a.raw a.vhdx
	vmimg compare -q a.raw a.vhdx
	clean a.vhdx
	[ "$(vmimg info --json a.vhdx | jq .format_specific.logical_sector_size)" = 4096 ]
	run vhdiinfo a.vhdx
	assert_output --partial "Bytes per sector	: 4096"
	vmimg convert -B a.vhdx a.raw b.vhdx
	[ "$(vmimg info --json b.vhdx | jq .format_specific.logical_sector_size)" = 4096 ]
	refused 2 vmimg create -o logical_sector_size=4096,physical_sector_size=512 x.vhdx 1M
}

@test "the interleaved table: disks beyond a chunk" {
	# A chunk is 4 GiB of 512-byte sectors: entry 4096 is the first one's bitmap
	vmimg create a.vhdx 20G
	truncate -s 20G a.raw
	for at in 0 4294966784 4294967296 12884901888 21474835968; do
		printf 'x%s' "$at" | dd of=a.raw bs=1 seek="$at" conv=notrunc status=none
	done
	vmimg convert --force a.raw a.vhdx
	vmimg compare -q a.raw a.vhdx
	qemu-img convert -f vhdx -O raw a.vhdx b.raw # its compare takes a minute for such holes
	vmimg compare -q a.raw b.raw
	clean a.vhdx
	[ "$(vhdxpy bat a.vhdx 4096)" = 0x0 ]
	vmimg create big.vhdx 64T
	[ "$(vmimg info --json big.vhdx | jq .virtual_size)" = $((64 << 40)) ]
	refused 2 vmimg create bigger.vhdx 65T
	qemu-img create -q -f vhdx -o block_size=1M q.vhdx 20G
	qemu-io -f vhdx -c 'write -P 7 4294966784 1k' -c 'write -P 9 21474835968 512' q.vhdx >/dev/null
	qemu-img convert -f vhdx -O raw q.vhdx q.raw
	vmimg compare -q q.raw q.vhdx
	clean q.vhdx
}

@test "we read what qemu-img writes" {
	random_image a.raw $SIZE 6 30
	for o in subformat=dynamic subformat=fixed block_size=1M log_size=4M block_state_zero=off; do
		qemu-img convert -f raw -O vhdx -o $o a.raw q.vhdx
		vmimg compare -q a.raw q.vhdx || fail "$o"
		clean q.vhdx
	done
}

# crash OPTIONS - dirty.vhdx is new.vhdx with its last tables in the log
crash() {
	# shellcheck disable=SC2086 # options
	vhdxpy dirty old.vhdx new.vhdx dirty.vhdx $1
}

# what QEMU writes in one more session
sessions() {
	qemu-img create -q -f vhdx -o block_size=1M old.vhdx 20M
	qemu-io -f vhdx -c 'write -q -P 1 0 3M' old.vhdx
	cp old.vhdx new.vhdx
	qemu-io -f vhdx -c 'write -q -P 2 5M 3M' -c 'write -q -P 3 1M 100k' new.vhdx
}

@test "a log is laid over the file in memory for readers, written by --repair; qemu-img replays it to the same" {
	sessions
	local o
	for o in "" "--one --start 1044480" "--stale --zeros --start 1040384" "--one --cut --stale"; do
		crash "$o"
		cp dirty.vhdx kept.vhdx
		vmimg compare -q dirty.vhdx new.vhdx || fail "$o"
		[ "$(vmimg info --json dirty.vhdx | jq .format_specific.log_dirty)" = true ]
		run vmimg check dirty.vhdx
		assert_failure 8
		assert_output --partial "was not closed"
		assert_same_bytes dirty.vhdx kept.vhdx
		vmimg check -q --repair dirty.vhdx >/dev/null
		[ "$(vmimg info --json dirty.vhdx | jq .format_specific.log_dirty)" = false ]
		clean dirty.vhdx
		assert_same_disk dirty.vhdx new.vhdx vhdx vhdx
		qemu-img check -q -f vhdx -r all kept.vhdx
		assert_same_disk dirty.vhdx kept.vhdx vhdx vhdx
	done
}

@test "hostile logs: torn, cut, of another file, too long" {
	sessions
	crash ""
	local log header
	log=$(vhdxpy log dirty.vhdx)
	# the only entry is damaged: nothing to replay, the old state is whole
	cp dirty.vhdx x.vhdx
	patch_bytes x.vhdx $((log + 200)) ff
	[ "$(vmimg info --json x.vhdx | jq .format_specific.log_dirty)" = false ]
	run vmimg digest x.vhdx
	assert_success
	# the file is shorter than it was
	cp dirty.vhdx x.vhdx
	truncate -s -1M x.vhdx
	refused 8 vmimg digest x.vhdx
	[[ $stderr == *cut* ]]
	for header in 65536 131072; do vhdxpy set dirty.vhdx $((header + 68)) 00000010; done
	refused 8 vmimg digest dirty.vhdx
}

@test "differencing: blocks that are here in part, zeros over a parent's data, three layers, the parent's identity" {
	random_image a.raw $SIZE 9 30
	vmimg convert -o block_size=2M a.raw a.vhdx
	cp a.raw b.raw
	random_bytes 3 70000 | dd of=b.raw bs=512 seek=700 conv=notrunc status=none
	head -c 9000000 /dev/zero | dd of=b.raw bs=512 seek=8000 conv=notrunc status=none
	vmimg convert -B a.vhdx b.raw b.vhdx
	vmimg compare -q b.raw b.vhdx
	cp b.raw c.raw
	random_bytes 4 5000 | dd of=c.raw bs=512 seek=20000 conv=notrunc status=none
	mkdir sub
	vmimg convert -B b.vhdx c.raw c.vhdx
	vmimg compare -q c.raw c.vhdx
	for f in b c; do
		clean $f.vhdx
		run vhdiinfo $f.vhdx
		assert_output --partial Differential
	done
	run vmimg info --json --chain c.vhdx
	assert_schema vmimg-info
	[ "$(json length)" = 3 ]
	[ "$(json '.[0].format_specific.parent_linkage')" = "$(vhdxpy guid b.vhdx)" ]
	# GUIDs in capitals, as Hyper-V has them
	vhdxpy linkage c.vhdx b.vhdx
	vmimg compare -q c.raw c.vhdx
	vhdxpy linkage c.vhdx a.vhdx
	refused 8 vmimg digest c.vhdx
	[[ $stderr == *GUID* ]]
	rm b.vhdx
	refused 4 vmimg digest c.vhdx
	refused 2 vmimg create -b a.raw -F raw x.vhdx
}

@test "what is required and not known is refused; what is not required is passed over" {
	vmimg create a.vhdx 4M
	local guid=01020304-0506-0708-090a-0b0c0d0e0f10
	cp a.vhdx x.vhdx
	vhdxpy region x.vhdx $guid
	refused 9 vmimg digest x.vhdx
	[[ $stderr == *$guid* ]]
	cp a.vhdx x.vhdx
	vhdxpy item x.vhdx $guid 4
	refused 9 vmimg digest x.vhdx
	cp a.vhdx x.vhdx
	vhdxpy item x.vhdx $guid 2
	run vmimg digest x.vhdx
	assert_success
}

@test "one damaged header or region table: the other serves, and repairs it" {
	random_image a.raw $SIZE 2 10
	vmimg convert a.raw a.vhdx
	local at
	for at in 65600 131136 196700 262200; do
		cp a.vhdx x.vhdx
		patch_bytes x.vhdx $at ff
		vmimg compare -q a.raw x.vhdx || fail "$at"
		run vmimg check x.vhdx
		assert_failure 8
		assert_output --partial damaged
		vmimg check -q --repair x.vhdx >/dev/null
		clean x.vhdx
		qemu-img compare -q -f vhdx -F raw x.vhdx a.raw
	done
	patch_bytes x.vhdx 65600 ff
	patch_bytes x.vhdx 131136 ff
	refused 8 vmimg info x.vhdx
}

@test "hostile tables are refused with the offset" {
	vmimg create a.vhdx 4M
	random_image a.raw 4194304 2 10
	vmimg convert --force a.raw a.vhdx
	cp a.vhdx x.vhdx
	vhdxpy bat x.vhdx 0 0x7fffffff00006
	refused 8 vmimg digest x.vhdx
	run vmimg check x.vhdx
	assert_failure 8
	cp a.vhdx x.vhdx
	vhdxpy bat x.vhdx 0 0x100006
	run vmimg check x.vhdx
	assert_output --partial "over each other"
	for v in 0x400005 0x400004 0x400007 0x40000e; do
		vhdxpy bat x.vhdx 0 $v
		refused 8 vmimg digest x.vhdx
	done
	cp a.vhdx x.vhdx # block size 3 MiB, a disk of 1 EiB, sectors of 1024
	patch_bytes x.vhdx $((2097152 + 65536)) 00003000
	refused 8 vmimg info x.vhdx
	cp a.vhdx x.vhdx
	patch_bytes x.vhdx $((2097152 + 65544)) 0000000000000010
	refused 8 vmimg info x.vhdx
	cp a.vhdx x.vhdx
	patch_bytes x.vhdx $((2097152 + 65568)) 00040000
	refused 8 vmimg info x.vhdx
	head -c 400000 a.vhdx >x.vhdx
	refused 8 vmimg info x.vhdx
	head -c 1000 a.vhdx >x.vhdx
	refused 8 vmimg info x.vhdx
}

@test "the same bytes from the same content, whatever the threads and the source format" {
	random_image a.raw $SIZE 5 60
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	for o in subformat=dynamic subformat=fixed; do
		vmimg convert --force --threads 1 -o $o a.raw 1.vhdx
		vmimg convert --force --threads 4 -o $o a.qcow2 4.vhdx
		assert_same_bytes 1.vhdx 4.vhdx
	done
	printf x | dd of=a.raw bs=1 seek=9999999 conv=notrunc status=none
	vmimg convert --force a.raw 2.vhdx
	[ "$(vhdxpy guid 1.vhdx)" != "$(vhdxpy guid 2.vhdx)" ]
	vmimg convert -O vhdx a.raw - >p.vhdx
	assert_same_bytes 2.vhdx p.vhdx
	vmimg convert -O raw - b.raw <p.vhdx
	assert_same_bytes a.raw b.raw
}

@test "random writes: the content is the model's, qemu-img finds no fault" {
	local kind seed
	random_image p.raw 9437184 3 20
	vmimg convert -o block_size=2M p.raw p.vhdx
	for kind in fixed dynamic differencing theirs; do
		rm -f w.vhdx w.raw
		truncate -s 9437184 w.raw
		case $kind in
		differencing) vmimg create -b p.vhdx -o block_size=2M w.vhdx; cp p.raw w.raw ;;
		theirs) qemu-img create -q -f vhdx w.vhdx 9M ;;
		*) vmimg create -o subformat=$kind -o block_size=1M w.vhdx 9M ;;
		esac
		for seed in 1 2; do
			"$VMKIT_TOOLS/imgio" -f vhdx w.vhdx "random $seed 120" >.script
			grep -v flush .script | qemu-io -f raw w.raw >/dev/null
			vmimg compare -q w.raw w.vhdx || fail "$kind $seed"
			clean w.vhdx
		done
		[ "$(vmimg info --json w.vhdx | jq .format_specific.log_dirty)" = false ]
		[ $kind = differencing ] || {
			same_as w.vhdx w.raw
			qemu-img check -q w.vhdx
		}
	done
	# both write by turns
	vmimg create w2.vhdx 9M
	rm w.raw
	truncate -s 9437184 w.raw
	"$VMKIT_TOOLS/imgio" -f vhdx w2.vhdx "random 5 100" >.script
	grep -v flush .script | qemu-io -f raw w.raw >/dev/null
	for seed in 1 2 3; do
		qemu-io -f vhdx -c "write -P $seed ${seed}100k 70k" w2.vhdx >/dev/null
		qemu-io -f raw -c "write -P $seed ${seed}100k 70k" w.raw >/dev/null
		"$VMKIT_TOOLS/imgio" w2.vhdx "write 4${seed}00k 333k 9"
		qemu-io -f raw -c "write -P 9 4${seed}00k 333k" w.raw >/dev/null
	done
	same_as w2.vhdx w.raw
	clean w2.vhdx
}

@test "writing changes the identity: a child knows that its parent is another disk now" {
	vmimg create p.vhdx 9M
	vmimg create -b p.vhdx c.vhdx
	vmimg digest c.vhdx
	"$VMKIT_TOOLS/imgio" p.vhdx "read 0 4096 0" flush
	vmimg digest c.vhdx
	"$VMKIT_TOOLS/imgio" p.vhdx "write 0 512 1"
	refused 8 vmimg digest c.vhdx
	[[ $stderr == *GUID* ]]
	# two blocks in one place are not written to
	vmimg create a.vhdx 9M
	"$VMKIT_TOOLS/imgio" a.vhdx "write 0 512 1"
	patch_bytes a.vhdx $((3 << 20 | 8)) "$(dd if=a.vhdx bs=1 skip=$((3 << 20)) count=8 status=none | xxd -p)"
	cp a.vhdx b.vhdx
	run "$VMKIT_TOOLS/imgio" a.vhdx "write 0 512 1"
	[ "$status" != 0 ]
	[[ $output == *"something else lies"* ]]
	assert_same_bytes a.vhdx b.vhdx
}

# theirs_too IMAGE RAW - QEMU, which reads zeros one by one, sees the same: of a large disk the first 64 MiB and the end
theirs_too() {
	local size
	size=$(stat -c %s "$2")
	[ "$(qemu-img info --output=json "$1" | jq '."virtual-size"')" = "$size" ] || return 1
	if [ "$size" -lt $((1 << 30)) ]; then
		qemu-img compare -q -f vhdx -F raw "$1" "$2"
	else
		qemu-img dd -f vhdx -O raw bs=1M count=64 if="$1" of=.first && cmp .first <(head -c 64M "$2") &&
			qemu-io -r -f vhdx -c "read -P 0 $((size - 1048576)) 1M" "$1" >/dev/null
	fi
}

# state_of IMAGE MOST - which of s0 to sMOST it is
state_of() {
	local k size
	size=$(vmimg info --json "$1" | jq '.virtual_size')
	for ((k = $2; k >= 0; k--)); do
		[ "$size" = "$(stat -c %s s$k)" ] && vmimg compare -q "$1" s$k && echo $k && return
	done
	return 0
}

# power_cuts NAME TURNS COMMAND... - imgio's commands on NAME.vhdx (; between those of one step), each step flushed; a cut at any moment leaves one of
# the states between them, and a later one after more fsyncs. State K is the raw file sK.
power_cuts() {
	local name=$1 turns=$2 steps=$(($# - 2)) k seed fsyncs state args=() low=() high=() words
	shift 2
	for k in "$@"; do
		IFS=';' read -ra words <<<"$k"
		args+=("${words[@]}" flush)
	done
	cp "$name.vhdx" base.vhdx
	rm -rf record cuts
	RECORD_PATH=/$name.vhdx RECORD_TO=$PWD/record LD_PRELOAD=$(preload record.so) "$VMKIT_TOOLS/imgio" "$name.vhdx" "${args[@]}"
	[ "$(state_of "$name.vhdx" $steps)" = $steps ]
	while read -r seed fsyncs _; do
		mv "cuts/$seed/base.vhdx" cut.vhdx
		state=$(state_of cut.vhdx $steps)
		[ -n "$state" ] || fail "seed $seed: after $fsyncs fsyncs the disk is none of the states"
		[ "$state" -ge "${low[fsyncs]:-99}" ] || low[fsyncs]=$state
		[ "$state" -le "${high[fsyncs]:-0}" ] || high[fsyncs]=$state
		if [ $((seed % 2)) = 0 ]; then
			vmimg check -q --repair cut.vhdx || [ $? = 8 ] # space behind the end may be nobody's
			[ "$(state_of cut.vhdx $steps)" = "$state" ]
		elif [ "$name" != child ]; then
			qemu-img check -q -r all cut.vhdx || fail "seed $seed: qemu-img check"
			theirs_too cut.vhdx "s$state" || fail "seed $seed: QEMU does not see state $state"
		fi
	done < <(python3 "$ROOT/tests/tools/powercut.py" record "$turns" cuts base.vhdx)
	state=0
	for fsyncs in "${!low[@]}"; do
		[ "${low[fsyncs]}" -ge "$state" ] || fail "after $fsyncs fsyncs the disk is what it was before fewer"
		state=${high[fsyncs]:-$state}
	done
	[ "$state" -gt 1 ]
}

# bats test_tags=release
@test "power cuts: the log keeps tables whole, for us and for QEMU" {
	vmimg create -o block_size=1M disk.vhdx 64M
	truncate -s 64M s0
	cp s0 s1
	qemu-io -f raw -c "write -P 11 5M 1M" -c "write -P 12 63M 300k" s1 >/dev/null
	cp s1 s2
	qemu-io -f raw -c "write -P 13 0 4096" -c "write -P 14 20M 3M" s2 >/dev/null
	cp s2 s3
	truncate -s 200000M s3
	cp s3 s4
	truncate -s 60M s4
	power_cuts disk "${VMKIT_TEST_CUTS:-3}" "write 5M 1M 11;write 63M 300k 12" "write 0 4096 13;write 20M 3M 14" "resize 200000M" "resize 60M"
}

# bats test_tags=release
@test "power cuts: blocks that are here in part, and zeros over a parent's" {
	random_image s0 $((8 << 20)) 5 40
	vmimg convert -o block_size=1M s0 parent.vhdx
	vmimg create -b parent.vhdx -o block_size=1M child.vhdx
	cp s0 s1
	qemu-io -f raw -c "write -P 11 1000 5000" -c "write -P 12 3M 512" s1 >/dev/null
	cp s1 s2
	qemu-io -f raw -c "write -P 13 100k 4096" -c "write -z 5M 2M" s2 >/dev/null
	power_cuts child "${VMKIT_TEST_CUTS:-4}" "write 1000 5000 11;write 3M 512 12" "write 100k 4096 13;zero 5M 2M"
}

@test "resize: dynamic, fixed, differencing, of both makers, larger and smaller; a table that has no room moves" {
	local kind size
	for kind in fixed dynamic theirs differencing; do
		rm -f r.vhdx r.raw
		random_image r.raw 9437184 4 20
		case $kind in
		theirs) qemu-img convert -f raw -O vhdx -o block_size=1M r.raw r.vhdx ;;
		differencing)
			vmimg convert -o block_size=1M r.raw base.vhdx
			vmimg create -b base.vhdx -o block_size=1M r.vhdx
			"$VMKIT_TOOLS/imgio" r.vhdx "write 8M 1000 3"
			qemu-io -f raw -c "write -P 3 8M 1000" r.raw >/dev/null
			;;
		*) vmimg convert -o subformat=$kind -o block_size=1M r.raw r.vhdx ;;
		esac
		for size in 31457280 9500160 12582912 5242880000 400000000000; do
			[ $kind-$size != fixed-400000000000 ] || break
			vmimg resize --shrink --force r.vhdx $size
			truncate -s $size r.raw
			case $kind in
			differencing) vmimg compare -q r.vhdx r.raw || fail "$size" ;;
			*)
				vmimg compare -q r.vhdx r.raw
				theirs_too r.vhdx r.raw
				qemu-img check -q r.vhdx
				;;
			esac
			clean r.vhdx
		done
		size=$(stat -c %s r.raw)
		"$VMKIT_TOOLS/imgio" r.vhdx "write $((size - 1000000)) 512 7" "read $((size - 1000000)) 512 7"
		qemu-io -f raw -c "write -P 7 $((size - 1000000)) 512" r.raw >/dev/null
		vmimg compare -q r.vhdx r.raw
	done
	refused 2 vmimg resize r.vhdx 123456789
	refused 2 vmimg resize r.vhdx 65T
	vmimg resize --shrink --force base.vhdx 1M
	rm -f c.vhdx
	vmimg create -b base.vhdx c.vhdx
	vmimg resize base.vhdx 2M
	refused 8 vmimg resize c.vhdx 3M # its parent is another disk now
}

# bats test_tags=release
@test "killed after as many flushes as fill the log once and twice: QEMU takes no old entry for a new one" {
	local flushes calls i words
	vmimg create -q -o block_size=1M b.vhdx 300M
	for flushes in 127 128 129 130 257; do
		words=()
		for ((i = 0; i < flushes; i++)); do words+=("write ${i}M 4096 $((i % 250 + 1))" flush); done
		cp b.vhdx k.vhdx
		INJECT_COUNT=calls LD_PRELOAD=$(preload inject.so) "$VMKIT_TOOLS/imgio" k.vhdx "${words[@]}"
		vmimg convert -q --force k.vhdx want.raw
		calls=$(cat calls)
		# before the header says that the log is no more needed
		cp b.vhdx k.vhdx
		run env INJECT_AT=$((calls - 3)) INJECT_HOW=kill LD_PRELOAD="$(preload inject.so)" "$VMKIT_TOOLS/imgio" k.vhdx "${words[@]}"
		[ "$status" = 137 ]
		[ "$(vmimg info --json k.vhdx | jq .format_specific.log_dirty)" = true ]
		vmimg compare -q k.vhdx want.raw
		qemu-img check -q -f vhdx -r all k.vhdx || fail "$flushes flushes"
		qemu-img convert -f vhdx -O raw k.vhdx theirs.raw
		cmp theirs.raw want.raw
	done
}

@test "writing: a region that is not known and not required keeps its bytes; nothing comes to lie where lost blocks were" {
	random_image a.raw 4194304 2 10
	vmimg convert -q a.raw a.vhdx
	vmimg resize -q a.vhdx 16M
	local end
	end=$(stat -c %s a.vhdx)
	random_bytes 1 1048576 >region
	cp a.vhdx b.vhdx
	cat region >>b.vhdx
	vhdxpy region b.vhdx 01020304-0506-0708-090a-0b0c0d0e0f10 0 "$end"
	"$VMKIT_TOOLS/imgio" b.vhdx "write 10M 1M 1"
	vmimg resize -q --shrink --force b.vhdx 8M
	cmp -i "$end:0" -n 1048576 b.vhdx region
	qemu-img check -q -f vhdx b.vhdx
	# A file that was not copied to its end: blocks that are missing do not become others
	truncate -s $((end - (1 << 20))) a.vhdx
	cp a.vhdx b.vhdx
	run "$VMKIT_TOOLS/imgio" a.vhdx "write 10M 1M 1"
	assert_failure
	assert_output --partial "not all inside the file"
	assert_same_bytes a.vhdx b.vhdx
}

@test "discard frees what a block takes of the file; a fixed disk keeps its room" {
	random_bytes 1 8388608 >a.raw
	vmimg convert -q -o block_size=2M a.raw a.vhdx
	vmimg convert -q -o subformat=fixed a.raw f.vhdx
	local full
	full=$(allocated f.vhdx)
	for f in a f; do "$VMKIT_TOOLS/imgio" $f.vhdx "discard 1M 6M" flush; done
	[ "$(allocated a.vhdx)" -lt 3000000 ]
	[ "$(allocated f.vhdx)" = "$full" ]
	"$VMKIT_TOOLS/imgio" a.vhdx "read 1M 6M 0"
	qemu-io -f raw -c "write -z 1M 6M" a.raw >/dev/null
	same_as a.vhdx a.raw
	clean a.vhdx
	qemu-img check -q -f vhdx a.vhdx
	# sectors of a child that are its own; where it has none the parent shows as before
	vmimg create -q -b a.vhdx -o block_size=2M c.vhdx
	"$VMKIT_TOOLS/imgio" c.vhdx "write 0 512k 7" flush "discard 0 1M" flush "read 0 512k 0"
	vmimg convert -q c.vhdx c.raw
	cmp -i 524288 c.raw a.raw
	clean c.vhdx
}

# bats test_tags=release
@test "resize on a full disk: the old size, and nothing taken; or the new one" {
	local n total size given_back=0
	random_image a.raw 9437184 4 20
	vmimg convert -o block_size=1M a.raw a.vhdx
	size=$(stat -c %s a.vhdx)
	cp a.vhdx w.vhdx
	INJECT_COUNT=count LD_PRELOAD=$(preload inject.so) vmimg resize w.vhdx 200000M
	total=$(cat count)
	[ "$total" -gt 10 ]
	for ((n = 1; n <= total; n++)); do
		cp a.vhdx w.vhdx
		INJECT_AT=$n INJECT_HOW=full LD_PRELOAD=$(preload inject.so) run vmimg resize w.vhdx 200000M
		[ "$(vmimg info --json w.vhdx | jq .virtual_size)" != 9437184 ] || {
			assert_status 13
			[ "$(stat -c %s w.vhdx)" != "$size" ] || given_back=$((given_back + 1))
		}
		vmimg check --repair --json w.vhdx >found || [ $? = 8 ] # from the log on, what was added may be named by it
		[ "$(jq .corruptions found)" = 0 ]
		vmimg compare -q a.raw w.vhdx
	done
	[ "$given_back" -ge 7 ] # all before the log
}
