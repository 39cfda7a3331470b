#!/bin/sh
# project.sh SOURCE [cmake options]: configure, build and run a consumer project, in this directory.
set -eu
source=$1
shift
cmake -S "$source" -B build "$@"
cmake --build build
needs() { readelf -d "$1" | grep -q 'NEEDED.*libdisk_chan\.so\.0'; }
for program in build/with_*; do
    echo "== $program"
    [ "$("./$program" | tail -n 1)" = "consumer: ok" ]
    case $program in
    *static)
        if needs "$program"; then
            echo "$program still needs the shared library"
            exit 1
        fi
        ;;
    *) needs "$program" ;;
    esac
done
[ -e build/with_shared ] && [ -e build/with_static ]
# A project that includes us gets nothing it did not ask for.
if [ -d build/disk_chan ]; then
    for part in examples-c examples-cpp tests-c tests-cpp bin; do
        [ ! -e "build/disk_chan/$part" ]
    done
fi
echo "$source: works"
