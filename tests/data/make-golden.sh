#!/bin/bash
# make-golden.sh FOLDER - make golden repositories of this format version: FOLDER/{plain,encrypted}.
#
# golden-repo is of version 1, golden-repo-2 of version 2, golden-repo-3 of version 3 (with deltas). They stay as they are for as long as the program says that it
# reads their version: run this for a new version of the format, into a folder of another name, and keep the old ones.
# The passphrase is "golden". Each has three snapshots; in "expected" stand, one a line: repository, snapshot, disk, size
# and SHA-256 of the disk.
set -eu
out=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo golden >key
export VMKIT_PASSWORD_FILE=$work/key
unset VMKIT_REPOSITORY VMKIT_PASSWORD_COMMAND

random() { openssl enc -aes-128-ctr -nosalt -K "$(printf %032x "$1")" -iv 0 </dev/zero 2>/dev/null | head -c "$2"; }

# disk a: text, zeros, random bytes in the second region, an odd end; disk b: sparse and larger than 4 GiB
seq 1 40000 >a.raw
truncate -s 20000000 a.raw
random 1 40000 | dd of=a.raw bs=4096 seek=4200 conv=notrunc status=none
printf end >>a.raw
truncate -s 5G b.raw
random 2 20000 | dd of=b.raw bs=4096 seek=1200000 conv=notrunc status=none
cp a.raw a2.raw
random 3 9000 | dd of=a2.raw bs=4096 seek=10 conv=notrunc status=none

mkdir new
for repo in plain encrypted; do
	option=--no-encryption
	[ $repo = plain ] || option=--scrypt-log2n=10
	vmbackup -r new/$repo init "$option"
	vmbackup -r new/$repo backup --vm web --tag first vda=a.raw data=b.raw
	vmbackup -r new/$repo backup --vm web --tag second vda=a2.raw data=b.raw
	vmbackup -r new/$repo backup --vm db - <a2.raw
	mapfile -t ids < <(vmbackup -r new/$repo list --json | jq -r '.[].id')
	set -- "${ids[@]}"
	{
		echo "$repo web@$1:vda $(stat -c %s a.raw) $(sha256sum <a.raw | cut -d' ' -f1)"
		echo "$repo web@$1:data $(stat -c %s b.raw) $(sha256sum <b.raw | cut -d' ' -f1)"
		echo "$repo web@$2:vda $(stat -c %s a2.raw) $(sha256sum <a2.raw | cut -d' ' -f1)"
		echo "$repo db@$3 $(stat -c %s a2.raw) $(sha256sum <a2.raw | cut -d' ' -f1)"
	} >>new/expected
done
# git keeps no empty folders, and no modes but "executable": nor does the test see them
find new -type d -empty -delete
chmod -R u+w new
rm -rf "$out"
mv new "$out"
