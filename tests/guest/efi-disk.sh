#!/bin/bash
# tests/guest/efi-disk.sh TARGET MODULES ROOT SIZE - a raw disk that UEFI firmware starts: GPT, an EFI system partition of SIZE with the
# files of ROOT, and GRUB made of MODULES (/usr/lib/grub/x86_64-efi) as its boot loader, with ROOT/grub.cfg
set -euo pipefail
target=$1 modules=$2 root=$3 size=$4
grub-mkimage -O x86_64-efi -d "$modules" -o "$target.efi" -p /grub part_gpt fat serial terminal echo linux normal halt configfile
rm -f "$target.fs" "$target"
truncate -s "$size" "$target.fs"
mkfs.vfat -n ESP "$target.fs" >/dev/null
mmd -i "$target.fs" ::EFI ::EFI/BOOT ::grub
mcopy -i "$target.fs" "$target.efi" ::EFI/BOOT/BOOTX64.EFI
mcopy -i "$target.fs" "$root/grub.cfg" ::grub/grub.cfg
for f in "$root"/*; do [ "${f##*/}" = grub.cfg ] || mcopy -i "$target.fs" "$f" ::; done
bytes=$(stat -c %s "$target.fs")
truncate -s $((bytes + (2 << 20))) "$target"
printf 'label: gpt\nstart=2048, size=%s, type=uefi\n' $((bytes / 512)) | sfdisk -q "$target"
dd if="$target.fs" of="$target" bs=1M seek=1 conv=notrunc status=none
rm "$target.efi" "$target.fs"
