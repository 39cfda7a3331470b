#!/bin/sh
# crate.sh SOURCE: the crate as it would be published, built from its own archive. In this directory.
set -eu
source=$1
PATH=$PATH:$HOME/.cargo/bin
rm -rf target
# It unpacks the archive, and builds what is in there.
cargo package --locked --allow-dirty --quiet --manifest-path "$source/Cargo.toml" --package disk_chan --target-dir "$PWD/target"
crate=$(echo target/package/disk_chan-*.crate)
tar -tzf "$crate" | sed 's,^[^/]*/,,' | sort >files
for file in Cargo.toml Cargo.lock build.rs cbindgen.toml src/lib.rs include/disk_chan.h include/disk_chan.hpp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/FORMAT.md; do
    grep -qx "$file" files || { echo "crate: $file is missing" && exit 1; }
done
if grep -E '^(tests|bench|cli|torture|models|fuzz)/' files; then
    echo "crate: these have no business there" && exit 1
fi
# Every picture of the README is in it.
for picture in $(sed -n 's/^!\[.*\](\(.*\))$/\1/p' "$source/README.md"); do
    grep -qx "$picture" files || { echo "crate: $picture is missing" && exit 1; }
done
[ "$(du -k "$crate" | cut -f 1)" -lt 10240 ] # what crates.io takes
echo "crate: $(wc -l <files) files, $(du -k "$crate" | cut -f 1) KiB: builds from its archive"
rm -rf target
