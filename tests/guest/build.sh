#!/bin/sh
# tests/guest/build.sh TARGET - the test guest, a bzImage of a few KiB
set -eu
cd "$(dirname "$0")/../.."
elf=$1.elf
gcc -std=gnu17 -O1 -I. -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pic -no-pie -mno-red-zone -mgeneral-regs-only \
	-fcf-protection=none -fno-asynchronous-unwind-tables -static -nostdlib -nostartfiles -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments \
	-Wl,-T,tests/guest/guest.ld -o "$elf" tests/guest/head.S tests/guest/main.c tests/guest/virtio.c tests/guest/disk.c tests/guest/hostile.c tests/guest/flood.c
objcopy -O binary "$elf" "$1"
rm -f "$elf"
