#!/usr/bin/env bash
# The plugin's tests with the oldest supported pytest, against the wheel in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
oldest=$(sed -n 's/^dependencies = .*"pytest>=\([0-9.]*\)".*/\1/p' pyproject.toml)
python=$PWD/${VENV:-.venv}/bin/python
if ! "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))'; then
  echo "test-oldest: pytest $oldest does not run on $("$python" --version); nothing tested"
  exit 0
fi
env=$PWD/build/oldest
[ -x "$env/bin/pip" ] || "$python" -m venv "$env"
"$env/bin/python" -m pip install -q --disable-pip-version-check "pytest==$oldest.0" hypothesis
"$env/bin/python" -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/*.whl
mkdir -p build/run
repo=$PWD
cd build/run
# shellcheck disable=SC2086  # a list of words
CMEMRAY_TEST_INSTALLED=1 "$env/bin/python" -P -m pytest -c "$repo/pyproject.toml" --rootdir="$repo" \
  -p no:cacheprovider ${PYTEST_ARGS:-} "$repo/tests/plugin"
