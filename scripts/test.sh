#!/bin/bash
# test.sh BUILD: every test. cargo runs the Rust ones (dev profile: optimised a little, with overflow
# checks and debug assertions), ctest the C ones, examples and consumer projects (against the release
# libraries). Ends with one line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0

# add NAME PASSED FAILED EXIT: a runner that failed without a failed test counts as one.
add() {
    local f=$3
    if [ "$4" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + $2))
    failed=$((failed + f))
    summary+="$1: $2 passed, $f failed"$'\n'
}
summary=

# For the counting of instructions, the comparison of headers, the manual pages; what cannot be installed is skipped by name.
scripts/setup.sh valgrind abidiff mandoc man || true
# The bridge and what it is made of take minutes to compile: BRIDGE=1 has it too, make test-cluster all of its tests.
members=(--workspace)
if [ "${BRIDGE:-0}" = 1 ]; then
    scripts/nats.sh >/dev/null || summary+="  not shown here: the bridge against a real nats-server"$'\n'
else
    members+=(--exclude disk_chan_bridge)
    summary+="  not shown here: the bridge (BRIDGE=1 make test, make test-cluster)"$'\n'
fi
echo "== cargo test"
cargo test --locked "${members[@]}" --no-fail-fast 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
read -r p f < <(awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1) } }
    END { print p + 0, f + 0 }' "$log")
add cargo "$p" "$f" "$code"

echo
echo "== ctest"
(cd "$build" && ctest --output-on-failure --no-tests=error -j "${CTEST_JOBS:-2}") 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
read -r p f < <(sed -n 's/.* tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log" |
    awk '{ f = $1; t = $2 } END { print t - f, f + 0 }')
add ctest "$p" "$f" "$code"

# A program of tests/c holds many tests; what this machine cannot show is not passed over in silence.
inside=$build/Testing/Temporary/LastTest.log
summary+="  in its C programs: $(grep -cE '^ok +s[0-9]+_' "$inside") ok, $(grep -cE '^FAILED +s[0-9]+_' "$inside") failed, $(
    grep -cE '^SKIPPED +s[0-9]+_' "$inside") skipped"$'\n'
summary+=$(sed -nE 's/^SKIPPED +(s[0-9]+_[a-z0-9_]+).*/  not shown here: \1/p' "$inside")
[ -z "${summary##*$'\n'}" ] || summary+=$'\n'

echo
echo "== torture, a share of it"
torture/torture.sh share "$build" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
read -r p f < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log" | tail -n 1)
add torture "${p:-0}" "${f:-0}" "$code"
summary+=$(sed -nE 's/^ *not shown here: /  not shown here: /p' "$log")
[ -z "${summary##*$'\n'}" ] || summary+=$'\n'

echo
printf '%s' "$summary"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
