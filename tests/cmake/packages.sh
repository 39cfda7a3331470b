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

# tool PREFIX ZSH: the program that lies there, as somebody at a shell would: its pages, its completions, and messages.
tool() {
    echo "== $1, disk-chan"
    program=$1/bin/disk-chan share=$1/share
    rm -rf channel
    "$program" create channel --retention unread
    seq 1000 | "$program" send channel
    [ "$("$program" recv channel workers | sum)" = "$(seq 1000 | sum)" ]
    "$program" verify channel --json | grep -q '"sound": true'
    "$program" destroy channel --yes
    [ -z "$(readelf -S "$program" | grep '\.debug_info')" ] # (a program has .debug_gdb_scripts when it is stripped, too)
    for page in disk-chan disk-chan-recv; do
        gzip -cdf "$share/man/man1/$page.1"* | grep -q '^\.SH "EXIT STATUS"'
    done
    "$program" completions bash | cmp - "$share/bash-completion/completions/disk-chan"
    "$program" completions zsh | cmp - "$share/zsh/$2/_disk-chan"
    "$program" completions fish | cmp - "$share/fish/vendor_completions.d/disk-chan.fish"
    # What the shells make of them.
    # shellcheck disable=SC2016
    said=$(bash -c '. "$1"; COMP_WORDS=(disk-chan de) COMP_CWORD=1; "$(complete -p disk-chan | sed "s/.*-F \([^ ]*\).*/\1/")" disk-chan de disk-chan
        echo "${COMPREPLY[@]}"' bash "$share/bash-completion/completions/disk-chan")
    [ "$said" = "delete-group destroy" ]
    if command -v zsh >/dev/null; then zsh -n "$share/zsh/$2/_disk-chan"; fi
    if command -v fish >/dev/null; then
        said=$(HOME=$PWD fish --no-config -c "source $share/fish/vendor_completions.d/disk-chan.fish; complete -C 'disk-chan de'" | cut -f 1 | xargs)
        [ "$said" = "delete-group destroy" ]
    fi
}

mkdir archive
tar -xzf packages/disk_chan-*.tar.gz -C archive
use "$PWD"/archive/disk_chan-* lib
tool "$PWD"/archive/disk_chan-* site-functions

if ! command -v dpkg-deb >/dev/null; then
    echo "packages: the archive works; SKIPPED: no dpkg-deb here"
    exit 0
fi
root=$PWD/root
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
: >"$root/var/lib/dpkg/status"
if [ "$(id -u)" -eq 0 ]; then
    dpkg --root="$root" --force-depends --no-triggers -i packages/*.deb
    [ "$(dpkg --root="$root" -l 'libdisk-chan*' disk-chan | grep -c '^iU\|^ii\|^iW\|^it')" -eq 3 ]
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
# The program has its own, and nothing lies in two.
program=$(echo packages/disk-chan_*.deb)
dpkg-deb -f "$program" Depends | grep -q 'libc6 (>= '
for deb in packages/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -t | grep -v '/$'; done | sort | uniq -d >twice
[ ! -s twice ] || { echo "packages: in two of them:" && cat twice && exit 1; }
tool "$root/usr" vendor-completions
if command -v lintian >/dev/null; then
    lintian --allow-root --fail-on warning packages/*.deb
else
    echo "packages: no lintian here"
fi
echo "packages: work"
