#!/usr/bin/env bash
# Other CPythons for the test matrix, made from nothing into a cache outside the repository.
#
#   tools/pythons.sh list                    what can be had here and where it is
#   tools/pythons.sh make VERSION...         make what is missing
#   tools/pythons.sh run VERSION COMMAND...  run COMMAND with that interpreter as $PYTHON
# VERSION@debian passes by the machine's own interpreter: 3.13@debian is Debian's, 3.13.5 or newer.
#
# An interpreter of the machine itself is taken where there is one (PATH, then pyenv). Others come as
# root folders of the release that has them: Debian's bookworm 3.11, trixie 3.13, forky 3.14 and 3.15;
# 3.12, which no Debian release ever had, from Ubuntu's noble. Free-threaded builds (3.13t, 3.14t, 3.15t)
# are made from forky's source packages inside the trixie folder. A root folder is entered by chroot in a mount namespace of its own, so
# nothing is ever mounted where another program could see it or delete through it. All that needs
# root, or a sudo that asks nothing.
#
# Exit status 3: the version cannot be had here at all; 1: something went wrong.
#
#   CMEMRAY_PYTHONS   the cache, default ~/.cache/pytest-cmemray/pythons
#   CMEMRAY_MIRROR    Debian mirror, default http://deb.debian.org/debian
#   CMEMRAY_UBUNTU    Ubuntu mirror, default http://archive.ubuntu.com/ubuntu, for other processors than
#                     x86-64 http://ports.ubuntu.com/ubuntu-ports
#   CMEMRAY_BIND      folders (colon separated) to be seen inside a root folder under the same path
#   CMEMRAY_PASS      names of variables that COMMAND sees inside a root folder too
set -euo pipefail

export CMEMRAY_PYTHONS=${CMEMRAY_PYTHONS:-${XDG_CACHE_HOME:-$HOME/.cache}/pytest-cmemray/pythons}
cache=$CMEMRAY_PYTHONS
mirror=${CMEMRAY_MIRROR:-http://deb.debian.org/debian}
ubuntu=http://archive.ubuntu.com/ubuntu
[ "$(uname -m)" = x86_64 ] || ubuntu=http://ports.ubuntu.com/ubuntu-ports
ubuntu=${CMEMRAY_UBUNTU:-$ubuntu}
known="3.11 3.12 3.13 3.13@debian 3.13t 3.14 3.14t 3.15 3.15t"
# What the build and the tests want from the system, installed into every root folder.
needed="gcc g++ libc6-dev binutils pkg-config make git ca-certificates valgrind"
# Allocators that tests preload.
wanted="libjemalloc2 libtcmalloc-minimal4 libtcmalloc-minimal4t64 libmimalloc2.0 libmimalloc3"

say() { printf 'pythons: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
cannot() { say "$*"; exit 3; }

# The release whose root folder holds VERSION, or nothing.
release_of() {
  case ${1%@debian} in
    3.11) echo bookworm ;;
    3.12) echo noble ;;
    3.13 | 3.1[345]t) echo trixie ;;
    3.14 | 3.15) echo forky ;;
  esac
}

# Where VERSION is inside its root folder.
inside_of() {
  case ${1%@debian} in
    *t) echo "/opt/python-$1/bin/python$1" ;;
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
  [ "$(id -u)" = 0 ] || cannot "root folders of Debian can be made and entered by root only"
}

# Where VERSION takes a root folder, root begins again with ARGUMENTS if it may do so unasked.
as_root() {
  local version=$1
  shift
  if [ "$(id -u)" != 0 ] && [ -z "$(native_of "$version")" ] && [ -n "$(release_of "$version")" ] &&
    command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    export CMEMRAY_PASS=${CMEMRAY_PASS:-CI}
    exec sudo -n --preserve-env="CMEMRAY_PYTHONS,CMEMRAY_MIRROR,CMEMRAY_UBUNTU,CMEMRAY_BIND,CMEMRAY_PASS,${CMEMRAY_PASS// /,}" \
      "$0" "$@"
  fi
}

# What a command run by sudo left in the folders given to it belongs to the caller.
hand_back() {
  local folders
  [ -n "${SUDO_UID:-}" ] && [ -n "${CMEMRAY_BIND:-}" ] || return 0
  IFS=: read -ra folders <<<"$CMEMRAY_BIND"
  chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "${folders[@]}"
}

