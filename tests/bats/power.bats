#!/usr/bin/env bats
# Power cuts for who writes into an image: after a cut at any flush, with any part of what was written since, it opens, nobody finds
# worse than leaks in it, and each of its sectors is what was promised last or what was being written. VHDX, whose log gives more
# than that, has its own in vhdx.bats.
#
# bats file_tags=release

load common

# record FILE... -- COMMAND - what it does to FILEs, in ./record
record() {
	local files=()
	while [ "$1" != -- ]; do
		files+=("/$1")
		shift
	done
	shift
	(
		IFS=:
		export RECORD_PATH="${files[*]}" RECORD_TO=$PWD/record
		LD_PRELOAD=$(preload record.so) exec "$@"
	)
}

# found IMAGE [0] - by vmimg check and (not with 0) qemu-img check: leaks at the worst
found() {
	local rc=0 said
	# What its log holds is laid over it: no harm, but for a reader who has no log
	[[ $1 != *.vhdx ]] || vmimg check -q --repair "$1" >/dev/null || [ $? = 8 ]
	said=$(vmimg check --json "$1") || true
	case $said$1 in
	*'"corruptions": 0,'*.vhd) return ;; # QEMU does not check them
	*'"the copy of the footer at offset 0 differs'*.vhd)
		# The two cannot change at once: after a resize that was cut short, QEMU may take the other one
		vmimg check -q --repair "$1" >/dev/null || [ $? = 8 ]
		said=$(vmimg check --json "$1") || true
		[[ $said == *'"corruptions": 0,'* ]] || fail "$1: after check --repair: $said"
		return
		;;
	*'"corruptions": 0,'*child.vhdx) return ;; # nor can it open these
	*'"corruptions": 0,'*) ;;
	*) fail "$1: $said" ;;
	esac
	[ "${2:-1}" != 0 ] || return 0
	qemu-img check "$1" >.check 2>&1 || rc=$?
	# QEMU calls it a fault when a VDI counts more blocks than it has: those are its leaks, and whoever allocates by the count
	# must not find it too low
	case $1 in
	*.vdi) [ $rc != 2 ] || grep -q 'allocated blocks mismatch' .check ;;
	*) [ $rc = 0 ] || [ $rc = 3 ] ;;
	esac || fail "$1: qemu-img check: $(cat .check)"
}

# shown IMAGE RAW - its content. Who commits ($commits) changes the ID of the base, then what the overlay says of it: between the two it
# takes a command to open the overlay.
shown() {
	vmimg convert -q -O raw "$1" "$2" 2>.err && return
	[ -n "${commits:-}" ] && grep -q 'if it is right: vmimg rebase -u' .err &&
		vmimg rebase -q -u -F "${1##*.}" "$1" && vmimg convert -q -O raw "$1" "$2"
}

# goes_on IMAGE - it can be written to, and is sound then
goes_on() {
	"$VMKIT_TOOLS/imgio" "$1" "write 5000 3000 7" "zero 1M 64k" "write 3000000 100 8" flush "read 5000 3000 7" "read 1M 64k 0" \
		"read 3000000 100 8" >.io 2>&1 || fail "$1: $(cat .io)"
	found "$1"
}

