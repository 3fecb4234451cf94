# shellcheck shell=bash disable=SC2154
# vmrun on this machine's /dev/kvm, with a guest that does nothing (tiny.S), against QEMU's leanest machine with the same one and against
# the bare calls of KVM; and what reading a disk costs there (tests/guest, by polling). Where KVM is only for small guests (no
# virtualization in the processor below) QEMU cannot run the latter: its own reads, without any guest, stand beside vmrun's.

printf '%s\n' vmrun-{start-qemu,start-bare,private,teardown,read-qcow2,read-qemu} | grep -qE -e "$regex" || return 0
if ! { [ -r /dev/kvm ] && [ -w /dev/kvm ] && command -v qemu-system-x86_64 >/dev/null; }; then
	echo "bench: no /dev/kvm or no qemu-system-x86_64: no rows of vmrun"
	return 0
fi

tiny() { # NAME [-DWORD...]
	gcc -c "${@:2}" -o tiny.o "$root/bench/tiny.S" && ld -m elf_x86_64 -Ttext 0x200000 -e _start --build-id=none -o "$1" tiny.o &&
		objcopy -O binary -j .text "$1" "$1.bin" && rm tiny.o
}
{ tiny off && tiny say -DSAY && tiny hang -DSAY -DHANG && ${CC:-cc} -O2 -o bare "$root/bench/bare.c" &&
	"$root/tests/guest/build.sh" "$work/guest"; } || die "bench/tiny.S"
qemu="qemu-system-x86_64 -M microvm -accel kvm -cpu qemu64 -m 128 -nodefaults -no-user-config -display none -no-reboot"

# figure ID TITLE WANTED OURS THEIRS - as row, of commands of machine.py that print their figure
figure() {
	local id=$1 title=$2 wanted=$3 i who command
	[[ $id =~ $regex ]] || return 0
	rm -f ours.figures theirs.figures
	for ((i = 0; i <= runs; i++)); do
		for who in ours theirs; do
			command=$4
			[ $who = ours ] || command=$5
			sh -c "exec python3 $root/bench/machine.py $command" 2>log >>$who.figures </dev/null || die "$id, $who: $command: $(tail -n 5 log)"
			[ $i -gt 0 ] || : >$who.figures
		done
	done
	python3 - "$id" "$title" "$wanted" "$4" "$5" >>"$rows" <<-'END'
		import json, sys
		a = sys.argv
		def side(name, command):
		    runs = [json.loads(line) for line in open(name + ".figures")]
		    sizes = sorted(r.pop("bytes") or 0 for r in runs)
		    return {"command": command, "bytes": sizes[len(sizes) // 2] or None, "runs": runs}
		print(json.dumps({"id": a[1], "title": a[2], "wanted": {k: float(v) for k, v in (w.split("=") for w in a[3].split(","))},
		    "ours": side("ours", a[4]), "theirs": side("theirs", a[5])}))
	END
	tail -n 1 "$rows" | python3 -c 'import json, statistics, sys
r = json.load(sys.stdin)
m = lambda s: "%9.1f ms %6s" % (statistics.median(x["wall_us"] for x in s["runs"]) / 1e3, "" if s["bytes"] is None else "%.1f M" % (s["bytes"] / 2**20))
print("  %-34s %s  %s" % (r["id"], m(r["ours"]), m(r["theirs"])))'
}

vmrun="vmrun -m 128M --kernel"
row vmrun-start-qemu "a guest's start, first instruction and end; against QEMU's microvm" time=0.25 - "$vmrun off" "$qemu -kernel off"
row vmrun-start-bare "the same; against the bare calls of KVM" over=2 - "$vmrun off" "./bare off.bin 128"
figure vmrun-private "private memory beside a guest's of 128 MiB (time: its end by SIGKILL); against QEMU's microvm" own=2 \
	"private 128 $vmrun hang" "private 128 $qemu -serial stdio -kernel hang"
figure vmrun-teardown "from a guest's last word to the end of the process; against QEMU's microvm" ms=50 \
	"teardown $vmrun say" "teardown $qemu -serial stdio -kernel say"
reads="vmrun -k guest -a do=disk:a -m 16M --read-only -d"
if [ -n "${shm:-}" ] && [[ vmrun-read-qcow2 =~ $regex || vmrun-read-qemu =~ $regex ]]; then
	mkdir -p "$shm"
	head -c 1G data.bin >"$shm/reads.raw"
	truncate -s "%1M" "$shm/reads.raw"
	qemu-img convert -f raw -O qcow2 "$shm/reads.raw" "$shm/reads.qcow2" || die reads.qcow2
	row vmrun-read-qcow2 "a guest reads up to 1 GiB in pieces of 1 MiB from qcow2; against vmrun with raw, tmpfs" time=1.15 - \
		"$reads $shm/reads.qcow2 -f qcow2" "$reads $shm/reads.raw -f raw"
	row vmrun-read-qemu "the same from raw; against qemu-img bench, which has no guest, tmpfs" - - "$reads $shm/reads.raw -f raw" \
		"qemu-img bench -f raw -d 1 -s 1M -S 1M -c $(($(stat -c %s "$shm/reads.raw") >> 20)) $shm/reads.raw"
	rm -r "$shm"
fi
rm -f off off.bin say say.bin hang hang.bin bare guest
