#!/usr/bin/env bats
# What holds for every program and verb: help, usage errors, JSON errors, standard output, signals, configuration,
# completions in real shells.

load common

setup() {
	common_setup
	PROGRAMS=$(cd "$ROOT/cmd" && for d in */main.c; do echo "${d%/main.c}"; done)
}

verbs() { "$1" --help | awk '/^Verbs:/ { on = 1; next } /^$/ { on = 0 } on && /^  [a-z]/ { print $1 }'; }

@test "each program: --help, --version, no verb, unknown verb" {
	for p in $PROGRAMS; do
		run_split "$p" --help
		assert_status 0
		[ -z "$stderr" ]
		[ "$(awk 'length > 80' <<<"$output")" = "" ]
		run_split "$p" --version
		assert_status 0
		[[ $output =~ ^$p\ [0-9.]+$ ]]
		run_split "$p" --version -v
		assert_status 0
		[ "${#lines[@]}" -gt 2 ]
		run_split "$p"
		assert_status 2
		[ -z "$output" ]
		[[ $stderr == "Usage: $p VERB"* ]]
		refused 2 "$p" no-such-verb
		refused 2 "$p" --no-such-option
		v=$(verbs "$p" | head -1)
		refused 2 "$p" "${v%?}"
		[[ $stderr == *"did you mean $v?"* ]]
	done
}

# bats test_tags=release
@test "each verb: help in 80 columns, unknown options, nothing hidden is shown" {
	for p in $PROGRAMS; do
		for v in $(verbs "$p"); do
			run_split "$p" "$v" --help
			assert_status 0
			[ -z "$stderr" ]
			[ "$(awk 'length > 80' <<<"$output")" = "" ]
			[[ $output == "Usage: $p $v"* && $output == *Examples:* && $output == *"Exit status:"* ]]
			[[ $output != *debug-stderr* ]]
			help=$output
			run_split "$p" help "$v"
			[ "$output" = "$help" ]
			refused 2 "$p" "$v" --no-such-option
			refused 2 "$p" "$v" --help=x
		done
	done
}

@test "each verb with --json tells usage errors as JSON, and nothing else" {
	for p in $PROGRAMS; do
		for v in $(verbs "$p"); do
			run_split "$p" "$v" --no-such-option --json
			assert_status 2
			[ -z "$output" ]
			[ "$(jq -r '.error | "\(.status) \(.code)"' <<<"$stderr")" = "2 usage" ]
			[ "$(jq -s length <<<"$stderr")" = 1 ]
		done
	done
}

@test "a missing file: one sentence, status 4; as JSON with object" {
	refused 4 vmimg info missing.qcow2
	[[ $stderr == "vmimg: missing.qcow2: "* ]]
	run_split vmimg info --json missing.qcow2
	assert_status 4
	[ -z "$output" ]
	[ "$(jq -r '.error | "\(.status) \(.code) \(.object)"' <<<"$stderr")" = "4 not_found missing.qcow2" ]
	jq -e '.error.message | length > 5' <<<"$stderr"
	: >file
	refused 4 vmimg info file/missing.qcow2
	refused 4 vmbackup -r file list
}

@test "names that drive a terminal or are not UTF-8 are escaped" {
	refused 4 vmimg info $'x\033[31m\xff'
	[[ $stderr == *'x\x1b[31m\xff'* && $stderr != *$'\033'* ]]
	run_split vmimg info --json $'x\xff'
	jq -e .error <<<"$stderr"
	printf x >$'n\033]0;\xff'
	run_split vmimg info $'n\033]0;\xff'
	assert_status 0
	[[ $output != *$'\033'* ]]
	run_split vmimg info --json $'n\033]0;\xff'
	assert_status 0
	jq -e .name <<<"$output"
}

@test "options in any order, -- ends them" {
	truncate -s 1M -- -x
	vmimg info --format raw -- -x
	vmimg info ./-x --format=raw
	vmimg --json info ./-x -fraw | jq -e '.virtual_size == 1048576'
	refused 2 vmimg info -x
	refused 2 vmimg info
	refused 2 vmimg info a b
	[[ $stderr == *"hint: usage: vmimg info "* ]]
}

@test "standard output that is full: status 13; closed: status 1; a reader that left: quiet" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	run_split bash -c 'vmimg info a.qcow2 >/dev/full'
	assert_status 13
	[[ $stderr == *"No space left"* ]]
	run_split bash -c 'vmimg info --json a.qcow2 >/dev/full'
	assert_status 13
	[ "$(jq .error.status <<<"$stderr")" = 13 ]
	run_split bash -c 'vmimg digest a.qcow2 >/dev/full'
	assert_status 13
	run_split bash -c 'vmimg info a.qcow2 >&-'
	assert_status 1
	run_split bash -c 'vmimg --help >/dev/full'
	assert_status 13
	# A map of 8192 rows is more than a pipe holds.
	perl -e 'print "x" x 4096, seek(STDOUT, 4096, 1) && "" for 1 .. 8192' >sparse.raw
	run_split bash -c 'vmimg map sparse.raw | head -1 >/dev/null; exit "${PIPESTATUS[0]}"'
	assert_status 141
	[ -z "$stderr" ]
}

