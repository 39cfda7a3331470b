#!/bin/bash
# sanitize.sh KIND [BUILD]: the C and C++ tests, and what of the Rust tests can, under a checker of memory or threads.
#
#   address    AddressSanitizer, UBSan for C, debug assertions for Rust; then the Rust tests, with leaks
#   thread     ThreadSanitizer
#   valgrind   memcheck, on the libraries as they are shipped
#
# Builds in BUILD (build-KIND). First it runs programs that are wrong (tests/c/planted.c) and ends if one is not
# noticed. tests/c/sanitize.txt names the tests that cannot work under a KIND. JOBS=2 programs at a time;
# ONLY=recv runs one (of tests/cpp: ONLY=throwing). Ends with: N passed, N failed. Where the machine lacks what is needed it says
# SKIPPED.
set -uo pipefail
cd "$(dirname "$0")/.."
kind=${1:-}
build=${2:-build-$kind}
case $kind in address | thread | valgrind) ;; *) sed -n '2,12p' "$0" >&2 && exit 2 ;; esac
export PATH=$PATH:$HOME/.cargo/bin

skip() {
    echo "sanitize $kind: SKIPPED, NOT SHOWN HERE: $1" >&2
    echo "0 passed, 0 failed"
    exit 0
}
scripts/setup.sh || exit 1
if [ "$kind" = valgrind ]; then
    scripts/setup.sh valgrind || skip "no valgrind, and no way to install it"
else
    host=$(rustc -vV | sed -n 's/^host: //p')
    runtime=$(find "$(rustc --print sysroot)/lib/rustlib/$host/lib" -name "librustc*_rt.${kind:0:1}san.a")
    [ -n "$runtime" ] || skip "Rust has no $kind sanitizer for $host"
    flags=(-DDISK_CHAN_SANITIZE="$kind")
fi
cmake -S . -B "$build" -DDISK_CHAN_INSTALL=OFF "${flags[@]}" >/dev/null && cmake --build "$build" --target c_tests cpp_tests -j "${JOBS:-2}" || exit 1

logs=$PWD/$build/sanitize
rm -rf "$logs" && mkdir -p "$logs/tmp"
export TMPDIR=$logs/tmp DISK_CHAN_SO=$PWD/$build/lib/libdisk_chan.so.0
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
# A child of a process with threads may start threads of its own: the library says so.
export TSAN_OPTIONS=die_after_fork=0:atexit_sleep_ms=0:allow_addr2line=1:suppressions=$PWD/tests/c/tsan.supp
under=
case $kind in
address) export DC_TEST_SCALE=${DC_TEST_SCALE:-5} ;;
thread) export DC_TEST_SCALE=${DC_TEST_SCALE:-15} ;;
valgrind)
    export DC_TEST_SCALE=${DC_TEST_SCALE:-40}
    # Registers as they are at each access: the SIGBUS guard returns to the instruction that faulted.
    under="valgrind -q --error-exitcode=99 --fair-sched=yes --vex-iropt-register-updates=allregs-at-mem-access"
    ;;
esac
export under logs build kind

# planted WHAT TEXT [VARIABLE=VALUE]: the program ends with an error, and the report says TEXT ("": it must find nothing).
planted() {
    local code log=$logs/planted-$1
    env "${@:3}" $under "$build/tests-c/c_planted" "$1" "$logs/tmp/planted-$1" >"$log" 2>&1
    code=$?
    if [ -n "$2" ] && [ $code -ne 0 ] && grep -q "$2" "$log"; then
        echo "planted $1: noticed"
    elif [ -z "$2" ] && [ $code -eq 0 ] && [ ! -s "$log" ]; then
        echo "planted $1: silent"
    else
        cat "$log"
        echo "planted $1: exit $code, and not: ${2:-silence}"
        echo "0 passed, 1 failed"
        exit 1
    fi
}
planted none ""
case $kind in
address)
    planted overflow heap-buffer-overflow
    planted shift "shift exponent 43 is too large"
    planted freed heap-use-after-free
    planted leak "detected memory leaks" ASAN_OPTIONS=detect_leaks=1
    ;;
thread)
    planted race "data race .*writes"
    planted handle "data race .*/src/"
    ;;
valgrind)
    planted overflow "Invalid write"
    planted freed "Invalid read"
    planted unset "depends on uninitialised"
    ;;
esac

# program PATH: its tests, but those that are left out.
program() {
    local tests name=${1##*/}
    tests=$("$1" --list | grep -vxFf "$logs/out")
    [ -n "$tests" ] || exit 0
    # shellcheck disable=SC2086
    $under "$1" $tests >"$logs/$name.log" 2>&1
    echo "$kind $name: $(tail -n 1 "$logs/$name.log")"
}
export -f program
grep -E "^[a-z,]*$kind[a-z,]* " tests/c/sanitize.txt | awk '{ print $2 }' >"$logs/out"
find "$build"/tests-c "$build"/tests-cpp -type f \( -name "c*_test_${ONLY:-*}" -o -name "cpp*_${ONLY:-*}" \) | sort |
    xargs -P "${JOBS:-2}" -I PATH bash -c 'program PATH'
programs=$(find "$logs" -name 'c*_*.log' | sort)
# shellcheck disable=SC2086
cat /dev/null $programs >"$logs/all.log"
count() { grep -cE "^$1 +[a-z0-9_]+ \([0-9]+ ms\)" "$logs/all.log"; }
passed=$(count ok)
failed=$(count FAILED)
for log in $programs; do # A program that ended amid its tests, or a report outside of one.
    tail -n 1 "$log" | grep -qE '^[0-9]+ passed, [0-9]+ failed' || { failed=$((failed + 1)) && echo "no end: $log"; }
done
grep -E -A12 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error|^==[0-9]+== [A-Z]' "$logs/all.log" | head -200
sed -nE 's/^FAILED +([a-z0-9_]+) .*/failed: \1/p; s/^SKIPPED +([a-z0-9_]+) .*/not shown here: \1/p' "$logs/all.log"
sed "s/^/left out (tests\/c\/sanitize.txt): /" "$logs/out"

if [ "$kind" = address ] && [ -z "${ONLY:-}" ]; then
    # A target of its own, so that what runs while building is not instrumented.
    # shellcheck disable=SC2046
    ASAN_OPTIONS=${ASAN_OPTIONS/detect_leaks=0/detect_leaks=1} RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS="-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer" \
        cargo test --locked --target "$host" --target-dir "$build/cargo-tests" --lib --tests --no-fail-fast -- \
        $(sed 's/^/--skip /' "$logs/out") >"$logs/rust.log" 2>&1
    code=$?
    read -r p f < <(awk '/^test result:/ { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1) } }
        END { print p + 0, f + 0 }' "$logs/rust.log")
    if [ $code -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    [ "$f" -eq 0 ] || grep -E -A30 '^test .* FAILED|panicked|ERROR: (Address|Leak)Sanitizer' "$logs/rust.log" | head -200
    echo "$kind Rust: $p passed, $f failed"
    passed=$((passed + p)) failed=$((failed + f))
fi
echo "sanitize $kind: $(count SKIPPED) not shown here, $(wc -l <"$logs/out") left out; logs in $logs"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
