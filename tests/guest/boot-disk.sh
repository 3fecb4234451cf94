#!/bin/sh
# tests/guest/boot-disk.sh TARGET - a raw disk of 1 MiB with tests/guest/boot.S in its first sectors
set -eu
src=$(dirname "$0")/boot.S
gcc -c -o "$1.o" "$src"
ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary -e _start -o "$1" "$1.o"
rm -f "$1.o"
truncate -s 1M "$1"
