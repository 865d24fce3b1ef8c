#!/usr/bin/env bash
# Gets what the build needs from the system and makes the virtual environment of this repository.
#
#   tools/bootstrap.sh build    a C compiler, Python headers, .venv with Meson
#   tools/bootstrap.sh test     and what the tests import; valgrind and allocators where apt may install them
#   tools/bootstrap.sh system   what tests of other interpreters need from the system; no .venv
#   tools/bootstrap.sh lint     and clang, shellcheck and the Python linters
#   tools/bootstrap.sh analyze  and clang-tidy
#
# Missing system packages are installed through apt where that needs no password (root, or sudo
# that does not ask); anywhere else this says exactly which to install and ends with status 1.
#   PYTHON   the interpreter to build for, default python3
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
# The environment to be made must not be what makes it.
PATH=$(printf '%s' "$PATH" | tr : '\n' | grep -vxF "$PWD/$venv/bin" | paste -sd:)

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

command -v "$python" >/dev/null || fail "$python not found: install CPython 3.11 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old: CPython 3.11 or newer is needed (PYTHON=... chooses another)"

compiles() {
  local out
  out=$(mktemp)
  # Not through a pipe: a compiler that ends before it has read all would count as a failure.
  "$1" -x c - -o "$out" 2>/dev/null <<<$'#include <pthread.h>\nint main(void) { return 0; }'
  local status=$?
  rm -f "$out"
  return $status
}

has_compiler() { compiles "${CC:-cc}" || { [ -z "${CC:-}" ] && { compiles gcc || compiles clang; }; }; }

has_headers() {
  "$python" -c 'import os, sys, sysconfig
path = os.path.join(sysconfig.get_path("include"), "internal", "pycore_frame.h")
sys.exit(not os.path.exists(path))'
}

# The package names of a Debian interpreter; one built by hand has headers and venv of its own.
debian_package() {
  local real
  real=$(readlink -f "$(command -v "$python")")
  case $real in
    /usr/bin/python3.*) echo "$(basename "$real")-$1" ;;
    *) fail "$real has no $1 part: reinstall it with headers and ensurepip, or set PYTHON" ;;
  esac
}

missing=()
missing_packages() {
  local level=$1
  missing=()
  if ! has_compiler; then
    missing+=(gcc libc6-dev)
  elif [ -z "${CC:-}" ] && ! compiles cc && compiles clang && [ "$level" = build ]; then
    export CC=clang
  fi
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$(debian_package venv)")
  has_headers || missing+=("$(debian_package dev)")
  [ "$level" != build ] || return 0
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  command -v g++ >/dev/null || missing+=(g++)
  command -v readelf >/dev/null || missing+=(binutils)
  case $level in test | system) return 0 ;; esac
  command -v clang >/dev/null || missing+=(clang)
  command -v shellcheck >/dev/null || missing+=(shellcheck)
  [ "$level" != lint ] || return 0
  command -v clang-tidy >/dev/null || missing+=(clang-tidy)
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

# Where it cannot be had, the tests that need it are skipped and say so.
valgrind_if_possible() {
  if ! command -v valgrind >/dev/null && may_install; then
    (install_packages valgrind) || say "going on without valgrind: instructions are not counted"
  fi
}

# Allocators for tests that preload them: the same.
allocators=(libjemalloc.so.2:libjemalloc2 libtcmalloc_minimal.so.4:libtcmalloc-minimal4
  libmimalloc.so.2:libmimalloc2.0)
allocators_if_possible() {
  local pair wanted=()
  may_install || return 0
  for pair in "${allocators[@]}"; do
    if ! compgen -G "/usr/lib/*/${pair%%:*}*" >/dev/null; then wanted+=("${pair##*:}"); fi
  done
  # One by one: their names differ between releases.
  for pair in "${wanted[@]}"; do
    (install_packages "$pair") || say "going on without $pair: not tested with it preloaded"
  done
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    fail "needed, and not found: the equivalents of Debian's packages: $*"
  fi
  if ! may_install; then
    fail "needed, and only root may install them. Run: sudo apt-get install $*"
  fi
  say "installing $*"
  # A third-party source that does not answer must not stop us: Debian's own lists are enough.
  as_root apt-get update -qq || say "apt-get update reported errors; going on"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    fail "apt-get could not install: $*"
}

make_venv() {
  # A folder left by an interpreter that is gone, or by another one, is made anew.
  local asks='import sys; print(sys.version)'
  if [ -e "$venv" ] && [ "$("$venv/bin/python" -c "$asks" 2>&1)" != "$("$python" -c "$asks")" ]; then
    rm -rf "$venv"
  fi
  [ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv"
}

install_requirements() {
  local name
  for name in "$@"; do
    local list=tools/requirements/$name.txt stamp=$venv/.$name.txt
    cmp -s "$list" "$stamp" && continue
    say "installing tools/requirements/$name.txt"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$list"
    cp "$list" "$stamp"
  done
}

level=${1:-build}
case $level in
  build) lists="build" ;;
  test) lists="build test coverage peers" ;;
  lint | analyze) lists="build test coverage peers lint" ;;
  system) lists="" ;;
  *) fail "unknown level $level: build, test, lint, analyze or system" ;;
esac
missing_packages "$level"
if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  install_packages "${missing[@]}"
fi
if [ "$level" != build ]; then
  valgrind_if_possible
  allocators_if_possible
fi
[ "$level" != system ] || exit 0
make_venv
# shellcheck disable=SC2086  # a list of words
install_requirements $lists
