#!/usr/bin/env bash
# One step of the test matrix, with an interpreter as $PYTHON (tools/pythons.sh run):
#
#   matrix_steps.sh build WORK          virtual environment, core tests, wheel, in the copy WORK
#   matrix_steps.sh jit WORK            has the interpreter a JIT, and is it switched on?
#   matrix_steps.sh threads WORK        bench/threads.py
#   matrix_steps.sh suite WORK NAME ROW tests/NAME against that wheel; the results in WORK/logs/ROW
set -euo pipefail

work=$2
cd "$work"
python=$work/env/bin/python
export PATH=$work/env/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH PYTHONHOME PYTEST_ADDOPTS
pip() { "$python" -m pip "$@" -q; }

is_free_threaded() {
  "$python" -c 'import sys, sysconfig; sys.exit(not sysconfig.get_config_var("Py_GIL_DISABLED"))'
}

# The same packages for everybody, but for those that have no wheel for a free-threaded build.
requirements() {
  local other=tools/requirements/free-threaded.txt
  if is_free_threaded; then
    grep -vF "$(sed -n 's/^\([a-z0-9-]*==\).*/\1/p' "$other")" tools/requirements/test.txt
    cat "$other"
  else
    cat tools/requirements/test.txt
  fi
}

build() {
  # shellcheck disable=SC2153  # the interpreter, from tools/pythons.sh; $python is the one of env
  "$PYTHON" -m venv env
  requirements >requirements.txt
  pip install -r tools/requirements/build.txt -r requirements.txt
  grep -v '^#' tools/requirements/peers.txt | while read -r peer; do
    # Its wheel for free-threaded builds turns the lock on for the whole process; tools/stress.py has it.
    case $peer in greenlet* | gevent*) if is_free_threaded; then continue; fi ;; esac
    pip install --only-binary :all: "$peer" || echo "matrix: no wheel of $peer for $PYTHON"
  done
  meson setup build/gcc -Dcore_tests=enabled >/dev/null
  meson setup build/micro -Dpython=disabled -Db_ndebug=true >/dev/null
  ninja --quiet -C build/gcc
  ninja --quiet -C build/micro bench/micro/micro_events
  pip wheel --no-deps --no-build-isolation --config-settings=setup-args=-Dwerror=true -w dist .
  pip install --no-deps dist/*.whl
  "$python" -P -c 'import os, platform
print(platform.python_version(), platform.python_compiler())
print(os.confstr("CS_GNU_LIBC_VERSION"))' >version.txt
}

case $1 in
  build) build ;;
  jit) "$python" -c 'import sys; sys.exit(not (sys._jit.is_available() and sys._jit.is_enabled()))' ;;
  threads) exec "$python" -P bench/threads.py --results threads.json ;;
  suite)
    mkdir -p run && cd run
    CMEMRAY_TEST_INSTALLED=1 exec "$python" -P -m pytest -c "$work/pyproject.toml" --rootdir="$work" \
      -n 2 --dist loadgroup --junitxml="$work/logs/$4/$3.xml" "$work/tests/$3"
    ;;
esac
