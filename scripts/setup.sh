#!/bin/sh
# Checks for what building needs, and installs what is missing where a package manager and the
# right to use it are at hand; else says exactly what to install. Silent when all is there.
# setup.sh TOOL ...: these as well.
set -eu
PATH=$PATH:$HOME/.cargo/bin

if ! command -v cargo >/dev/null; then
    cat >&2 <<'END'
setup: Rust is missing. Install it, then run make again:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
END
    exit 1
fi

missing=
need() { command -v "$1" >/dev/null || missing="$missing $1"; }
command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || missing="$missing cc"
need cmake
need pkg-config
for tool in "$@"; do need "$tool"; done
if command -v cmake >/dev/null; then
    version=$(cmake --version | sed -n '1s/[^0-9]*//p')
    case $version in
    [012].* | 3.[0-9].* | 3.1[0-5].*)
        echo "setup: cmake $version is too old: 3.16 or newer is needed (https://cmake.org/download, or pip install cmake)" >&2
        exit 1
        ;;
    esac
fi
[ -n "$missing" ] || exit 0

# The packages' names differ.
packages() {
    for tool in $missing; do
        case $1:$tool in
        apt-get:cc) echo build-essential ;;
        apk:cc) echo build-base ;;
        *:cc) echo gcc ;;
        apt-get:pkg-config | zypper:pkg-config) echo pkg-config ;;
        dnf:pkg-config) echo pkgconf-pkg-config ;;
        pacman:pkg-config | apk:pkg-config) echo pkgconf ;;
        *:mkfs.ext4) echo e2fsprogs ;;
        *:mkfs.xfs) echo xfsprogs ;;
        zypper:mkfs.btrfs) echo btrfsprogs ;;
        *:mkfs.btrfs) echo btrfs-progs ;;
        *:man) echo man-db ;;
        pacman:pip3) echo python-pip ;;
        apk:pip3) echo py3-pip ;;
        *:pip3) echo python3-pip ;;
        *:addr2line) echo binutils ;;
        apt-get:abidiff) echo abigail-tools ;;
        *:abidiff) echo libabigail ;;
        *:*) echo "$tool" ;;
        esac
    done
}

manager=
for m in apt-get dnf pacman zypper apk; do
    if command -v $m >/dev/null; then
        manager=$m
        break
    fi
done
if [ -z "$manager" ]; then
    echo "setup: please install:$missing" >&2
    exit 1
fi
case $manager in
apt-get) install="apt-get install -y --no-install-recommends" ;;
dnf) install="dnf install -y" ;;
pacman) install="pacman -S --noconfirm --needed" ;;
zypper) install="zypper --non-interactive install" ;;
apk) install="apk add" ;;
esac
list=$(packages $manager | tr '\n' ' ')

as=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as="sudo -n"
    else
        echo "setup: missing:$missing. Please run:" >&2
        echo "    sudo $install $list" >&2
        exit 1
    fi
fi
echo "setup: installing $list" >&2
if [ $manager = apt-get ]; then
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    $as apt-get update -qq >&2 </dev/null || true
fi
# shellcheck disable=SC2086
if ! $as $install $list >&2 </dev/null; then
    echo "setup: that failed. Please install:$missing, for example by: $install $list" >&2
    exit 1
fi
