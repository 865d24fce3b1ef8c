#!/usr/bin/env python3
"""Builds the wheel and runs the tests on other CPythons: `test_matrix.py VERSION...`.

Each version gets its own copy of the source under build/matrix, an interpreter by
tools/pythons.sh (made when missing), a fresh virtual environment, the wheel, and the test suite
against that wheel. Ends with a table; exit status 1 when a version failed or could not be had.
"""

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STEPS = r"""
set -euo pipefail
cd "$1"
"$PYTHON" -m venv env
pip() { env/bin/python -m pip "$@" -q --disable-pip-version-check; }
pip install -r tools/requirements/build.txt -r tools/requirements/test.txt
grep -v '^#' tools/requirements/peers.txt | while read -r peer; do
  pip install --only-binary :all: "$peer" || echo "matrix: no wheel of $peer for $PYTHON"
done
export PATH=$PWD/env/bin:$PATH
meson setup build/gcc -Dpython=disabled >/dev/null
ninja --quiet -C build/gcc
pip wheel --no-deps --no-build-isolation -w dist .
pip install --no-deps dist/*.whl
mkdir run && cd run
CMEMRAY_TEST_INSTALLED=1 "$1/env/bin/python" -P -m pytest -c "$1/pyproject.toml" --rootdir="$1" \
  -n 2 --dist loadgroup --junitxml="$1/report.xml" \
  "$1/tests" --ignore="$1/tests/tools" --ignore="$1/tests/packaging"
"""


def copy_source(target: Path) -> None:
    """Make TARGET a copy of every file git knows here, committed or not."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def counts_of(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report."""
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def run_version(version: str) -> tuple[str, bool]:
    """Test one version; returns its row of the table and whether all went well."""
    work = ROOT / "build" / "matrix" / version
    copy_source(work)
    started = time.monotonic()
    log = work / "log.txt"
    environment = dict(os.environ, CMEMRAY_BIND=str(work))
    command = [str(ROOT / "tools" / "pythons.sh"), "run", version]
    with log.open("w") as output:
        result = subprocess.run(
            [*command, "bash", "-c", STEPS, "matrix", str(work)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    seconds = time.monotonic() - started
    report = work / "report.xml"
    if not report.exists():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        print(f"--- {version}: no test ran; the end of {log}:\n{tail}", flush=True)
        return f"{version:<12} {'could not be tested':>26} {seconds:>7.0f} s", False
    passed, failed, skipped = counts_of(report)
    row = f"{version:<12} {passed:>8} {failed:>8} {skipped:>8} {seconds:>7.0f} s"
    if result.returncode != 0:
        row += f"   see {log}"
    return row, result.returncode == 0 and passed > 0


def main(versions: list[str]) -> int:
    """Test every version named on the command line."""
    if not versions:
        print("test_matrix: name versions, for instance 3.13 3.15")
        return 2
    rows = []
    for version in versions:
        print(f"test_matrix: {version}", flush=True)
        rows.append(run_version(version))
    print(f"\n{'CPython':<12} {'passed':>8} {'failed':>8} {'skipped':>8} {'time':>9}")
    print("\n".join(row for row, _ in rows))
    return 0 if all(fine for _, fine in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
