"""What cannot be measured is said, once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
@pytest.mark.parametrize("n", range(4))
@pytest.mark.limit_memory("10 MB")
def test_it(n):
    bytearray(1000)
"""
#: Stands for a library with an allocator inside, and for an interpreter that is not known.
GAPS = """
import cmemray
from cmemray._load import core

class Core:
    PYTHON_STACKS = False
    PYTHON_STACKS_REASON = "unknown layout"
    def __getattr__(self, name):
        return getattr(core, name)
    def private_allocators(self):
        return [("/lib/libb.so", "jemalloc"), ("/lib/liba.so", "mimalloc")]

cmemray._load.core = Core()
"""


@pytest.mark.parametrize("workers", ["", "-n2"])
def test_gaps_of_the_process_are_said_once(project, need, workers: str) -> None:
    plugins = (need("xdist.plugin"),) if workers else ()
    project.write("conftest.py", GAPS)
    result = project.run_tests(TESTS, *([workers] if workers else []), plugins=plugins)
    result.assert_outcomes(passed=4)
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if "MEMRAY NOTES" in line)
    assert lines[start + 1 : start + 4] == [
        "Python stacks are not available: unknown layout",
        "liba.so has an allocator of its own (mimalloc), which is not measured",
        "libb.so has an allocator of its own (jemalloc), which is not measured",
    ]
    assert sum("unknown layout" in line for line in lines) == 1


def test_a_usual_process_has_no_gaps(project) -> None:
    result = project.run_tests(TESTS)
    result.stdout.no_fnmatch_line("*MEMRAY NOTES*")


def asan() -> str:
    """The preloadable runtime of AddressSanitizer, "" when there is none."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return ""
    command = [compiler, "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return str(Path(path).resolve()) if Path(path).is_absolute() else ""


def run_sanitized(project, *ini: str) -> pytest.RunResult:
    """Run with the sanitizer loaded into the whole process."""
    library = asan()
    if not library:
        pytest.skip("gcc's libasan is not installed")
    project.ini(*ini)
    project.write("test_it.py", TESTS + "def test_unmarked():\n    pass\n")
    environment = [f"LD_PRELOAD={library}", "ASAN_OPTIONS=detect_leaks=0"]
    command = [sys.executable, "-m", "pytest", "-ppytest_cmemray.plugin", "--memray"]
    return project._pytester.run("env", *environment, *command, timeout=120)


def test_in_a_sanitized_process_limits_are_errors(project) -> None:
    result = run_sanitized(project)
    result.assert_outcomes(errors=4, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*nothing was measured: the process runs with AddressSanitizer",
            "ERROR *memory limits are not checked in a process with AddressSanitizer*"
            "memray_sanitizer = track*",
        ]
    )


def test_in_a_sanitized_process_limits_can_be_tracked(project) -> None:
    result = run_sanitized(project, "memray_sanitizer = track")
    result.assert_outcomes(passed=5)
