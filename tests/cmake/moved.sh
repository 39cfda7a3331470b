#!/bin/sh
# moved.sh CC PREFIX LIBDIR: an installed tree that was moved elsewhere still works.
set -eu
here=$(dirname "$0")
mkdir moved
cp -a "$2"/. moved/
"$here/pkg_config.sh" "$1" "$PWD/moved" "$3"
pkg-config --version >/dev/null
[ "$(PKG_CONFIG_PATH=moved/$3/pkgconfig pkg-config --variable=includedir disk_chan | xargs readlink -f)" = \
  "$(readlink -f moved/include)" ]
"$here/project.sh" "$here/find_package" -DCMAKE_PREFIX_PATH="$PWD/moved" -DCMAKE_C_COMPILER="$1"