@test "a closed descriptor never becomes the image's" {
	qemu-img create -q -f qcow2 a.qcow2 1M
	before=$(sha256sum a.qcow2)
	run_split bash -c 'vmimg check --repair a.qcow2 >&- 2>&-'
	assert_status 1
	[ "$(sha256sum a.qcow2)" = "$before" ]
}

# A conversion that lasts until the test ends it: its source is a pipe that never ends.
begin_endless() {
	mkfifo in
	(while head -c 65536 /dev/zero; do sleep 0.01; done) >in 2>/dev/null 3>&- &
	# bash gives background jobs an ignored SIGINT: env puts it back
	env --default-signal=INT,QUIT,HUP vmimg convert -O raw - target.raw <in 2>err 3>&- &
	pid=$!
	# until it has its handlers: SigCgt holds SIGTERM (bit 14)
	for _ in $(seq 500); do
		mask=$(sed -n 's/^SigCgt:\s*//p' "/proc/$pid/status" 2>/dev/null) || mask=0
		(((0x${mask:-0} >> 14) & 1)) && [ "$(cat /proc/$pid/comm)" = vmimg ] && break
		sleep 0.02
	done
}

@test "SIGTERM, SIGINT, SIGHUP: status 128+N, nothing left" {
	for sig in TERM INT HUP; do
		begin_endless
		kill -$sig $pid
		status=0
		wait $pid || status=$?
		assert_status $((128 + $(kill -l $sig)))
		assert_not_exist target.raw
		assert_clean
		rm in
	done
}

@test "a second SIGINT ends it at once, and leaves nothing" {
	begin_endless
	kill -INT $pid
	sleep 0.1
	kill -INT $pid 2>/dev/null || true
	status=0
	wait $pid || status=$?
	assert_status 130
	assert_not_exist target.raw
	assert_clean
}

@test "progress: nothing on a pipe, a bar on a terminal, JSON lines" {
	truncate -s 8M a.raw
	run_split vmimg convert -p a.raw b.raw
	assert_status 0
	[ -z "$stderr" ]
	run_split vmimg convert -p --debug-stderr-is-tty a.raw c.raw
	assert_status 0
	[[ $stderr == *"8.00 MiB of 8.00 MiB"* ]]
	run_split vmimg convert -q -p --debug-stderr-is-tty a.raw d.raw
	[ -z "$stderr" ]
	run_split vmimg convert --progress=none --debug-stderr-is-tty a.raw e.raw
	[ -z "$stderr" ]
	run_split vmimg convert --progress=json a.raw f.raw
	assert_status 0
	[ "$(jq -s '.[-1].progress | .done_bytes == 8388608 and .total_bytes == 8388608' <<<"$stderr")" = true ]
	refused 2 vmimg convert --progress=loud a.raw g.raw
}

@test "configuration: the command line beats the environment beats the file" {
	grep -q VMKIT_REPOSITORY <(vmbackup --help) || skip "vmbackup has no repository option"
	mkdir -p "$HOME/.config"
	printf '# mine\n[vmbackup]\nrepository = %s\n' "$PWD/from-file" >"$HOME/.config/vmkit.conf"
	refused 4 vmbackup list
	[[ $stderr == *from-file* ]]
	VMKIT_REPOSITORY=$PWD/from-env refused 4 vmbackup list
	[[ $stderr == *from-env* ]]
	VMKIT_REPOSITORY=$PWD/from-env refused 4 vmbackup list -r from-line
	[[ $stderr == *from-line* ]]
	VMKIT_REPOSITORY=$PWD/from-env refused 4 vmbackup -r from-line list
	[[ $stderr == *from-line* ]]
	echo nonsense >"$HOME/.config/vmkit.conf"
	refused 2 vmbackup list
	[[ $stderr == *"vmkit.conf: line 1 is not"* ]]
	vmbackup list --help >/dev/null
}

@test "man page and completion scripts are made for every program" {
	require man mandoc zsh fish
	for p in $PROGRAMS; do
		"$p" __man >"$p.1"
		[ -z "$(MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$p.1" 2>&1 >/dev/null)" ]
		for shell in bash zsh fish; do
			"$p" __completion $shell >"$p.$shell"
			$shell -n "$p.$shell"
		done
	done
	refused 2 vmimg __completion tcsh
}

