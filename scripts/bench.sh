#!/bin/sh
# The benchmark with every peer that can be built here; writes docs/BENCHMARKS.md and docs/plots.
# bench.sh BUILD [ARGUMENT ...]: arguments of `bench full` (--rounds, --scale, --only); with BENCH=check, of `bench check`.
# A peer that cannot be built is left out, and the document says which and why.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
[ $# -eq 0 ] || shift
PATH=$PATH:$HOME/.cargo/bin
features="aeron iceoryx2 lmdb redis sqlite zeromq"
# Where cargo builds; also what only the benchmark needs.
target=${CARGO_TARGET_DIR:-target}
tools=$target/bench-tools
log=$target/bench-build.log
missing=$target/bench-missing.tsv
mkdir -p "$target"
: >"$missing"

# Aeron wants cmake 3.30, newer than most systems have, and libclang, for its bindings: PyPI has both.
python_tools() {
    [ -x "$tools/bin/cmake" ] || {
        python3 -m venv "$tools" && "$tools/bin/pip" --quiet --disable-pip-version-check install cmake libclang
    } >&2 || echo "bench: no cmake and libclang from PyPI; what the system has must do" >&2
    [ -x "$tools/bin/cmake" ] || return 0
    PATH=$(cd "$tools" && pwd)/bin:$PATH
    if [ -z "${LIBCLANG_PATH:-}" ]; then
        found=$(find "$(cd "$tools" && pwd)" -name 'libclang*.so*' | head -n 1)
        [ -z "$found" ] || export LIBCLANG_PATH="${found%/*}"
    fi
    # This libclang comes without the compiler's own headers.
    own=$(${CC:-cc} -print-file-name=include 2>/dev/null) || return 0
    export BINDGEN_EXTRA_CLANG_ARGS="-I$own ${BINDGEN_EXTRA_CLANG_ARGS:-}"
}

# Libraries that Aeron is linked with: Debian's, where that is what runs here and we may install.
libraries() {
    echo 'int main(void) { return 0; }' | ${CC:-cc} -x c - -lbsd -luuid -o /dev/null 2>/dev/null && return 0
    command -v apt-get >/dev/null || return 0
    as=
    [ "$(id -u)" -eq 0 ] || as="sudo -n"
    # shellcheck disable=SC2086
    $as env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libbsd-dev uuid-dev \
        >>"$log" 2>&1 </dev/null || echo "bench: libbsd and libuuid are missing: Aeron will not link" >&2
}

compile() { nice -n 5 cargo build --locked --release -p disk_chan_bench --features "$1"; }

# The line of the log that says best why.
reason() {
    why=$(grep -E 'CMake Error|unable to find library|cannot find -l|Unable to find libclang|fatal error|^error|  error' "$log" |
        grep -vE 'could not compile|linking with|failed to run custom build' | head -n 1)
    [ -n "$why" ] || why=$(grep -E '^error' "$log" | head -n 1)
    printf '%s' "${why:-see $log}" | tr '\t' ' ' | cut -c 1-200
}

# The feature whose package the log says could not be built; nothing where it does not say.
culprit() {
    if grep -qE '(library|find) -l(bsd|uuid)' "$log"; then
        echo aeron
        return
    fi
    for package in $(sed -nE 's/.*(custom build command for|could not compile) `([a-z0-9_-]+).*/\2/p' "$log"); do
        case $package in
        rusteron*) echo aeron ;;
        iceoryx2*) echo iceoryx2 ;;
        lmdb*) echo lmdb ;;
        redis) echo redis ;;
        rusqlite | libsqlite3*) echo sqlite ;;
        zmq* | zeromq*) echo zeromq ;;
        *) continue ;;
        esac
        return
    done
}

leave_out() {
    cp "$log" "$target/bench-build-$1.log"
    printf '%s\t%s\n' "$1" "it could not be built: $(reason)" >>"$missing"
    echo "bench: without $1: $target/bench-build-$1.log" >&2
}

echo "bench: building the peers; what they print goes to $log" >&2
: >"$log"
python_tools
libraries
good=$features
until compile "$(echo $good | tr ' ' ',')" >>"$log" 2>&1; do
    bad=$(culprit)
    case " $good " in
    *" ${bad:-?} "*) ;;
    *)
        # The log does not say which: each by itself does.
        for feature in $good; do
            echo "bench: trying $feature" >&2
            compile "$feature" >"$log" 2>&1 || { bad=$feature && break; }
        done
        [ -n "$bad" ] || { cat "$log" >&2 && exit 1; }
        ;;
    esac
    leave_out "$bad"
    good=$(for feature in $good; do [ "$feature" = "$bad" ] || echo "$feature"; done | tr '\n' ' ')
    : >"$log"
done
command -v strace >/dev/null || scripts/setup.sh strace || true
if ! command -v redis-server >/dev/null; then
    printf 'redis\tredis-server is not installed\n' >>"$missing"
fi

what=${BENCH:-full}
kept=
[ "$what" != full ] || kept="--results $target/bench-results.json"
# shellcheck disable=SC2086
exec "$target/release/bench" "$what" --lib "$build/lib/libdisk_chan.so" --scratch "$build" --missing "$missing" $kept "$@"
