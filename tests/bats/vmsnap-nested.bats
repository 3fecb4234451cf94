#!/usr/bin/env bats
# Snapshots of running machines of vmrun, with their memory and without, in one nested host with a real KVM. The guest counts, in
# its memory and on its disk, and says when the two do not agree.
# bats file_tags=slow,release

load common

setup_file() {
	export WORK=$BATS_FILE_TMPDIR/nested
	require qemu-system-x86_64 busybox cpio qemu-img gcc objcopy
	mkdir -p "$WORK/payload"
	cd "$WORK/payload" || return 1
	mkdir bin lib
	cp "$VMKIT_BIN"/{vmrun,vmctl,vmsnap} bin/
	local loaded
	mapfile -t loaded < <(ldconfig -p | awk '/lib(xml2\.so\.2|crypto\.so\.3) .*x86-64/ { print $NF }')
	[ ${#loaded[@]} = 2 ]
	cp -L "${loaded[@]}" lib/
	ldd bin/* "${loaded[@]}" | grep -o '/[^ ]*' | grep -v : | sort -u | while read -r library; do cp -L "$library" lib/; done
	"$ROOT/tests/guest/build.sh" "$PWD/kernel"
	cp "$VMKIT_TOOLS/inject.so" lib/
	qemu-img create -q -f qcow2 d.qcow2 4M
	qemu-img create -q -f qcow2 e.qcow2 4M
	cat >../script <<-'END'
		export LD_LIBRARY_PATH=/t/lib TMPDIR=/tmp PATH=/t/bin:$PATH XDG_RUNTIME_DIR=/tmp/run HOME=/tmp/home
		mkdir -p /lib64 /out/all /tmp/home/.config/vmkit/machines /tmp/m
		mkdir -m 700 /tmp/run
		ln -s /t/lib/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2
		cp d.qcow2 e.qcow2 /tmp/m
		for n in d e; do
			echo "{\"memory\": \"8M\", \"kernel\": \"/t/kernel\", \"append\": \"do=disk:c\",
				\"disks\": [{\"file\": \"/tmp/m/$n.qcow2\", \"format\": \"qcow2\"}]}" >/tmp/home/.config/vmkit/machines/$n.json
		done
		o=/out/all
		log() { cat /tmp/home/.local/state/vmkit/$1.log.1 /tmp/home/.local/state/vmkit/$1.log 2>/dev/null | tr -d '\r'; }
		counts() { log $1 | sed -n 's/^count \([0-9]*\)$/\1/p'; }
		last() { counts $1 | tail -n 2 | head -n 1; } # the very last may be half of a number
		goes_on() { # NAME - it counts on
			lines=$(log $1 | grep -c 'count ')
			i=0
			while [ $(log $1 | grep -c 'count ') -le $lines ]; do
				i=$((i + 1))
				[ $i -lt 300 ] || { echo "$1 does not go on"; return; }
				sleep 0.1
			done
			echo "$1 goes on"
		}
		snap() { # NAME ARGUMENTS... - with its output and status in files
			name=$1
			shift
			echo "$(cut -d' ' -f1 /proc/uptime) $*"
			vmsnap -c builtin "$@" >$o/$name 2>$o/$name.err
			echo $? >$o/$name.status
		}
		for n in d e; do # one after the other: they count as fast as they can
			[ $n = d ] && engine=external || engine=internal
			vmctl -c builtin start $n
			goes_on $n >$o/$n.ran
			last $n >$o/$n.at
			snap $n.memory create -v -e $engine --memory $n m
			goes_on $n >>$o/$n.ran
			if [ $n = d ]; then
				snap disks create -v d s
				# Refused, while it goes on
				snap taken create d s
				snap require create --quiesce=require d x
				snap delete delete d s
				vmctl -c builtin suspend d
				snap paused create d x
				vmctl -c builtin resume d
				goes_on d >>$o/d.ran
				snap list list --json d
			else
				snap list-inside list --json e
			fi
			log $n | grep -c begins >$o/$n.boots
			# Back to the memory, from on, and for one from off; then to a snapshot without
			snap $n.revert revert --json $n m
			goes_on $n >>$o/$n.ran
			last $n >$o/$n.reverted
			counts $n | awk '$1 + 0 < was + 0 { n++ } { was = $1 } END { print n + 0 }' >$o/$n.back
			log $n | grep -c begins >>$o/$n.boots
			if [ $n = d ]; then
				vmctl -c builtin stop --now -q d
				snap again revert --discard-current d m
				goes_on d >>$o/d.ran
				log d | grep -c begins >>$o/d.boots
				snap boot revert --json --discard-current d s
				goes_on d >>$o/d.ran
				log d | grep -c begins >>$o/d.boots
			fi
			# Killed on the way: announced, held, its memory kept, the disk changed, it goes on
			for k in $([ $n = d ] && echo 9 14 18); do
				LD_PRELOAD=/t/lib/inject.so INJECT_AT=$k INJECT_HOW=kill INJECT_UNLINK=1 vmsnap -c builtin create --memory $n k$k >>$o/kills 2>&1
				echo "$n at $k: status $?, $(vmctl -c builtin list | grep "$n ")" >>$o/kills
				vmsnap -c builtin recover $n >>$o/kills 2>&1 || echo "recover of $k: $?" >>$o/bad
				goes_on $n >>$o/$n.ran
				vmsnap -c builtin check $n >>$o/kills 2>&1 || echo "check of $k: $?" >>$o/bad
				for f in held save; do [ ! -e /tmp/home/.local/state/vmkit/$n.$f ] || echo "$f left after $k" >>$o/bad; done
				vmsnap -c builtin list $n | grep -q k$k || [ ! -e /tmp/m/$n.qcow2.snap/.k$k.memory ] || echo "memory left after $k" >>$o/bad
			done
			vmctl -c builtin stop --now -q $n
			log $n | grep -E 'BROKEN|FAILED' >>$o/bad
			tail -c 20000 /tmp/home/.local/state/vmkit/$n.log >$o/$n.log
		done
		snap gone delete e m
		find /tmp/m /tmp/home/.local/state/vmkit >$o/files
		cp -r /tmp/m /out/
	END
	"$ROOT/tests/nested-kvm.sh" "$WORK" "$WORK/payload" "$WORK/script" 600 || {
		tail -n 50 "$WORK/serial.log" >&2
		return 1
	}
	rm -f "$WORK/out.tar"
}

# of NAME STATUS - $output and $stderr: what vmsnap said
of() {
	output=$(cat "$WORK/out/all/$1")
	stderr=$(cat "$WORK/out/all/$1.err")
	[ "$(cat "$WORK/out/all/$1.status")" = "$2" ] || fail "$1: status $(cat "$WORK/out/all/$1.status"): $stderr $output"
}
said() { cat "$WORK/out/all/$1"; }

@test "a running machine gets snapshots by any engine, with memory and without, and goes on" {
	for s in d.memory disks e.memory; do
		of $s 0
		[[ $stderr == *"stood still for"*ms ]] || fail "$s: $stderr"
		echo "# $s: $stderr" >&3
	done
	of list 0
	assert_schema vmsnap-list
	[ "$(json '[.[] | .name + ":" + .engine + ":" + (.vm_state_size > 100000 | tostring)] | join(" ")')" = "m:external:true s:external:false" ]
	of list-inside 0
	assert_schema vmsnap-list
	[ "$(json '[.[] | .name + ":" + .engine + ":" + (.vm_state_size > 100000 | tostring)] | join(" ")')" = "m:internal:true" ]
}

@test "memory and disk agree, and all went on each time" {
	[ ! -s "$WORK/out/all/bad" ] || fail "$(said bad) $(said kills)"
	[ "$(said d.ran | sort -u)" = "d goes on" ] || fail "$(said d.ran)"
	[ "$(said e.ran | sort -u)" = "e goes on" ] || fail "$(said e.ran)"
}

@test "refused, with one sentence, while it goes on" {
	of taken 5
	of require 9
	of delete 9
	of paused 9
	[[ $stderr == *paused* ]]
}

@test "back to the memory: no boot, and the count is that of then; without memory it boots" {
	local n
	for n in d e; do
		of $n.revert 0
		assert_schema vmsnap-revert
		[ "$(json .memory)" = true ]
		[ "$(said $n.back)" -ge 1 ]
		[ "$(said $n.reverted)" -ge "$(said $n.at)" ]
	done
	of again 0
	of boot 0
	[ "$(json .memory)" = false ]
	[ "$(said d.boots | xargs)" = "1 1 1 2" ] || fail "boots: $(said d.boots | xargs)"
	[ "$(said e.boots | xargs)" = "1 1" ] || fail "boots: $(said e.boots | xargs)"
}

@test "killed on the way: recover lets it go on, and nothing is left over" {
	grep -q "status 137, .*off" <(said kills) || fail "$(said kills)"
	of gone 0
	! grep -q "e.qcow2.snap/.m.memory" <(said files) || fail "$(said files)"
	for f in "$WORK"/out/m/*.qcow2; do qemu-img check -q "$f"; done
}
