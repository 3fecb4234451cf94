# What vmbackup-damage.bats and vmbackup-heal.bats share: finding places in a repository and damaging them.

biggest_pack() { find repo/packs -type f -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-; }

# flip FILE OFFSET - invert the bits of one byte
flip() {
	local byte
	chmod u+w "$1"
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "%b" "\\x$(printf %02x $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

le32() { od -An -tu4 -j "$2" -N 4 "$1" | tr -d ' '; }

# frame PACK N - where the N-th frame of a pack begins, 0 being the first
frame() {
	local off=96 n
	for ((n = $2; n > 0; n--)); do
		off=$((off + 64 + $(le32 "$1" $((off + 12))) + $(le32 "$1" $((off + 16)))))
	done
	[ "$(dd if="$1" bs=1 skip=$off count=4 status=none)" = VMFR ] || fail "no frame at $off"
	echo $off
}

# payload PACK N - an offset in the middle of what the N-th frame holds
payload() {
	local off
	off=$(frame "$1" "$2")
	echo $((off + 48 + $(le32 "$1" $((off + 12))) + $(le32 "$1" $((off + 16))) / 2))
}

# killed_at REPO BYTES ARGS... - vmbackup ARGS, killed when that much more is stored than when it began
killed_at() {
	local was pid wanted=$2
	was=$(stored_in "$1")
	vmbackup "${@:3}" 2>/dev/null 3>&- &
	pid=$!
	while [ -d /proc/$pid ] && [ "$(stored_in "$1")" -lt $((was + wanted)) ]; do sleep 0.02; done
	kill -KILL $pid 2>/dev/null && ! wait $pid 2>/dev/null || fail "it ended before"
}
stored_in() { find "$1" -type f -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'; }

first_index() { find repo/index -type f | sort | head -1; }
