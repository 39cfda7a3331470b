#!/bin/sh
# What a reviewer should not have to look for: formatting, lints, the header.
set -eu
cd "$(dirname "$0")/.."
for tool in fmt clippy; do
    cargo $tool --version >/dev/null 2>&1 || {
        echo "check: cargo $tool is missing: rustup component add rustfmt clippy" >&2
        exit 1
    }
done
echo "== formatting"
cargo fmt --all --check
echo "== clippy"
# The bridge is looked at by scripts/test_cluster.sh: what it is made of takes minutes.
cargo clippy --quiet --locked --workspace --exclude disk_chan_bridge --all-targets -- -D warnings
cargo clippy --quiet --locked --lib --features capi -- -D warnings
echo "== header"
generated=$(mktemp)
trap 'rm -f "$generated"' EXIT
scripts/header.sh >"$generated"
if ! diff -u include/disk_chan.h "$generated"; then
    echo "check: include/disk_chan.h differs from what the code says: make header" >&2
    exit 1
fi
echo "== manual pages"
if command -v python3 >/dev/null; then
    python3 scripts/manual --check
else
    echo "SKIPPED: no python3 here to compare man/ with the header"
fi
echo "== README.md names tests that exist"
for name in $(sed -n '/^## Guarantees/,/^## Durability/p' README.md | grep -oE '`[a-z0-9]+_[a-z0-9_]+`' | tr -d '`' | sort -u); do
    case $name in
    dc_* | stall_timeout_ms) continue ;;
    esac
    grep -rqw -- "$name" tests src || { echo "check: README.md names $name, and no test is called that" >&2; exit 1; }
done
echo "check: fine"
