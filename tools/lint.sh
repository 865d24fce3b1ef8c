#!/usr/bin/env bash
# Every check of the tree, one after the other, also after one has failed; exit status 1 if any did.
# `make lint` calls it with .venv in PATH and the folders build/gcc and build/clang set up.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=()
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    printf 'lint: %-12s fine\n' "$name"
  else
    printf 'lint: %-12s FAILED: %s\n%s\n' "$name" "$*" "$output"
    failed+=("$name")
  fi
}


check gcc ninja --quiet -C build/gcc
check clang ninja --quiet -C build/clang
check headers python tools/check_headers.py gcc clang
check layers python tools/check_layers.py
check sources python tools/check_sources.py build/gcc
check sizes python tools/check_sizes.py
check words python tools/check_words.py
check exports python tools/check_exports.py build/gcc/csrc/binding/_core*.so build/clang/csrc/binding/_core*.so
check workflows python tools/check_workflows.py .github/workflows/*.yml
check schema check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check shell shellcheck tools/*.sh .ci/run
check ruff ruff check -q .
check format ruff format -q --check .
check types mypy
check spelling codespell

if [ ${#failed[@]} -gt 0 ]; then
  echo "lint: failed: ${failed[*]}"
  exit 1
fi
