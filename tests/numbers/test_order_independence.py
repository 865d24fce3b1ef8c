"""The peak of a warm test is the same alone, in any order, after fragmentation and under xdist."""

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import pytest

THIRTY = Path(__file__).with_name("thirty.py")
#: Threads take turns as the machine likes, so a few bytes of one may or may not meet another's.
UNSTEADY = ("threads_one_by_one", "threads_together", "threads_with_bytes")
_THREAD_NOISE = 0.02  # share of the peak
#: numpy keeps a few freed buffers of each small size for the next array. How many is left from
#: whatever ran before, and nobody can empty that stock from outside.
_NUMPY_STOCK = 256  # bytes
#: A worker is told what comes next by a thread of its own, perhaps in the middle of a test: it has a
#: few objects then, and takes or leaves some of those that the interpreter keeps for reuse.
_MESSAGES = 2048  # bytes

#: In make asan-python the whole process has a sanitizer, and is measured all the same.
_TRACK = ("-o", "memray_sanitizer=track") if os.environ.get("CMEMRAY_TEST_SANITIZED") else ()

pytestmark = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="free lists belong to threads in a free-threaded build and cannot be emptied for all",
)


@dataclass(frozen=True)
class Result:
    passed: bool
    peak: int


def _run(folder: Path, *arguments: str, limits=None, fragment=False) -> dict[str, Result]:
    """Run the thirty tests, or some, in a fresh process; results by name."""
    folder.mkdir()
    shutil.copyfile(THIRTY, folder / "test_thirty.py")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "PYTHON", "COV_", "THIRTY_"))
    }
    if limits is not None:
        environment["THIRTY_LIMITS"] = json.dumps(limits)
    if fragment:
        environment["THIRTY_FRAGMENT"] = "1"
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pytest", "--memray", "--hide-memray-summary"),
            *("--junitxml=out.xml", "--rootdir=.", "-p", "no:cacheprovider", *_TRACK, *arguments),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return _read(folder / "out.xml")


def _read(path: Path) -> dict[str, Result]:
    results = {}
    for case in ElementTree.parse(path).iter("testcase"):
        if not case.attrib["name"].startswith("test_case["):
            continue
        assert case.find("error") is None, ElementTree.tostring(case, "unicode")
        said = {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")}
        failure = case.find("failure")
        if failure is not None:
            assert "limited to" in failure.attrib["message"], failure.attrib["message"]
        name = case.attrib["name"].removeprefix("test_case[").removesuffix("]")
        results[name] = Result(failure is None, int(said["memray_peak_bytes"]))
    return results


@pytest.fixture(scope="module")
def baseline(tmp_path_factory) -> dict[str, Result]:
    results = _run(tmp_path_factory.mktemp("baseline") / "run")
    assert len(results) == 30
    assert all(result.passed and result.peak > 1_000 for result in results.values()), results
    return results


@pytest.fixture(scope="module")
def limits(baseline) -> dict[str, int]:
    """As tight as a limit can be: one byte above the peak, or the peak itself, in turns."""
    tight = {}
    for i, (name, result) in enumerate(baseline.items()):
        slack = _slack(name, result.peak)
        tight[name] = result.peak - slack if i % 2 else result.peak + 1 + slack
    return tight


def _slack(name: str, peak: int) -> int:
    """How far the peak of `name` may be from that of the first run."""
    if name in UNSTEADY:
        return int(peak * _THREAD_NOISE)
    return _NUMPY_STOCK if name.startswith("numpy_") else 0


def _check(results, baseline, limits, names=None, noise=0) -> None:
    """NOISE: how far a peak may be off beside its slack; its verdict says nothing then."""
    assert set(results) == set(names or baseline)
    wrong = {}
    for name, result in results.items():
        expected = baseline[name].peak
        off, slack = abs(result.peak - expected), _slack(name, expected)
        if off > slack + noise:
            wrong[name] = f"peak {result.peak}, in the first run {expected}"
        elif off <= slack and result.passed != (expected < limits[name]):
            wrong[name] = f"passed={result.passed}, peak {result.peak}, limit {limits[name]}"
    assert not wrong


@pytest.mark.parametrize("seed", range(5))
def test_random_order(tmp_path, baseline, limits, seed):
    names = list(baseline)
    random.Random(seed).shuffle(names)
    chosen = [f"test_thirty.py::test_case[{name}]" for name in names]
    _check(_run(tmp_path / "run", *chosen, limits=limits), baseline, limits)


@pytest.mark.parametrize("part", range(3))
def test_alone(tmp_path, baseline, limits, part):
    for name in list(baseline)[part::3]:
        chosen = f"test_thirty.py::test_case[{name}]"
        results = _run(tmp_path / name, chosen, limits=limits)
        _check(results, baseline, limits, [name])


def test_after_fragmentation(tmp_path, baseline, limits):
    results = _run(tmp_path / "run", limits=limits, fragment=True)
    _check(results, baseline, limits)


def test_two_workers(tmp_path, baseline, limits):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    results = _run(tmp_path / "run", "-n", "2", limits=limits)
    _check(results, baseline, limits, noise=_MESSAGES)
    # No message comes during most of them.
    assert sum(results[name].peak == baseline[name].peak for name in baseline) >= 15
