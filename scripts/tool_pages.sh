#!/bin/sh
# tool_pages.sh: writes man/man1 and cli/completions, which are what disk-chan says about itself. (cli/tests/pages.rs compares.)
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:$HOME/.cargo/bin
tool() { cargo run --quiet --locked -p disk_chan_cli -- "$@"; }
mkdir -p man/man1 cli/completions
rm -f man/man1/*.1
tool man --all man/man1
for shell in bash zsh fish; do tool completions $shell >cli/completions/disk-chan.$shell; done
