#!/bin/sh
# project.sh SOURCE [cmake options]: configure, build and run a consumer project, in this directory.
set -eu
source=$1
shift
cmake -S "$source" -B build "$@"
cmake --build build
for kind in shared static; do
    echo "== $kind"
    [ "$(./build/with_$kind | tail -n 1)" = "consumer: ok" ]
done
needs() { readelf -d "build/$1" | grep -q 'NEEDED.*libdisk_chan\.so\.0'; }
needs with_shared
if needs with_static; then
    echo "with_static still needs the shared library"
    exit 1
fi
# A project that includes us gets nothing it did not ask for.
if [ -d build/disk_chan ]; then
    [ ! -e build/disk_chan/examples-c ]
    [ ! -e build/disk_chan/tests-c ]
fi
echo "$source: works"
