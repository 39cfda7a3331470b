#!/bin/bash
# reproducible.sh: builds both libraries twice, from two copies of what is committed, in directories of different names and
# lengths, and compares them byte by byte. Takes a few minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in one another-one-elsewhere; do
    git clone --quiet "$root" "$work/$copy"
    cmake -S "$work/$copy" -B "$work/$copy/build" -DDISK_CHAN_BUILD_TESTS=OFF -DDISK_CHAN_BUILD_EXAMPLES=OFF >/dev/null
    cmake --build "$work/$copy/build" >"$work/log" 2>&1 || { cat "$work/log" && exit 1; }
    (cd "$work/$copy/build/lib" && sha256sum libdisk_chan.so libdisk_chan.a) | tee "$work/$copy.sums"
    rm -rf "$work/$copy"
done
cmp "$work/one.sums" "$work/another-one-elsewhere.sums"
echo "reproducible: the same bytes"
