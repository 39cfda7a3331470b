#!/bin/sh
# offline.sh SOURCE [CMake options]: what is in SOURCE, with its dependencies beside it (cargo vendor), builds without a network and
# without anything that cargo has loaded before; what it installs works. In this directory; takes minutes.
set -eu
source=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:$HOME/.cargo/bin
rm -rf tree build prefix home
mkdir tree home
(cd "$source" && git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - 2>/dev/null) | tar -x -C tree
mkdir tree/.cargo
(cd tree && cargo vendor --locked vendor >.cargo/config.toml 2>../log) || { cat log && exit 1; }
grep -q '^replace-with = "vendored-sources"' tree/.cargo/config.toml
echo "== $(find tree/vendor -mindepth 1 -maxdepth 1 | wc -l) dependencies"

alone="unshare -n"
$alone true 2>/dev/null || { alone="unshare -rn" && $alone true 2>/dev/null; } || alone=
[ -n "$alone" ] || echo "offline: no network namespaces here: cargo alone is told to stay offline"
CARGO_HOME=$PWD/home CARGO_NET_OFFLINE=true
export CARGO_HOME CARGO_NET_OFFLINE
unset CARGO_TARGET_DIR
# The build directory is not below the tree, where cargo would look for its settings by itself.
$alone cmake -S tree -B build -DCMAKE_INSTALL_PREFIX="$PWD/prefix" -DCMAKE_INSTALL_LIBDIR=lib -DDISK_CHAN_BUILD_TESTS=OFF -DDISK_CHAN_BUILD_EXAMPLES=OFF "$@" >log
$alone cmake --build build >>log 2>&1 || { cat log && exit 1; }
cmake --install build >>log
[ ! -e home/registry ] || { echo "offline: cargo has loaded something" && find home/registry -maxdepth 3 && exit 1; }
"$here/pkg_config.sh" cc "$PWD/prefix" lib
if ! grep -q 'DISK_CHAN_TOOL:BOOL=OFF' build/CMakeCache.txt; then
    prefix/bin/disk-chan create channel
    echo hello | prefix/bin/disk-chan send channel
    [ "$(prefix/bin/disk-chan recv channel group)" = hello ]
fi
rm -rf tree build home
echo "offline: builds, and works"
