#!/usr/bin/env bats
# Encrypted repositories: the passphrase, and that nothing can be read without it.
load common

setup() {
	common_setup
	export VMKIT_REPOSITORY=$PWD/repo VMKIT_PASSWORD_FILE=$PWD/key
	echo 'correct horse' >key
	vmbackup init --scrypt-log2n 10
}

@test "backup, list and restore with the passphrase" {
	random_image a.raw 9000000 31 30
	vmbackup backup --vm web a.raw
	vmbackup restore web b.raw
	assert_same_bytes a.raw b.raw
	run vmbackup verify
	assert_success
	unset VMKIT_PASSWORD_FILE
	VMKIT_PASSWORD_COMMAND='echo "correct horse"' vmbackup list web >out
	grep -q web out
}

@test "a wrong passphrase and none" {
	random_image a.raw 1000000 32 5
	vmbackup backup --vm web a.raw
	echo wrong >wrong
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmbackup list
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmbackup backup --vm web a.raw
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmbackup restore web b.raw
	VMKIT_PASSWORD_FILE=$PWD/wrong refused 12 vmbackup verify
	unset VMKIT_PASSWORD_FILE
	refused 12 setsid -w vmbackup list
	[[ $stderr == *VMKIT_PASSWORD_FILE* ]]
	refused 12 setsid -w vmbackup -r new init
	[[ $stderr == *VMKIT_PASSWORD_FILE* ]]
	assert_not_exists new/config
}

@test "no name and no content can be seen" {
	yes 'a very secret line of text' | head -c 500000 >a.raw
	vmbackup backup --vm secretvm --tag secrettag secretdisk=a.raw
	run grep -rlaE 'very secret|secretvm|secretdisk|secrettag|a\.raw' repo
	assert_failure
	assert_output ''
}

@test "init makes a key that needs no stretching" {
	random_image a.raw 1000000 35 5
	vmbackup -r r2 init --new-key new.key
	[ "$(stat -c %a new.key)" = 600 ]
	grep -qxE 'vmkit-key-[0-9a-f]{64}' new.key
	export VMKIT_PASSWORD_FILE=$PWD/new.key
	vmbackup -r r2 backup --vm web a.raw
	vmbackup -r r2 restore web b.raw
	assert_same_bytes a.raw b.raw
	VMKIT_PASSWORD_FILE=$PWD/key refused 12 vmbackup -r r2 list
	tr 0-9a-f 1-9a-f0 <new.key >other.key
	VMKIT_PASSWORD_FILE=$PWD/other.key refused 12 vmbackup -r r2 list

	refused 5 vmbackup -r r3 init --new-key new.key
	assert_not_exists r3/config
	refused 5 vmbackup -r r2 init --new-key none.key
	assert_not_exists none.key
	refused 2 vmbackup -r r3 init --new-key x.key --no-encryption
	assert_not_exists x.key
}
