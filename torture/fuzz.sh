#!/bin/bash
# fuzz.sh SECONDS: the fuzz targets for so long; a crash, a hang or too much memory is a failure.
# Ends with: N passed, N failed (N: executions).
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -m)" != x86_64 ]; then
    echo "SKIPPED: the fuzzer is set up for x86_64"
    echo "0 passed, 0 failed"
    exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
fuzz/fuzz.sh hostile -max_total_time="$1" 2>&1 | tee "$log" | grep -E '^(#[0-9]+.*pulse|stat::|==|SUMMARY|artifact)' | tail -n 40
code=${PIPESTATUS[0]}
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
echo "${runs:-0} passed, $([ "$code" -eq 0 ] && echo 0 || echo 1) failed"
exit "$code"