# bash_words LINE - what TAB would offer in bash
bash_words() {
	bash --norc -c '
		source <("$1" __completion bash)
		COMP_LINE=$2 COMP_POINT=${#2}
		compopt() { [ "$1 $2" = "-o default" ] && echo "<files>"; [ "$1 $2" = "-o dirnames" ] && echo "<folders>"; return 0; }
		"_$1"
		printf "%s\n" "${COMPREPLY[@]}"' - "${1%% *}" "$1"
}

@test "bash completes verbs, options, choices, formats, files" {
	[ "$(bash_words 'vmimg con')" = convert ]
	bash_words 'vmimg ' | grep -qx info
	bash_words 'vmimg info --' | grep -qx -- --chain
	bash_words 'vmimg info --' | grep -qx -- --format=
	[ "$(bash_words 'vmimg info -f vm')" = vmdk ]
	[ "$(bash_words 'vmimg info --format=vm')" = vmdk ]
	[ "$(bash_words 'vmimg info --format vm')" = vmdk ]
	[ "$(bash_words 'vmimg check --repair=')" = $'leaks\nall' ]
	[ "$(bash_words 'vmimg info ' | head -1)" = "<files>" ]
	[ "$(bash_words 'vmimg map --json --allow-backing ' | head -1)" = "<folders>" ]
	[ "$(bash_words 'vmimg map --json=')" = lines ]
}

@test "fish completes verbs, options, choices, formats" {
	require fish
	fish_words() { fish --no-config -c "${1%% *} __completion fish | source; complete -C '$1'" | cut -f1; }
	fish_words 'vmimg con' | grep -qx convert
	fish_words 'vmimg info --ch' | grep -qx -- --chain
	[ "$(fish_words 'vmimg info -f vm')" = vmdk ]
	fish_words 'vmimg info --format=q' | grep -q qcow2
	fish_words 'vmimg convert -q' | grep -qv info
}

@test "zsh loads the completion and completes verbs, options, formats" {
	require zsh
	mkdir fpath && vmimg __completion zsh >fpath/_vmimg
	# What the widget leaves in the line goes to a file: the terminal's echo is not looked at.
	cat >drive.zsh <<-'END'
		zmodload zsh/zpty
		zpty z "TERM=dumb zsh -f -i"
		zpty -w z "PROMPT=; fpath=($PWD/fpath \$fpath); autoload -U compinit; compinit -u -D"
		zpty -w z "show() { zle complete-word; print -r -- \"\$BUFFER\" >got; zle kill-buffer; zle accept-line }"
		zpty -w z "zle -N show; bindkey '^G' show; print READY"
		zpty -r z out '*READY*READY*'
		sleep 0.5
		zpty -w -n z "$1"$'\C-g'
		for i in {1..100}; do [[ -s got ]] && break; sleep 0.1; done
	END
	zsh_line() { rm -f got; timeout 30 zsh -f drive.zsh "$1" >/dev/null 2>&1; cat got; }
	[ "$(zsh_line 'vmimg conv')" = "vmimg convert " ]
	[ "$(zsh_line 'vmimg info --cha')" = "vmimg info --chain " ]
	[ "$(zsh_line 'vmimg info --format=vm')" = "vmimg info --format=vmdk " ]
	[ "$(zsh_line 'vmimg info -f vm')" = "vmimg info -f vmdk " ]
	[ "$(zsh_line 'vmimg check --repair=le')" = "vmimg check --repair=leaks " ]
}

@test "libcrypto is there for what needs it: nothing else waits for it, and what does says that it is missing" {
	local library program
	require_root
	library=$(readlink -f "$(/sbin/ldconfig -p | awk '/libcrypto\.so\.3 .*x86-64/ { print $NF; exit }')")
	[ -s "$library" ]
	random_image a.raw $((4 << 20)) 1
	qemu-img convert -f raw -O qcow2 a.raw a.qcow2
	without() {
		run --separate-stderr unshare -m sh -c 'mount --bind /dev/null "$0" && exec "$@"' "$library" "$@"
	}
	for program in vmimg vmsnap vmbackup vmrun vmctl; do
		without "$program" --help
		assert_status 0
	done
	without vmimg info a.qcow2
	assert_status 0
	without vmimg convert -O vmdk a.qcow2 a.vmdk
	assert_status 0
	qemu-img compare -f vmdk -F raw a.vmdk a.raw
	without vmimg digest a.qcow2
	assert_status 9
	[ "$(wc -l <<<"$stderr")" = 1 ]
	[[ $stderr == "vmimg: libcrypto (OpenSSL 3) cannot be loaded: "* ]]
}
