#!/bin/sh
# library.sh SO SONAME HEADER NATIVE LIBS: what the libraries look like from outside.
# Exactly the functions the header declares are exported; name, flags and system libraries are as promised.
set -eu
so=$1 soname=$2 header=$3 native=$4 ours=$5
bad=0
fail() { echo "library: $*"; bad=1; }

nm -D --defined-only "$so" | awk '{ print $NF }' | sed 's/@.*//' | sort -u >exported
sed 's://.*::; s:/\*.*\*/::' "$header" | grep -oE '\bdc_[a-z_]+\(' | tr -d '(' | sort -u >declared
grep -vE '^dc_' exported >foreign || true
[ ! -s foreign ] || fail "exports more than dc_*: $(tr '\n' ' ' <foreign)"
while read -r name; do
    grep -qx "$name" declared || fail "$name is exported, and not declared"
done <exported
while read -r name; do
    grep -qE "^[a-z].*\b$name\(" "$header" || continue # a mention in a comment
    grep -qx "$name" exported || fail "$name is declared, and not exported"
done <declared
[ "$(wc -l <exported)" -ge 40 ] || fail "only $(wc -l <exported) functions exported"

readelf -d "$so" >dynamic
grep -q "SONAME.*\[$soname\]" dynamic || fail "soname is not $soname"
grep -q 'NODELETE' dynamic || fail "not linked with -z nodelete"
grep -qE 'BIND_NOW|FLAGS_1.*NOW' dynamic || fail "not linked with -z now"
readelf -lW "$so" | grep -q GNU_RELRO || fail "not linked with -z relro"
readelf -lW "$so" | grep -q 'GNU_STACK.*RWE' && fail "executable stack"

for lib in $(cat "$native"); do
    echo "$ours" | tr , '\n' | grep -qx "${lib#-l}" || fail "a static link also needs $lib"
done
# What README.md says that programs need to run.
floor=2.34
newest=$(objdump -T "$so" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
[ -z "$newest" ] || [ "$(printf '%s\n' "$newest" $floor | sort -V | tail -n 1)" = $floor ] || fail "needs glibc $newest"
[ $bad -eq 0 ] && echo "library: $(wc -l <exported) functions, as declared"