# enter ROOT COMMAND...: chroot in a new mount namespace; its mounts vanish with the command.
enter() {
  local root=$1
  shift
  need_root
  # shellcheck disable=SC2016
  CMEMRAY_ROOT=$root unshare --mount --propagation private bash -c '
    set -e
    # A mount of its own, so that tests inside may change their view of the file system.
    mount --bind "$CMEMRAY_ROOT" "$CMEMRAY_ROOT"
    mount -t proc proc "$CMEMRAY_ROOT/proc"
    mount --rbind /dev "$CMEMRAY_ROOT/dev"
    mount -t tmpfs tmpfs "$CMEMRAY_ROOT/dev/shm"
    IFS=: read -ra folders <<<"${CMEMRAY_BIND:-}"
    for folder in "${folders[@]}"; do
      mkdir -p "$CMEMRAY_ROOT$folder"
      mount --bind "$folder" "$CMEMRAY_ROOT$folder"
    done
    passed=()
    for name in ${CMEMRAY_PASS:-}; do passed+=("$name=${!name:-}"); done
    exec env -i "${passed[@]}" HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 CI="${CI:-}" \
      PIP_DISABLE_PIP_VERSION_CHECK=1 \
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

# Installs debootstrap where it is missing.
need_debootstrap() {
  ! command -v debootstrap >/dev/null || return 0
  say "installing debootstrap"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >&2 ||
    fail "debootstrap is needed: apt-get install debootstrap"
}

# Ubuntu's keys, which Debian does not have, from a package whose contents are known.
ubuntu_keyring() {
  local package=ubuntu-keyring_2023.11.28.1_all.deb
  local sum=36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8
  local folder=$cache/.ubuntu
  if [ ! -e "$folder/usr/share/keyrings/ubuntu-archive-keyring.gpg" ]; then
    mkdir -p "$folder"
    python3 -c 'import sys, urllib.request as u; u.urlretrieve(*sys.argv[1:])' \
      "$ubuntu/pool/main/u/ubuntu-keyring/$package" "$folder/$package"
    echo "$sum  $folder/$package" | sha256sum --quiet -c || fail "$package is not what it should be"
    dpkg-deb -x "$folder/$package" "$folder"
  fi
  echo "$folder/usr/share/keyrings/ubuntu-archive-keyring.gpg"
}

make_root() {
  local release=$1 root=$cache/$1 from=$mirror like=sid script=/usr/share/debootstrap/scripts/$1 options=()
  [ ! -e "$root/.complete" ] || return 0
  need_root
  need_debootstrap
  if [ "$release" = noble ]; then
    from=$ubuntu like=gutsy
    options+=("--keyring=$(ubuntu_keyring)" "--components=main,universe")
  fi
  # An older debootstrap does not know the newer releases by name.
  if [ ! -e "$script" ]; then
    script=$cache/.scripts/$release
    mkdir -p "$cache/.scripts"
    cp -L "/usr/share/debootstrap/scripts/$like" "$script"
  fi
  say "making $root (a few minutes)"
  # An interrupted attempt starts afresh; nothing can be mounted below it, see enter.
  rm -rf --one-file-system "$root"
  mkdir -p "$root"
  debootstrap --variant=minbase --include="${needed// /,}" "${options[@]}" \
    "$release" "$root" "$from" "$script" >"$cache/$release.log" 2>&1 ||
    fail "debootstrap failed, see $cache/$release.log"
  adapt "$root"
  touch "$root/.complete"
}

# A root folder made when less was needed gets the rest.
complete_root() {
  local root=$cache/$1
  [ "$(cat "$root/.needed" 2>/dev/null)" != "$needed $wanted" ] || return 0
  # shellcheck disable=SC2016  # expanded inside
  PYTHON='' enter "$root" bash -euc 'apt-get update -qq && apt-get install -qq $1 >/dev/null
    # Not the same names everywhere; tests that want one say so when they are skipped.
    for name in $2; do apt-get install -qq "$name" >/dev/null || echo "no $name"; done' \
    _ "$needed" "$wanted" >"$root.needed.log" 2>&1 || fail "apt failed, see $root.needed.log"
  echo "$needed $wanted" >"$root/.needed"
}

build_free_threaded() {
  local version=$1 root=$cache/trixie
  say "building $version from Debian's source in $root (about 5 minutes)"
  # shellcheck disable=SC2016  # expanded inside
  PYTHON='' enter "$root" bash -euc '
    echo "deb-src $1 forky main" >/etc/apt/sources.list.d/forky-source.list
    apt-get update -qq
    apt-get install -qq build-essential dpkg-dev xz-utils zlib1g-dev libssl-dev libffi-dev liblzma-dev libbz2-dev libsqlite3-dev >/dev/null
    source=python${2%t}
    rm -rf "/usr/src/$source" && mkdir -p "/usr/src/$source" && cd "/usr/src/$source"
    apt-get source -qq --download-only "$source"
    tar -xf "$source"_*.orig.tar.* --strip-components=1
    ./configure -q --disable-gil --prefix="/opt/python-$2" >/dev/null
    make -s -j"$(nproc)" >/dev/null
    make -s install >/dev/null
    rm -rf "/usr/src/$source"' build "$mirror" "$version" >"$cache/$version.log" 2>&1 ||
    fail "the build failed, see $cache/$version.log"
}

make_one() {
  local version=$1 release package=python${1%@debian}
  if [ -n "$(native_of "$version")" ] || is_ready "$version"; then
    return 0
  fi
  release=$(release_of "$version")
  [ -n "$release" ] || cannot "$version: not on this machine, and Debian has no package or source of it"
  make_root "$release"
  if [[ $version = *t ]]; then
    build_free_threaded "$version"
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
  local version=$1 native status
  as_root "$version" run "$@"
  shift
  make_one "$version"
  native=$(native_of "$version")
  if [ -n "$native" ]; then
    PYTHON=$native exec "$@"
  fi
  complete_root "$(release_of "$version")"
  PYTHON=$(inside_of "$version") enter "$cache/$(release_of "$version")" "$@" || status=$?
  hand_back
  return "${status:-0}"
}

main() {
  case ${1:-} in
    list)
      for version in $known; do printf '%-12s %s\n' "$version" "$(where "$version")"; done
      ;;
    make)
      shift
      mkdir -p "$cache"
      for version in "$@"; do
        as_root "$version" make "$@"
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
}

# In one line: a shell that has read it does not mind that this file is changed meanwhile.
main "$@"; exit
