#!/bin/bash
# instructions.sh BUILD [--write]: how many instructions a message takes, counted by valgrind, compared with
# tests/instructions/x86_64.txt. They do not depend on the machine's mood. More than a tenth above or below the figure that
# stands there fails: who changes it says why in the commit, and writes the new ones by --write.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:?the build directory}" && pwd)
write=${2:-}
known=$root/tests/instructions/$(uname -m).txt
messages=10000

if ! command -v valgrind >/dev/null; then
    echo "SKIPPED: no valgrind" && exit 0
elif [ ! -f "$known" ]; then
    echo "SKIPPED: no figures for $(uname -m)" && exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
fresh=$work/figures
failed=0
while read -r call checksum consumers figure; do
    case $call in
    '#'* | '')
        echo "$call $checksum $consumers $figure" | sed 's/ *$//' >>"$fresh"
        continue
        ;;
    esac
    rm -rf channel
    valgrind --tool=callgrind --callgrind-out-file=out "--toggle-collect=dc_$call" \
        "$build/tests-c/instructions" "$call" "$checksum" "$consumers" >log 2>&1 || { cat log && exit 1; }
    total=$(sed -nE 's/.*Collected *: *([0-9]+).*/\1/p' log)
    now=$((total / messages))
    verdict=
    if [ $((now * 10)) -gt $((figure * 11)) ] || [ $((now * 10)) -lt $((figure * 9)) ]; then
        verdict="  FAILED: $figure so far"
        failed=1
    fi
    printf '%-11s checksum %-3s  %d consumer(s): %4d instructions a message%s\n' "$call" "$checksum" "$consumers" "$now" "$verdict"
    printf '%-10s %-4s %d %d\n' "$call" "$checksum" "$consumers" "$now" >>"$fresh"
done <"$known"
if [ "$write" = --write ]; then
    cp "$fresh" "$known"
    exit 0
fi
exit $failed
