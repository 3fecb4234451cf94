#!/bin/sh
# scripts/deps.sh [-n] [GROUP...] - install the Debian packages a group needs and this machine lacks
#
# Groups: build (compiler and libraries), test, fuzz, lint, demo, bench; default: all but bench. -n only says what is missing.
# Needs root, or sudo that asks for no password; else it prints the command to run and ends with status 1. Nothing is
# touched when nothing is missing.
set -eu

build="gcc libc6-dev make pkg-config libjansson-dev libssl-dev libzstd-dev libdeflate-dev libisal-dev zlib1g-dev libbz2-dev libxxhash-dev libext2fs-dev libnbd-dev libarchive-dev libxml2-dev libcurl4-openssl-dev libvirt-dev nbdkit-plugin-dev libfuse3-dev"
test="$build libcmocka-dev bats bats-support bats-assert bats-file qemu-utils nbdkit libnbd-bin libqcow-utils libvmdk-utils libvhdi-utils e2fsprogs jq libxml2-utils openssl python3
	curl mandoc zsh fish python3-jsonschema zstd fdisk gdisk dosfstools mtools ntfs-3g xfsprogs libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86
	qemu-guest-agent busybox-static genisoimage openssh-client python3-yaml cpio kmod linux-image-cloud-amd64 acpica-tools binutils
	ceph-mon ceph-osd radosgw ceph-common fuse3 passt libguestfs0 supermin btrfs-progs seabios ovmf grub-pc-bin grub-efi-amd64-bin grub-common lz4
	pacemaker-common cloud-init"
fuzz="$build clang llvm libclang-rt-dev"
lint="$build clang clang-tidy clang-format cppcheck shellcheck man-db mawk"
demo="$build e2fsprogs qemu-utils"
bench="$build e2fsprogs qemu-utils zstd borgbackup restic python3"

dry=
if [ "${1:-}" = -n ]; then
	dry=1
	shift
fi
[ $# -gt 0 ] || set -- build test fuzz lint demo

wanted=
for group; do
	case $group in
	build) wanted="$wanted $build" ;;
	test) wanted="$wanted $test" ;;
	fuzz) wanted="$wanted $fuzz" ;;
	lint) wanted="$wanted $lint" ;;
	demo) wanted="$wanted $demo" ;;
	bench) wanted="$wanted $bench" ;;
	*)
		echo "deps.sh: no group '$group': build, test, fuzz, lint, demo, bench" >&2
		exit 2
		;;
	esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps.sh: not a Debian system; needed are what Debian calls: $(echo "$wanted" | xargs -n 1 | sort -u | xargs)" >&2
	exit 1
fi

missing=
for package in $(echo "$wanted" | xargs -n 1 | sort -u); do
	case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
	"install ok installed") ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0
if [ -n "$dry" ]; then
	echo "missing:$missing"
	exit 1
fi

if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
	sudo="sudo -n"
else
	echo "deps.sh: missing:$missing" >&2
	echo "hint: as root, run: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

echo "installing:$missing"
log=$(mktemp "${TMPDIR:-/tmp}/vmkit-deps.XXXXXX")
trap 'rm -f "$log"' EXIT
apt() {
	# shellcheck disable=SC2086 # $sudo is empty or two words
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null
}
# cloud-init is wanted for its parsers: it is not to set this machine up at its next boot.
case "$missing " in
*" cloud-init "*) $sudo mkdir -p /etc/cloud && $sudo touch /etc/cloud/cloud-init.disabled ;;
esac
# The lists may be absent or old: they are fetched only when the first attempt fails.
# shellcheck disable=SC2086 # a list of words
if ! apt install --no-install-recommends $missing; then
	if ! apt update || ! apt install --no-install-recommends $missing; then
		tail -n 20 "$log" >&2
		echo "deps.sh: apt-get could not install$missing" >&2
		exit 1
	fi
fi
