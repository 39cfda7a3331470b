#!/bin/sh
# man.sh SO MAN: every exported function has a page; a page names itself and those that lead to it, no others; mandoc and
# man have nothing to say against any.
set -eu
so=$1 man=$2
bad=0
skipped=
fail() { echo "man: $*"; bad=1; }

nm -D --defined-only "$so" | awk '{ print $NF }' | sed 's/@.*//' | grep '^dc_' | sort -u >exported
[ "$(wc -l <exported)" -ge 40 ] || fail "only $(wc -l <exported) functions exported"
while read -r name; do
    [ -s "$man/man3/$name.3" ] || fail "$name has no page"
done <exported

# "of/page page": what each alias leads to.
grep -H '^\.so ' "$man"/man*/* | sed -E 's,^.*/([^/]*)\.[0-9]:\.so man[0-9]/(.*)\.[0-9]$,\2 \1,' >aliases
pages=$(grep -L '^\.so ' "$man"/man[1357]/*)
count=0
for page in $pages; do
    count=$((count + 1))
    name=$(basename "$page")
    section=${name##*.}
    name=${name%.*}
    [ "$(basename "$(dirname "$page")")" = "man$section" ] || fail "$page lies in the wrong directory"
    if [ "$section" = 1 ]; then # in man(7), not mdoc(7): what the tool says about itself
        sed -n '/^\.SH NAME/{n;s/\\-/-/g;s/ - .*//p;}' "$page" >names
    else
        sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$page" | sort >names
    fi
    { echo "$name"; [ "$section" != 3 ] || sed -n "s/^$name //p" aliases; } | sort >expected
    cmp -s names expected || fail "$page names $(tr '\n' ' ' <names)and should name $(tr '\n' ' ' <expected)"
done
while read -r page alias; do
    [ -s "$man/man3/$page.3" ] || fail "$alias.3 leads to $page.3, which is not there"
done <aliases

if command -v mandoc >/dev/null; then
    # shellcheck disable=SC2086
    mandoc -T lint -W warning $pages >said || true
    [ ! -s said ] || { fail "mandoc has something to say:"; cat said; }
else
    skipped="$skipped; no mandoc here to look at the pages (package mandoc)"
fi
if man --version 2>/dev/null | grep -q '^man 2' && command -v groff >/dev/null; then
    cd "$man" # where the links between pages start
    for page in $pages; do
        name=$(basename "$page")
        upper=$(echo "${name%.*}" | tr 'a-z' 'A-Z')
        MANWIDTH=80 LC_ALL=C man --warnings -E UTF-8 -l "$page" >"$OLDPWD/text" 2>"$OLDPWD/said" || fail "man fails on $page"
        [ ! -s "$OLDPWD/said" ] || { fail "man has something to say against $page:"; cat "$OLDPWD/said"; }
        grep -q "$upper(${name##*.})" "$OLDPWD/text" || fail "$page renders without its title"
    done
    cd "$OLDPWD"
else
    skipped="$skipped; no man-db with groff here to render the pages"
fi
[ $bad -eq 0 ] || exit 1
[ -z "$skipped" ] || echo "SKIPPED: ${skipped#; }" # ctest takes this for the result: said where nothing failed
echo "man: $count pages for $(wc -l <exported) functions"
