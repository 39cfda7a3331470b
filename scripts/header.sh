#!/bin/sh
# Prints the header that build.rs generates from the code, to compare with include/disk_chan.h.
set -eu
cd "$(dirname "$0")/.."
messages=$(cargo check --quiet --locked --lib --features capi --message-format=json)
out=$(printf '%s\n' "$messages" | grep '"reason":"build-script-executed"' | grep '[/#]disk_chan[@#]' |
    sed -n 's/.*"out_dir":"\([^"]*\)".*/\1/p' | tail -n 1)
if [ ! -f "$out/disk_chan.h" ]; then
    echo "header: build.rs left no disk_chan.h in ${out:-its output directory}" >&2
    exit 1
fi
cat "$out/disk_chan.h"
