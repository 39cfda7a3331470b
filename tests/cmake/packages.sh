#!/bin/sh
# packages.sh CC BUILD: make the packages, install each into an empty root, build and run a program from there.
set -eu
cc=$1 build=$2
here=$(cd "$(dirname "$0")" && pwd)
"$here/../../scripts/package.sh" "$build" "$PWD/packages"
(cd packages && sha256sum --quiet -c ./*.sha256)

# use ROOT LIBDIR: as a program's author would.
use() {
    echo "== $1, pkg-config"
    export PKG_CONFIG_PATH="$1/$2/pkgconfig" PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
    # shellcheck disable=SC2046
    "$cc" "$here/consumer.c" -o program $(pkg-config --cflags --libs disk_chan)
    [ "$(LD_LIBRARY_PATH="$1/$2" ./program | tail -n 1)" = "consumer: ok" ]
    # shellcheck disable=SC2046
    "$cc" "$here/consumer.c" -o program $(pkg-config --static --cflags --libs disk_chan | sed 's/-ldisk_chan/-l:libdisk_chan.a/')
    [ "$(./program | tail -n 1)" = "consumer: ok" ]
    rm -rf build
    "$here/project.sh" "$here/find_package" -DCMAKE_PREFIX_PATH="$1" -DCMAKE_C_COMPILER="$cc"
    [ -z "$(readelf -S "$1/$2/libdisk_chan.so.0" | grep '\.debug')" ]
}

mkdir archive
tar -xzf packages/disk_chan-*.tar.gz -C archive
use "$PWD"/archive/disk_chan-* lib

if ! command -v dpkg-deb >/dev/null; then
    echo "packages: the archive works; SKIPPED: no dpkg-deb here"
    exit 0
fi
root=$PWD/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
if [ "$(id -u)" -eq 0 ]; then
    dpkg --root="$root" --force-depends --no-triggers -i packages/*.deb
    [ "$(dpkg --root="$root" -l 'libdisk-chan*' | grep -c '^iU\|^ii\|^iW\|^it')" -eq 2 ]
else
    for deb in packages/*.deb; do dpkg-deb -x "$deb" "$root"; done
fi
libdir=$(cd "$root" && find usr/lib -name libdisk_chan.so.0 -printf '%h')
[ "$(readlink "$root/$libdir/libdisk_chan.so.0" | cut -d. -f1-2)" = libdisk_chan.so ]
# The runtime package alone runs programs, and says what it needs.
runtime=$(echo packages/libdisk-chan0_*.deb)
[ "$(dpkg-deb -c "$runtime" | grep -c '\.h$\|\.a$\|\.pc$')" -eq 0 ]
dpkg-deb -f "$runtime" Depends | grep -q 'libc6 (>= '
use "$root/usr" "${libdir#usr/}"
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on warning packages/*.deb
else
    echo "packages: no lintian here"
fi
echo "packages: work"
