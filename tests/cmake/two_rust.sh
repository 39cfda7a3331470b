#!/bin/sh
# two_rust.sh CC INCLUDE LIB: a program with a second library in Rust, which is static. Two static ones cannot be linked, since
# each brings Rust's standard library along; with the shared one of ours it is none of the other's business.
set -eu
cc=$1 include=$2 lib=$3
here=$(dirname "$0")/two_rust
rustc=$(command -v rustc || echo "$HOME/.cargo/bin/rustc")
"$rustc" --edition 2021 --crate-type staticlib -O "$here/other.rs" -o libother.a
for order in '-ldisk_chan -lother' '-lother -ldisk_chan'; do
    # shellcheck disable=SC2086
    "$cc" "$here/main.c" -I"$include" -L"$lib" -L. $order -Wl,-rpath,"$lib" -lpthread -ldl -lm -o both
    [ "$(./both)" = "both work" ]
done
if "$cc" "$here/main.c" -I"$include" -L"$lib" -L. -l:libdisk_chan.a -lother -lgcc_s -lpthread -ldl -lm -lrt -o static 2>errors; then
    ./static # a linker that can do it: as good
else
    grep -q 'multiple definition\|duplicate symbol' errors
fi
echo "two libraries in Rust: work"
