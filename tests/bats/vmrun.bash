# shellcheck shell=bash
# For tests of vmrun; load it behind common.

# on_terminal KEYS CMD... - run CMD on a terminal of its own, send KEYS after a moment; then its settings must be as before
on_terminal() {
	require python3
	python3 - "$@" <<-'END'
		import fcntl, os, pty, select, signal, sys, termios, time
		keys, cmd = sys.argv[1], sys.argv[2:]
		fd, slave = pty.openpty()
		before = termios.tcgetattr(slave)
		pid = os.fork()
		if pid == 0:
		    os.setsid()
		    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
		    for i in range(3):
		        os.dup2(slave, i)
		    os.execvp(cmd[0], cmd)
		seen, raw, start, sent = b"", False, time.time(), False
		while time.time() - start < 60:
		    r, _, _ = select.select([fd], [], [], 0.05)
		    try:
		        seen += os.read(fd, 4096) if r else b""
		    except OSError: # it has closed the terminal
		        time.sleep(0.05)
		    raw = raw or not termios.tcgetattr(slave)[3] & termios.ICANON
		    if raw and not sent and time.time() - start > 0.5:
		        sent = True
		        if keys.startswith("SIG"):
		            os.kill(pid, getattr(signal, keys))
		        else:
		            os.write(fd, keys.encode())
		    done, status = os.waitpid(pid, os.WNOHANG)
		    if done:
		        break
		else:
		    sys.exit("it did not end: %r" % seen)
		after = termios.tcgetattr(slave)
		print("raw" if raw else "cooked", "restored" if before == after else "CHANGED", os.waitstatus_to_exitcode(status))
		print(seen.decode(errors="replace"))
	END
}

# ended PID - its status, in $status
ended() {
	status=0
	wait "$1" || status=$?
}

# says FILE TEXT - wait until it does
says() {
	for ((i = 0; i < 1200; i++)); do
		! grep -q "$2" "$1" || return 0
		sleep 0.05
	done
	fail "$1 does not say $2: $(cat "$1")"
}

# machine NAME WHAT [OPTIONS] - the guest $GUEST in the background, as process $pid, one of ${pids[@]}; NAME.out and NAME.err
# are what it says. It runs when this returns.
machine() {
	local name=$1 what=$2
	shift 2
	vmrun -k "$GUEST" -a "do=$what" -m 8M -t 60s --name "$name" "$@" </dev/null >"$name.out" 2>"$name.err" 3>&- &
	pid=$!
	pids+=("$pid")
	for ((i = 0; i < 1200; i++)); do
		[ "$(vmrun ps --json | jq -r ".[] | select(.name == \"$name\") | .state")" != running ] || return 0
		sleep 0.05
	done
	fail "$name does not run: $(cat "$name.err")"
}
