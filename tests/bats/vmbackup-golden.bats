#!/usr/bin/env bats
# Repositories of every format version that there was are read, verified and added to. tests/data/make-golden.sh made them.
load common

GOLDEN=$ROOT/tests/data/golden-repo

setup() {
	common_setup
	cp -r "$GOLDEN" golden
	echo golden >key
	export VMKIT_PASSWORD_FILE=$PWD/key
}

@test "every disk of the golden repositories" {
	local repo spec size sum n=0
	while read -r repo spec size sum; do
		n=$((n + 1))
		run vmbackup -r "golden/$repo" restore --digest sha256 "$spec" out.raw
		assert_success
		assert_output "$sum  out.raw"
		[ "$(stat -c %s out.raw)" = "$size" ]
		rm out.raw
	done <"$GOLDEN/expected"
	[ "$n" = 8 ]
}

@test "they are whole, and reading changes nothing" {
	local repo
	for repo in plain encrypted; do
		run vmbackup -r golden/$repo verify
		assert_success
		assert_output ''
		run vmbackup -r golden/$repo list --json
		assert_schema vmbackup-list
		[ "$(json 'map(.vm + " " + (.tags | join(","))) | join(";")')" = 'web first;web second;db ' ]
	done
	diff -r "$GOLDEN" golden
}

@test "they can be added to, and find what they hold" {
	local repo
	for repo in plain encrypted; do
		mkdir -p golden/$repo/tmp # git does not keep it
		vmbackup -r "golden/$repo" restore db a.raw
		run vmbackup -r golden/$repo backup --json --vm db --full a.raw
		assert_success
		[ "$(json .new_bytes)" = 0 ]
		[ "$(json .stored_bytes)" = 0 ]
		random_bytes 9 100000 >b.raw
		vmbackup -r golden/$repo backup --vm new b.raw
		vmbackup -r "golden/$repo" restore new c.raw
		assert_same_bytes b.raw c.raw
		run vmbackup -r golden/$repo verify
		assert_success
		rm -f a.raw b.raw c.raw
	done
}

@test "without the passphrase" {
	echo silver >key
	refused 12 vmbackup -r golden/encrypted list
}
