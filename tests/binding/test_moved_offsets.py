"""An interpreter whose structs are not what this extension was compiled for.

A patch release may move any field that is read directly. Each of them is moved in turn, by a build
with a door for that (csrc/binding/offsets.h; `make check` makes it): the check at import has to
notice with and without the offsets that CPython publishes about itself (3.13 and newer), and a whole
run of tests has to come out the same, with lines missing and the reason said.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import cmemray

ROOT = Path(__file__).resolve().parents[2]
DOORS = ROOT / "build" / "gcc" / "csrc" / "binding"
NAME = "_core" + sysconfig.get_config_var("EXT_SUFFIX")

HAS_CFRAME = sys.version_info < (3, 13)
PUBLISHES = sys.version_info >= (3, 13)
HAS_TLBC = sys.version_info >= (3, 14) and sysconfig.get_config_var("Py_GIL_DISABLED")

FIELDS = [
    # of a frame
    *("previous", "code", "instruction", "owner"),
    *(["tlbc"] if HAS_TLBC else []),
    # of a thread state, on the way to the top frame
    *(["cframe"] if HAS_CFRAME else []),
    "current_frame",
    # of a code object
    *("bytecode", "name", "file", "lines", "first_line", "first_traceable"),
]
#: Into the neighbour of the field, one before it, beyond the struct, and out of all mapped memory.
DISTANCES = [8, -8, 72, 1 << 30]
#: What CPython does not publish, and only the check by running finds.
UNPUBLISHED = {"first_traceable"}

TESTS = """
import pytest

kept = []

@pytest.mark.limit_memory("10 MB")
def test_within():
    kept.append(bytearray(1000))

@pytest.mark.limit_memory("1 MB")
def test_over():
    kept.append(bytearray(2_000_000))

@pytest.mark.limit_leaks("100 KB")
def test_leaks():
    kept.append(bytearray(200_000))

@pytest.mark.limit_leaks("100 KB")
def test_leaks_nothing():
    bytearray(200_000)

@pytest.mark.xfail(strict=True)
@pytest.mark.limit_memory("1 MB")
def test_expected():
    bytearray(2_000_000)

def test_fails():
    assert bytearray(10) == 1

def test_without_a_limit():
    def down(n):
        return down(n - 1) if n else [str(i) for i in range(1000)]
    assert len(down(200)) == 1000
"""


@pytest.fixture(scope="module")
def doors(tmp_path_factory) -> dict[str, str]:
    """The environment of a process that imports the build with doors."""
    built = DOORS / NAME
    if not built.exists():
        pytest.skip(f"{built} is not built: make check builds it")
    if b"CMEMRAY_TEST_MOVE" not in built.read_bytes():
        pytest.skip(f"{built} is of an older set-up: make clean")
    folder = tmp_path_factory.mktemp("doors")
    package = folder / "cmemray"
    shutil.copytree(Path(cmemray.__file__).parent, package, ignore=lambda *_: [NAME])
    shutil.copy(built, package / NAME)
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def run(doors: dict[str, str], folder: Path, *command: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", *command],
        env={**doors, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode >= 0, f"ended by signal {-done.returncode}\n{done.stdout}{done.stderr}"
    return done.returncode, done.stdout + done.stderr


PROBE = """
import sys
import cmemray
from cmemray._load import core
assert "doors" in core.__file__, core.__file__
with cmemray.measure(attribution="exact") as m:
    held = bytearray(100_000)
rows = m.leaks()
print(core.PYTHON_STACKS, any(row.frames for row in rows), core.PYTHON_STACKS_REASON, sep="|")
assert sum(row.size for row in rows) == m.leaked >= sys.getsizeof(held)
"""


def probe(doors, folder: Path, **environment: str) -> tuple[str, str, str]:
    """(stacks can be read, a row has frames, why not) in a process where EVERYTHING is measured."""
    status, said = run(doors, folder, "-c", PROBE, **environment)
    assert status == 0, said
    can, has, reason = said.strip().split("|")
    return can, has, reason


def test_the_build_with_doors_is_as_any_other(doors, tmp_path):
    assert probe(doors, tmp_path) == ("True", "True", "")
    assert probe(doors, tmp_path, CMEMRAY_TEST_UNPUBLISHED="1") == ("True", "True", "")
    assert probe(doors, tmp_path, CMEMRAY_TEST_MOVE="nothing:8") == ("True", "True", "")


def test_what_is_installed_has_no_doors():
    built = list(Path(cmemray.__file__).parent.glob("*.so"))
    assert built
    assert not [path for path in built if b"CMEMRAY_TEST" in path.read_bytes()]


@pytest.mark.parametrize("field", FIELDS)
def test_a_moved_field_is_noticed_by_running(doors, tmp_path, field: str):
    for distance in DISTANCES:
        moved = f"{field}:{distance}"
        found = probe(doors, tmp_path, CMEMRAY_TEST_MOVE=moved, CMEMRAY_TEST_UNPUBLISHED="1")
        assert found[:2] == ("False", "False"), moved
        assert found[2], moved


@pytest.mark.skipif(not PUBLISHES, reason="CPython 3.13 and newer publish offsets")
@pytest.mark.parametrize("field", FIELDS)
def test_a_moved_field_is_noticed_from_what_is_published(doors, tmp_path, field: str):
    can, has, reason = probe(doors, tmp_path, CMEMRAY_TEST_MOVE=f"{field}:8")
    assert (can, has) == ("False", "False")
    if field not in UNPUBLISHED:
        assert "another layout than this extension was compiled for" in reason


def outcomes_of(report: str) -> list[str]:
    """The lines of the short summary, without what a lost line of source changes in a message."""
    lines = [line.partition(" - ")[0] for line in report.splitlines()]
    words = ("PASSED", "FAILED", "MEMORY PROBLEMS", "XFAIL", "XPASS", "ERROR")
    return sorted(line for line in lines if line.startswith(words))


@pytest.fixture(scope="module")
def undisturbed(doors, tmp_path_factory) -> tuple[int, list[str]]:
    """Status and outcomes of TESTS where nothing is moved."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, report = suite(doors, folder)
    assert "Python stacks are not available" not in report
    assert "test_it.py:12" in report, "the line that was over its limit is named"
    outcomes = outcomes_of(report)
    assert len(outcomes) == 7, report
    return status, outcomes


def suite(doors, folder: Path, **environment: str) -> tuple[int, str]:
    """Status and output of a run of TESTS with everything measured."""
    (folder / "test_it.py").write_text(TESTS)
    arguments = ("-rA", "--memray", "-pno:cacheprovider", "-ppytest_cmemray.plugin")
    no_others = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"}
    return run(doors, folder, "-m", "pytest", *arguments, **no_others, **environment)


@pytest.mark.parametrize("field", FIELDS)
def test_a_run_comes_out_the_same_without_lines(doors, tmp_path, undisturbed, field: str):
    status, report = suite(
        doors, tmp_path, CMEMRAY_TEST_MOVE=f"{field}:8", CMEMRAY_TEST_UNPUBLISHED="1"
    )
    assert (status, outcomes_of(report)) == undisturbed, report
    assert report.count("Python stacks are not available: ") == 1, report
