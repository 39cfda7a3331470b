#!/bin/sh
# pkg_config.sh CC PREFIX LIBDIR: build and run a consumer the way a plain Makefile would.
set -eu
cc=$1 prefix=$2 libdir=$2/$3
source=$(dirname "$0")/consumer.c
export PKG_CONFIG_PATH="$libdir/pkgconfig"
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1

run() { [ "$("$@" | tail -n 1)" = "consumer: ok" ]; }

echo "== pkg-config, shared"
# shellcheck disable=SC2046
"$cc" "$source" -o with_shared $(pkg-config --cflags --libs disk_chan)
run env LD_LIBRARY_PATH="$libdir" ./with_shared

echo "== pkg-config, static"
# shellcheck disable=SC2046
"$cc" "$source" -o with_static $(pkg-config --static --cflags --libs disk_chan | sed 's/-ldisk_chan/-l:libdisk_chan.a/')
run ./with_static
if readelf -d with_static | grep -q libdisk_chan; then
    echo "with_static still needs the shared library"
    exit 1
fi

echo "== plain compiler"
"$cc" "$source" -o plain -I"$prefix/include" -L"$libdir" -ldisk_chan -Wl,-rpath,"$libdir"
run ./plain
echo "pkg-config: works"
