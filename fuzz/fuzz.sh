#!/bin/sh
# Build the fuzz targets with AddressSanitizer and coverage, without the cargo-fuzz program, and run one:
#
#   fuzz/fuzz.sh hostile -max_total_time=1200        fuzz for 20 minutes
#   fuzz/fuzz.sh hostile fuzz/seeds/hostile/*        only the committed inputs, once each
#   fuzz/fuzz.sh hostile crash-...                   replay what was found
#
# Arguments are libFuzzer's. New inputs gather in target/fuzz/corpus-<target>; what crashes lies in
# target/fuzz. Stable rustc takes the flags with RUSTC_BOOTSTRAP=1.
set -eu
target=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/target/fuzz
mkdir -p "$out/corpus-$target"

export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address --cfg fuzzing -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
-Cllvm-args=-simplifycfg-branch-fold-threshold=0 -Ccodegen-units=1 -Cforce-frame-pointers=yes"
cargo build --quiet --release --manifest-path "$root/fuzz/Cargo.toml" --bin "$target" \
    --target x86_64-unknown-linux-gnu --target-dir "$out"

binary=$out/x86_64-unknown-linux-gnu/release/$target
# Files as arguments are replayed; otherwise fuzz, from the committed inputs on.
replay=
for argument in "$@"; do
    [ -f "$argument" ] && replay=yes
done
if [ -n "$replay" ]; then
    exec "$binary" -timeout=20 "$@"
fi
cd "$out"
exec "$binary" -timeout=20 -rss_limit_mb=2048 -max_len=722 -print_final_stats=1 "$@" \
    "corpus-$target" "$root/fuzz/seeds/$target"
