#!/bin/bash
# package.sh BUILD [OUT]: the .tar.gz, and on Debian and its kin the .deb pair, in OUT (BUILD/packages).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?the build directory}
mkdir -p "${2:-$build/packages}"
out=$(cd "${2:-$build/packages}" && pwd)
kinds=tgz
if command -v dpkg-deb >/dev/null; then kinds+=" deb"; else echo "package: no dpkg-deb: no .deb"; fi
for kind in $kinds; do
    # Debian's own flags for directories; the archive is to be unpacked anywhere.
    prefix=/usr libdir=lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo)
    [ $kind = deb ] || prefix=/usr/local libdir=lib
    tree=$build/package-$kind
    cmake -S . -B "$tree" -DCMAKE_INSTALL_PREFIX=$prefix -DCMAKE_INSTALL_LIBDIR="$libdir" -DDISK_CHAN_PACKAGE=$kind \
        -DDISK_CHAN_BUILD_TESTS=OFF -DDISK_CHAN_BUILD_EXAMPLES=OFF \
        -DDISK_CHAN_CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$(cd "$build" && pwd)/cargo}" >"$build/package-$kind.log"
    cmake --build "$tree" >>"$build/package-$kind.log"
    (cd "$tree" && cpack -B "$out" >>"../package-$kind.log") || { cat "$build/package-$kind.log" && exit 1; }
done
rm -rf "$out/_CPack_Packages"
# CPack has the scripts call ldconfig, for which Debian has a trigger now (packages.cmake adds it).
for deb in "$out"/libdisk-chan0_*.deb; do
    [ -e "$deb" ] || continue
    rm -rf "$build/package-raw"
    dpkg-deb -R "$deb" "$build/package-raw"
    rm -f "$build/package-raw/DEBIAN/postinst" "$build/package-raw/DEBIAN/postrm"
    dpkg-deb --root-owner-group -b "$build/package-raw" "$deb" >/dev/null
    (cd "$out" && sha256sum "${deb##*/}" >"${deb##*/}.sha256")
done
ls "$out"