# after_cuts IMAGE TURNS STATE... - IMAGE, whose files as they were are in old/, after what ./record says and a cut: opens, is sound, has
# the STATE promised last or the next one. QEMU looks at every other one, and sees the same.
after_cuts() {
	local image=$1 turns=$2 n fsyncs promises files=() last=$(($# - 3)) cuts=0
	shift 2
	files=(old/*)
	rm -rf cuts
	python3 "$ROOT/tests/tools/powercut.py" record "$turns" cuts "${files[@]}" >.cuts
	while read -r n fsyncs promises; do
		shown "cuts/$n/$image" "cuts/$n/raw" || fail "cut $n after $fsyncs fsyncs: $(cat .err)"
		for file in "cuts/$n"/*.*; do
			found "$file" $((n % 2))
		done
		[ $((n % 2)) = 0 ] || [[ $image == child.vhd* ]] || # QEMU does not look at their parents
			qemu-img compare -q -F raw "cuts/$n/$image" "cuts/$n/raw" || fail "cut $n: QEMU sees something else"
		echo "cuts/$n/raw" $((promises < last ? promises : last)) $((promises < last ? promises + 1 : last)) "$@" >>.mixtures
		[ $((n % 3)) != 0 ] || goes_on "cuts/$n/$image"
		cuts=$((cuts + 1))
	done <.cuts
	[ $cuts -gt 2 ] # something was recorded
	python3 "$ROOT/tests/tools/powercut.py" --mixture <.mixtures || fail "not what was promised"
	rm -rf cuts record .mixtures old
}

# wanted FORMAT - by hand, one alone may be: VMKIT_TEST_FORMATS=vhd
wanted() { [[ " ${VMKIT_TEST_FORMATS:-$1} " == *" $1 "* ]]; }

# state OLD NEW COMMAND... - what qemu-io's commands make of a raw disk
state() {
	local words=() c
	cp --sparse=always "$1" "$2"
	for c in "${@:3}"; do
		words+=(-c "$c")
	done
	qemu-io -f raw "${words[@]}" "$2" >/dev/null
}

# writing IMAGE - a disk of 8 MiB, s0: writes beside and over what is there, zeros, and other sizes
writing() {
	rm -rf old && mkdir old && cp "$1" old
	state s0 s1 "write -P 1 1000 5000" "write -P 2 3M 300k" "write -P 3 7340032 512"
	state s1 s2 "write -z 2M 1500k" "write -P 4 1M 65536" "write -z 7340032 512"
	state s2 s3 "truncate 34M"
	state s3 s4 "write -P 5 30M 100k" "write -P 6 6M 4096"
	state s4 s5 "truncate 3500k"
	record "$1" -- "$VMKIT_TOOLS/imgio" "$1" "write 1000 5000 1" "write 3M 300k 2" "write 7340032 512 3" flush \
		"unmap 2M 1500k" "write 1M 65536 4" "zero 7340032 512" flush "resize 34M" flush \
		"write 30M 100k 5" "write 6M 4096 6" flush "resize 3500k" flush
	vmimg compare -q "$1" s5
	after_cuts "$1" "${VMKIT_TEST_CUTS:-2}" s0 s1 s2 s3 s4 s5
}

@test "power cuts: writes, zeros and other sizes, in a disk of its own" {
	random_image s0 $((8 << 20)) 5 40
	local format
	for format in qcow2 vhd vmdk vdi; do
		wanted $format || continue
		vmimg convert -q s0 disk.$format
		writing disk.$format
	done
}

@test "power cuts: another size of a fixed VHD: it has a footer at any moment, and the data that both sizes have" {
	local n fsyncs promises size
	random_image s0 $((4 << 20)) 5 40
	vmimg convert -q -O vhd -o subformat=fixed s0 disk.vhd
	mkdir old
	cp disk.vhd old
	record disk.vhd -- "$VMKIT_TOOLS/imgio" disk.vhd "resize 6M" flush "resize 2000k" flush
	python3 "$ROOT/tests/tools/powercut.py" record 10 cuts old/disk.vhd >.cuts
	[ "$(wc -l <.cuts)" -gt 5 ]
	while read -r n fsyncs promises; do
		run_split vmimg info --json "cuts/$n/disk.vhd"
		assert_status 0
		size=$(json '"\(.virtual_size) \(.format)"')
		[[ $size == "4194304 vhd" || $size == "6291456 vhd" || $size == "2048000 vhd" ]] || fail "cut $n: $size"
		vmimg convert -q --force -O raw "cuts/$n/disk.vhd" raw
		cmp -n 2048000 raw s0
	done <.cuts
}

@test "power cuts: an overlay, whose blocks are here in part or not at all" {
	random_image s0 $((4 << 20)) 5 40
	state s0 s1 "write -P 1 1000 5000" "write -P 2 3M 512"
	state s1 s2 "write -P 3 100k 4096" "write -z 1M 1500k" "write -P 4 4190000 4304"
	local format
	for format in qcow2 vhd vmdk; do
		wanted $format || continue
		rm -rf old && mkdir old
		vmimg convert -q s0 base.$format
		vmimg create -q -b base.$format -F $format child.$format
		cp base.$format child.$format old
		record base.$format child.$format -- "$VMKIT_TOOLS/imgio" child.$format "write 1000 5000 1" "write 3M 512 2" flush \
			"write 100k 4096 3" "zero 1M 1500k" "write 4190000 4304 4" flush
		vmimg compare -q child.$format s2
		after_cuts child.$format "${VMKIT_TEST_CUTS:-2}" s0 s1 s2
	done
}

# overlay FORMAT - base.FORMAT with s0, child.FORMAT with s1
overlay() {
	vmimg convert -q --force s0 "base.$1"
	vmimg create -q --force -b "base.$1" -F "$1" "child.$1"
	"$VMKIT_TOOLS/imgio" "child.$1" "write 1000 5000 1" "write 3M 512 2" "zero 1M 1500k"
}

@test "power cuts: commit and rebase change nothing that the overlay shows" {
	random_image s0 $((4 << 20)) 5 40
	random_image s9 $((4 << 20)) 6 20
	state s0 s1 "write -P 1 1000 5000" "write -P 2 3M 512" "write -z 1M 1500k"
	local format
	for format in qcow2 vhd vmdk vhdx; do
		wanted $format || continue
		overlay $format
		rm -rf old && mkdir old && cp base.$format child.$format old
		record base.$format child.$format -- vmimg commit -q child.$format
		vmimg compare -q base.$format s1
		commits=1 after_cuts child.$format "${VMKIT_TEST_CUTS:-2}" s1
		overlay $format
		vmimg convert -q --force s9 other.$format
		rm -rf old && mkdir old && cp base.$format child.$format other.$format old
		record base.$format child.$format other.$format -- vmimg rebase -q -b other.$format -F $format child.$format
		vmimg compare -q child.$format s1
		after_cuts child.$format "${VMKIT_TEST_CUTS:-2}" s1
	done
}
