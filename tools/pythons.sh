#!/usr/bin/env bash
# Other CPythons for the test matrix, made from nothing into a cache outside the repository.
#
#   tools/pythons.sh list                    what can be had here and where it is
#   tools/pythons.sh make VERSION...         make what is missing (3.11 3.12 3.13 3.13t 3.14 3.15)
#   tools/pythons.sh run VERSION COMMAND...  run COMMAND with that interpreter as $PYTHON
# VERSION@debian passes by the machine's own interpreter: 3.13@debian is Debian's, 3.13.5 or newer.
#
# An interpreter of the machine itself is taken where there is one (PATH, then pyenv). Debian's own
# come as root folders: trixie has 3.13, forky 3.14 and 3.15; 3.13t is built from Debian's source
# inside the trixie folder. A root folder is entered by chroot in a mount namespace of its own, so
# nothing is ever mounted where another program could see it or delete through it.
#
#   CMEMRAY_PYTHONS   the cache, default ~/.cache/pytest-cmemray/pythons
#   CMEMRAY_MIRROR    Debian mirror, default http://deb.debian.org/debian
#   CMEMRAY_BIND      folders (colon separated) to be seen inside a root folder under the same path
set -euo pipefail

cache=${CMEMRAY_PYTHONS:-${XDG_CACHE_HOME:-$HOME/.cache}/pytest-cmemray/pythons}
mirror=${CMEMRAY_MIRROR:-http://deb.debian.org/debian}
known="3.11 3.12 3.13 3.13@debian 3.13t 3.14 3.15"

say() { printf 'pythons: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The Debian release whose root folder holds VERSION, or nothing.
release_of() {
  case ${1%@debian} in
    3.13 | 3.13t) echo trixie ;;
    3.14 | 3.15) echo forky ;;
  esac
}

# Where VERSION is inside its root folder.
inside_of() {
  case ${1%@debian} in
    3.13t) echo /opt/python-3.13t/bin/python3.13t ;;
    *) echo "/usr/bin/python${1%@debian}" ;;
  esac
}

has_headers() {
  "$1" -c 'import os, sys, sysconfig, venv, ensurepip
path = os.path.join(sysconfig.get_path("include"), "internal", "pycore_frame.h")
sys.exit(not os.path.exists(path))' 2>/dev/null
}

