#!/usr/bin/env bash
# The analysers that take minutes: clang-tidy (.clang-tidy says what it looks for) and gcc's own.
# `make analyze` calls it with .venv in PATH and the folders build/clang and build/analyzer set up.
#   CLANG_TIDY   the clang-tidy to run, default clang-tidy
set -uo pipefail
cd "$(dirname "$0")/.." || exit

tidy=${CLANG_TIDY:-clang-tidy}
failed=()

echo "analyze: gcc -fanalyzer"
ninja --quiet -C build/analyzer || failed+=("gcc -fanalyzer")

mapfile -t sources < <(git ls-files 'csrc/*.c')
echo "analyze: $("$tidy" --version | grep -o 'version.*') on ${#sources[@]} files"
# Headers that the build makes must be there.
ninja --quiet -C build/clang || failed+=("clang")
printf '%s\n' "${sources[@]}" |
  xargs -P "$(nproc)" -I{} "$tidy" -p build/clang --quiet {} 2> >(grep -v 'warnings generated\|^Suppressed\|^Use -header' >&2) ||
  failed+=(clang-tidy)

if [ ${#failed[@]} -gt 0 ]; then
  (IFS=,; echo "analyze: failed: ${failed[*]}")
  exit 1
fi
echo "analyze: nothing found"
