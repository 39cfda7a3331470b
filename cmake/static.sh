#!/bin/sh
# static.sh OUT COMMAND...: run cargo for the static library, and write the system libraries that rustc says it needs to OUT,
# one line. (rustc could write them itself; but the path it is told is part of what the library's names are made from.)
out=$1
shift
"$@" -- --print native-static-libs 2>"$out.log"
code=$?
cat "$out.log" >&2
[ $code -eq 0 ] || exit $code
libs=$(sed -n 's/^.*native-static-libs: //p' "$out.log" | tail -n 1)
[ -n "$libs" ] || { echo "static.sh: rustc did not say which system libraries a static link needs; see $out.log" >&2 && exit 1; }
echo "$libs" >"$out"