# An interpreter of this machine with headers and venv, or nothing.
native_of() {
  local version=$1 candidate
  [[ $version != *@debian ]] || return 0
  for candidate in "/usr/bin/python$version" "/usr/local/bin/python$version" \
    "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/"python$version" \
    "$(command -v "python$version" || true)"; do
    if [ -x "$candidate" ] && has_headers "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}

is_ready() {
  local root
  root=$cache/$(release_of "$1")
  [ -n "$(release_of "$1")" ] && [ -e "$root/.complete" ] && [ -x "$root$(inside_of "$1")" ]
}

need_root() {
  [ "$(id -u)" = 0 ] || fail "root folders of Debian can be made and entered by root only"
}

# enter ROOT COMMAND...: chroot in a new mount namespace; its mounts vanish with the command.
enter() {
  local root=$1
  shift
  need_root
  # shellcheck disable=SC2016
  CMEMRAY_ROOT=$root unshare --mount --propagation private bash -c '
    set -e
    mount -t proc proc "$CMEMRAY_ROOT/proc"
    mount --rbind /dev "$CMEMRAY_ROOT/dev"
    mount -t tmpfs tmpfs "$CMEMRAY_ROOT/dev/shm"
    IFS=: read -ra folders <<<"${CMEMRAY_BIND:-}"
    for folder in "${folders[@]}"; do
      mkdir -p "$CMEMRAY_ROOT$folder"
      mount --bind "$folder" "$CMEMRAY_ROOT$folder"
    done
    exec env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 CI="${CI:-}" PIP_DISABLE_PIP_VERSION_CHECK=1 \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHON="$PYTHON" \
      PIP_CERT=/etc/ssl/certs/ca-certificates.crt chroot "$CMEMRAY_ROOT" "$@"
  ' enter "$@"
}

# What every root folder needs from this machine: names, certificates, an apt that asks nothing.
adapt() {
  local root=$1
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  fi
  # The release file of a release that is not out yet may have run out.
  cat >"$root/etc/apt/apt.conf.d/99cmemray" <<'APT'
Acquire::Check-Valid-Until "false";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT
}

make_root() {
  local release=$1 root=$cache/$1 script=
  [ ! -e "$root/.complete" ] || return 0
  need_root
  if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >&2 ||
      fail "debootstrap is needed: apt-get install debootstrap"
  fi
  if [ ! -e "/usr/share/debootstrap/scripts/$release" ]; then
    mkdir -p "$cache/.scripts"
    cp -L /usr/share/debootstrap/scripts/sid "$cache/.scripts/$release"
    script=$cache/.scripts/$release
  fi
  say "making $root (a few minutes)"
  # An interrupted attempt starts afresh; nothing can be mounted below it, see enter.
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,pkg-config,make,git \
    "$release" "$root" "$mirror" ${script:+"$script"} >"$cache/$release.log" 2>&1 ||
    fail "debootstrap failed, see $cache/$release.log"
  adapt "$root"
  touch "$root/.complete"
}

build_free_threaded() {
  local root=$cache/trixie
  say "building 3.13t from Debian's source in $root (about 5 minutes)"
  # shellcheck disable=SC2016  # expanded inside
  PYTHON='' enter "$root" bash -euc '
    echo "deb-src $1 forky main" >/etc/apt/sources.list.d/forky-source.list
    apt-get update -qq
    apt-get install -qq build-essential dpkg-dev xz-utils zlib1g-dev libssl-dev libffi-dev liblzma-dev libbz2-dev libsqlite3-dev >/dev/null
    rm -rf /usr/src/python3.13 && mkdir -p /usr/src/python3.13 && cd /usr/src/python3.13
    apt-get source -qq --download-only python3.13
    tar -xf python3.13_*.orig.tar.* --strip-components=1
    ./configure -q --disable-gil --prefix=/opt/python-3.13t >/dev/null
    make -s -j"$(nproc)" >/dev/null
    make -s install >/dev/null
    rm -rf /usr/src/python3.13' build "$mirror" >"$cache/3.13t.log" 2>&1 || fail "the build failed, see $cache/3.13t.log"
}

make_one() {
  local version=$1 release package=python${1%@debian}
  if [ -n "$(native_of "$version")" ] || is_ready "$version"; then
    return 0
  fi
  release=$(release_of "$version")
  [ -n "$release" ] || fail "$version: not on this machine, and Debian has no package or source of it"
  make_root "$release"
  if [ "$version" = 3.13t ]; then
    build_free_threaded
  else
    PYTHON='' enter "$cache/$release" bash -euc "apt-get update -qq
      apt-get install -qq $package $package-dev $package-venv >/dev/null" \
      >"$cache/$package.log" 2>&1 || fail "apt failed, see $cache/$package.log"
  fi
  is_ready "$version" || fail "$version: made, but not found"
}

where() {
  local native
  native=$(native_of "$1")
  if [ -n "$native" ]; then
    echo "$native"
  elif is_ready "$1"; then
    echo "$(inside_of "$1") in $cache/$(release_of "$1")"
  elif [ -n "$(release_of "$1")" ]; then
    echo "can be made (Debian $(release_of "$1"))"
  else
    echo "not to be had here"
  fi
}

run() {
  local version=$1 native
  shift
  make_one "$version"
  native=$(native_of "$version")
  if [ -n "$native" ]; then
    PYTHON=$native exec "$@"
  fi
  PYTHON=$(inside_of "$version") enter "$cache/$(release_of "$version")" "$@"
}

case ${1:-} in
  list)
    for version in $known; do printf '%-12s %s\n' "$version" "$(where "$version")"; done
    ;;
  make)
    shift
    mkdir -p "$cache"
    for version in "$@"; do
      make_one "$version"
      printf '%-12s %s\n' "$version" "$(where "$version")"
    done
    ;;
  run)
    [ $# -ge 3 ] || fail "run VERSION COMMAND..."
    mkdir -p "$cache"
    shift
    run "$@"
    ;;
  *)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 2
    ;;
esac
