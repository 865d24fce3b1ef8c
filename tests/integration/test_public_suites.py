"""numpy's own tests, from its wheel, come out the same with every way of measuring them.

`make suites` does this with more packages, which are too large to run on every commit.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).resolve().parents[2] / "bench" / "suites" / "probe"
MODULES = (
    "numpy.lib.tests.test_arraysetops",
    "numpy.lib.tests.test_index_tricks",
    "numpy.lib.tests.test_recfunctions",
    "numpy.lib.tests.test_twodim_base",
    "numpy.ma.tests.test_extras",
)
MODES = {
    "memray": (("--memray",), {}),
    "limit": ((), {"MARKER": "limit_memory", "LIMIT": "100 GB"}),
    "leaks": ((), {"MARKER": "limit_leaks", "LIMIT": "1 GB"}),
    "system": (
        ("--memray", "-o", "memray_basis=system"),
        {"MARKER": "limit_memory", "LIMIT": "100 GB"},
    ),
}

#: In make asan-python the whole process has a sanitizer, and is measured all the same.
TRACK = ("-o", "memray_sanitizer=track") if os.environ.get("CMEMRAY_TEST_SANITIZED") else ()

pytestmark = pytest.mark.xdist_group("public_suites")


def _outcomes(folder: Path, arguments, probe=None) -> dict[str, str]:
    pytest.importorskip("numpy", reason="numpy is not installed")
    pytest.importorskip("hypothesis", reason="numpy's tests need hypothesis")
    folder.mkdir(exist_ok=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "PYTHON", "COV_", "SUITE_PROBE_"))
    }
    environment |= {f"SUITE_PROBE_{name}": value for name, value in (probe or {}).items()}
    environment |= {"SUITE_PROBE_OUT": str(folder / "out.json"), "PYTHONPATH": str(PROBE)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "suite_probe"),
            *(*arguments, "--pyargs", *MODULES),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "out.json").read_text())["outcomes"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, str]:
    outcomes = _outcomes(tmp_path_factory.mktemp("plain"), ("-p", "no:memray"))
    assert sum(outcome == "passed" for outcome in outcomes.values()) > 200
    return outcomes


@pytest.mark.parametrize("mode", MODES)
def test_same_outcomes(tmp_path, plain, mode):
    arguments, probe = MODES[mode]
    measured = _outcomes(tmp_path, (*arguments, *TRACK), probe)
    assert {test: outcome for test, outcome in measured.items() if outcome != plain.get(test)} == {}
    assert measured.keys() == plain.keys()
