#!/usr/bin/env bats
# vmbackup and repositories as large as they get, in holes (tests/tools/bigrepo.c): memory stays within its bounds, and what
# is asked takes the time of what is asked, not of all that there is. The figures for 1 TiB are in bench/README.md.
# bats file_tags=slow,release
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo
	[ -x "$VMKIT_TOOLS/bigrepo" ] || fail "bigrepo is missing: make tools"
	require python3
	vmbackup init --no-encryption
}

# measured CMD... - its status; $megabytes and $seconds (of processors) of it
measured() {
	python3 - "$@" >.measured 2>.error <<-'END' || fail "$*: $(cat .error)"
		import resource, subprocess, sys
		p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
		u = resource.getrusage(resource.RUSAGE_CHILDREN)
		print(u.ru_maxrss // 1024, u.ru_utime + u.ru_stime)
		sys.exit(p.returncode)
	END
	read -r megabytes seconds <.measured
}
within() { # MEGABYTES SECONDS
	[ "$megabytes" -le "$1" ] || fail "$megabytes MB of $1"
	awk "BEGIN { exit !($seconds <= $2) }" || fail "$seconds s of $2"
}

@test "64 GiB of unique data: 64 MB and 20 MB a TiB at most, listing and a small backup take no notice" {
	"$VMKIT_TOOLS/bigrepo" repo 64
	[ "$(find repo/packs -type f -size +60M | wc -l)" -ge 1000 ]
	measured vmbackup list
	within 32 1
	random_bytes 1 1000000 >a.raw
	measured vmbackup backup --vm small a.raw
	within 48 1
	measured vmbackup stats
	within 65 5
	measured vmbackup prune
	within 65 10
	[ "$(find repo/packs -type f -size +60M | wc -l)" -ge 1000 ]
	vmbackup restore small - | cmp - a.raw
	# and all of it goes
	vmbackup forget big@latest
	measured vmbackup prune
	within 65 10
	[ "$(find repo/packs -type f -size +60M | wc -l)" = 0 ]
	run vmbackup verify
	assert_success
}

@test "1000 snapshots: listing, rules and a collection within seconds" {
	"$VMKIT_TOOLS/bigrepo" repo 0 1000
	measured vmbackup list --json
	within 48 2
	measured vmbackup show vm3@latest
	within 48 2
	measured vmbackup prune --keep-last 3 --keep-daily 7 --keep-monthly 12
	within 48 3
	[ "$(vmbackup list --json | jq length)" = 30 ]
}
