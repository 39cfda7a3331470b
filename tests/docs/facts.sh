#!/bin/sh
# facts.sh SO SOURCE: what the documents repeat because readers look for it there, compared with where it comes from.
set -eu
so=$1 root=$2
bad=0
skipped=
fail() { echo "facts: $*"; bad=1; }
says() { grep -qF -- "$2" "$root/$1" || fail "$1 does not say: $2"; }

# Every code of the header has an entry.
codes=$(sed -nE 's/^#define (DC_(OK|END_OF_PAGE|LAGGED|AGAIN|E_[A-Z_]+)) .*/\1/p' "$root/include/disk_chan.h")
[ "$(echo "$codes" | wc -l)" -ge 16 ] || fail "only these codes found: $codes"
for code in $codes; do
    grep -qE "^### .*\`$code\`" "$root/docs/TROUBLESHOOTING.md" || fail "docs/TROUBLESHOOTING.md has no entry for $code"
done
for code in $(grep -ohE '\bDC_[A-Z_]+[A-Z]\b' "$root"/docs/*.md "$root/README.md" | sort -u); do
    case $code in
    DC_PEER_* | DC_TEST_* | DC_SEED | DC_SCHEDULES | DC_SANITIZED) continue ;; # variables of the tests
    esac
    grep -qE "^#define $code\b" "$root/include/disk_chan.h" || fail "the documents say $code, the header does not"
done
for call in $(sed "s,#[a-z_-]*),)," "$root"/docs/*.md "$root/README.md" | grep -ohE '\bdc_[a-z_]+[a-z]\b' | sort -u); do
    grep -qE "\b$call\b" "$root/include/disk_chan.h" && continue
    case $call in dc_plant | dc_tsan) continue ;; esac # how tests are built
    fail "the documents say $call, the header does not"
done

says docs/VERSIONING.md "Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")"
says docs/VERSIONING.md "$(readelf -d "$so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"
says docs/VERSIONING.md "format version $(sed -nE 's/.*const VERSION: u32 = ([0-9]+);/\1/p' "$root/src/layout/superblock.rs")"

linux=$(sed -nE 's/.*Linux ([0-9]+\.[0-9]+) or newer.*/\1/p' "$root/README.md" | head -n 1)
says docs/VERSIONING.md "| Linux | ${linux:-(README.md names none)} |"

# The glibc that this library needs is no newer than the one that the document names, for x86-64.
if [ "$(uname -m)" = x86_64 ] && command -v objdump >/dev/null; then
    needs=$(objdump -T "$so" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
    named=$(sed -nE 's/.*glibc ([0-9]+\.[0-9]+) .*/\1/p' "$root/docs/VERSIONING.md" | head -n 1)
    [ "$(printf '%s\n%s\n' "$needs" "$named" | sort -V | tail -n 1)" = "$named" ] ||
        fail "the library needs glibc $needs, docs/VERSIONING.md says $named"
    says README.md "glibc $named"
else
    skipped="no x86-64 objdump to look for the glibc that is needed"
fi
[ $bad -eq 0 ] || exit 1
[ -z "$skipped" ] || echo "SKIPPED: $skipped" # ctest takes this for the result: said where nothing failed
echo "facts: as they are"
