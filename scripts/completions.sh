#!/bin/sh
# scripts/completions.sh BIN DIR PROGRAM - write DIR/PROGRAM.{bash,zsh,fish} as BIN/PROGRAM prints them
set -eu
for shell in bash zsh fish; do
	"$1/$3" __completion $shell >"$2/$3.$shell.new"
	mv "$2/$3.$shell.new" "$2/$3.$shell"
done
