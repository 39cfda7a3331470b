#!/bin/bash
# test_cluster.sh [FILTER]: every test of the bridge against real servers, and the figures of docs/CLUSTER.md; says in the end
# what was not shown here. Optimised, so that the figures are worth something; the whole-program optimisation of a release is left out.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo clippy --quiet --locked -p disk_chan_bridge --all-targets -- -D warnings || exit 1
scripts/nats.sh >/dev/null || exit 1
cargo test --locked --release --config profile.release.lto=false --config profile.release.codegen-units=16 -p disk_chan_bridge --test servers -- --include-ignored --nocapture --test-threads 1 "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
echo
grep -E '(^|ok|\.\.\. )(recovery|figure): ' "$log" | sed -E 's/.*((recovery|figure): )/\1/'
sed -nE 's/.*SKIPPED: /not shown here: /p' "$log" | sort -u
exit "$code"
