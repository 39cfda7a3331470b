#!/bin/bash
# package_test.sh BUILD [CHECK ...]: what who packs this, or builds it elsewhere, relies on and `make test` has no time for. Takes many
# minutes; wants the network but where it says otherwise. Ends with: N passed, N failed.
#
#   offline       builds from a vendored tree, with no network
#   crate         cargo package: the crate builds from its own archive
#   reproducible  two builds in two places are the same, byte by byte
#   conan         the recipe, where there is Conan 2
#
# Here too, as in `make test`: packages, each installed into an empty root and used from there.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
build=$(cd "${1:?the build directory}" && pwd)
shift
checks=("$@")
[ $# -gt 0 ] || checks=(packages offline crate reproducible conan)
passed=0
failed=0
for check in "${checks[@]}"; do
    directory=$build/package-test/$check
    rm -rf "$directory" && mkdir -p "$directory"
    case $check in
    packages) command=("$root/tests/cmake/packages.sh" cc "$build") ;;
    offline | crate) command=("$root/tests/cmake/$check.sh" "$root") ;;
    reproducible) command=("$root/scripts/reproducible.sh") ;;
    conan)
        command -v conan >/dev/null || { echo "package-test: conan: SKIPPED: it is not here (pip install conan)" && continue; }
        command=(env CONAN_HOME="$directory/home" sh -c 'conan profile detect && conan create "$1" --no-remote' sh "$root/packaging/conan")
        ;;
    *) echo "package-test: there is no check called $check" >&2 && exit 2 ;;
    esac
    if (cd "$directory" && "${command[@]}") >"$directory.log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "package-test: $check: $(tail -n 1 "$directory.log")"
        rm -rf "$directory"
    else
        failed=$((failed + 1))
        tail -n 30 "$directory.log"
        echo "package-test: $check: FAILED: $directory.log"
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
