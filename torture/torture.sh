#!/bin/bash
# torture.sh share|sample|full BUILD [KIND...]: everything that tries to break the channel, or the kinds named.
# `share` is what make test has of it, `sample` is make torture (seeded, about half an hour on two cores),
# `full` is make torture-full: the counts of docs/RELIABILITY.md, however long they take.
# SEED=n takes another seed. What this machine cannot do is named. Ends with one line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/.."
size=${1:?share, sample or full}
build=${2:-build}
shift 2
only=" $* "
seed=${SEED:-1}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
summary=

case $size in
share | sample | full) ;;
*) echo "torture.sh: share, sample or full, not $size" >&2 && exit 2 ;;
esac
# What is missing and cannot be installed is skipped by name.
[ "$size" = share ] || scripts/setup.sh mkfs.ext4 mkfs.xfs mkfs.btrfs addr2line || true
cargo build --quiet --locked -p disk_chan_torture || exit 1
torture=${CARGO_TARGET_DIR:-target}/debug/torture
lib=$build/lib/libdisk_chan.so

# run NAME COMMAND...: its last line that says "N passed, N failed" counts; none, or another exit code, is one failure.
run() {
    local name=$1 begin=$SECONDS p f
    shift
    echo "== $name"
    "$@" 2>&1 | tee "$log"
    local code=${PIPESTATUS[0]}
    read -r p f < <(sed -nE 's/^(.*[^0-9])?([0-9]+) passed, ([0-9]+) failed.*/\2 \3/p' "$log" | tail -n 1)
    p=${p:-0} f=${f:-0}
    if [ "$f" -eq 0 ] && { [ "$code" -ne 0 ] || [ "$p" -eq 0 ]; } && ! grep -q '^SKIPPED' "$log"; then f=1; fi
    passed=$((passed + p))
    failed=$((failed + f))
    summary+=$(printf '%-44s %12d passed %6d failed %6d s' "$name" "$p" "$f" $((SECONDS - begin)))$'\n'
    summary+=$(sed -nE 's/^SKIPPED:? */    not shown here: /p' "$log")
    [ -z "${summary##*$'\n'}" ] || summary+=$'\n'
}

# kind NAME SHARE SAMPLE FULL: the arguments of `torture NAME` for each size; - leaves it out.
kind() {
    local name=$1 words
    [ "$only" = "  " ] || [[ $only == *" $name "* ]] || return 0
    case $size in
    share) words=$2 ;;
    sample) words=$3 ;;
    full) words=$4 ;;
    esac
    [ "$words" = - ] && return 0
    # shellcheck disable=SC2086
    run "$name $words" "$torture" $name --lib "$lib" --seed "$seed" --jobs "${JOBS:-2}" $words
}

# other NAME COMMAND...: what is no kind of `torture`, not part of the share.
other() {
    local name=$1
    shift
    [ "$size" != share ] || return 0
    [ "$only" = "  " ] || [[ $only == *" $name "* ]] || return 0
    run "$name" "$@"
}

. torture/kinds.sh

echo
printf '%s' "$summary"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
