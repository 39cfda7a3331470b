#!/bin/sh
# demo.sh BUILD: shows the channel at work, and checks all of it.
#   1. mpmc: 4 producer and 4 consumer threads, every message checked
#   2. lines: a real text through 4 producer and 4 consumer processes; both sides must be the same
#      multiset of lines
# DEMO_MESSAGES (5000000) and DEMO_LINES (2000000, at most) change the amounts.
set -eu
build=${1:-build}
messages=${DEMO_MESSAGES:-5000000}
limit=${DEMO_LINES:-2000000}
export LC_ALL=C

work=$(mktemp -d "${TMPDIR:-/tmp}/disk_chan_demo.XXXXXX")
pids=
cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

lines=$build/demo/lines
channel=$work/channel

echo "== 1. $messages messages, 4 producer and 4 consumer threads, one group, 16 pages"
"$build/examples-c/mpmc" "$messages" "$work/mpmc"

echo
echo "== 2. A real text through 4 producer and 4 consumer processes"
# Files that a Debian machine with a C compiler has; others have some of them. Each is taken once.
sources() {
    find /var/lib/dpkg/info -type f -name '*.list'
    find /usr/include /usr/share/dict /usr/lib/gcc/*/*/include /usr/share/doc /usr/share/perl \
        /usr/lib/python3* /usr/share/common-licenses -type f \
        ! -name '*.gz' ! -name '*.pyc' ! -name '*.so' ! -name '*.a' ! -name '*.png'
}
# awk ends each file with a newline; head takes what is wanted.
sources 2>/dev/null | tr '\n' '\0' | xargs -0 awk 1 2>/dev/null | head -n "$limit" >"$work/text" || true
total=$(wc -l <"$work/text")
echo "text: $total lines, $(wc -c <"$work/text") bytes of package lists, C headers and documents"
if [ "$total" -lt "$limit" ] && [ "$total" -lt 1000000 ]; then
    echo "note: this machine has no more than that; 1000000 or more were wanted"
fi

printf 'channel: '
"$lines" create "$channel" "$work/text"
receivers=
for i in 0 1 2 3; do
    "$lines" recv "$channel" "$work/out.$i" &
    receivers="$receivers $!"
done
senders=
for i in 0 1 2 3; do
    "$lines" send "$channel" "$i" 4 "$work/text" &
    senders="$senders $!"
done
pids="$receivers $senders"
start=$(date +%s.%N)

failed=0
for pid in $senders; do wait "$pid" || failed=1; done
[ $failed -eq 0 ] || { echo "demo: a sender failed"; exit 1; }
"$lines" stop "$channel" 4
for pid in $receivers; do wait "$pid" || failed=1; done
pids=
[ $failed -eq 0 ] || { echo "demo: a receiver failed"; exit 1; }
echo "8 processes, $(date +%s.%N | awk -v start="$start" '{ printf "%.1f", $1 - start }') s (reading and writing files included)"

digest() { sort "$@" | sha256sum | cut -d' ' -f1; }
count_in=$total
count_out=$(cat "$work"/out.* | wc -l)
digest_in=$(digest "$work/text")
digest_out=$(digest "$work"/out.*)
echo "in:  $count_in lines, sorted SHA-256 $digest_in"
echo "out: $count_out lines, sorted SHA-256 $digest_out"
if [ "$count_in" != "$count_out" ] || [ "$digest_in" != "$digest_out" ]; then
    echo "demo: NOT the same"
    exit 1
fi
echo "demo: all of it arrived, each line exactly once"
