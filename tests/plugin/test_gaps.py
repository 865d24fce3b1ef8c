"""What cannot be measured is said, once."""

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import native_extension
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
        return [
            ("/lib/libb.so", "mimalloc"), ("/lib/liba.so", "own malloc"), ("/lib/libb.so", "jemalloc"),
            ("/lib/libd.so", "too large"), ("/lib/libc1.so", "unreadable"), ("", "unreadable"),
        ]

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
    assert lines[start + 1 : start + 7] == [
        "Python stacks are not available: unknown layout",
        "not all libraries were examined for allocators of their own",
        "liba.so contains a malloc of its own: what it hands out is not measured, only the memory "
        "that it maps",
        "libb.so contains jemalloc and mimalloc: what they hand out is not measured, only the "
        "memory that they map",
        "libc1.so was not examined for an allocator of its own: its file cannot be read",
        "libd.so was not examined for an allocator of its own: it has more symbols or constants "
        "than are looked through",
    ]
    assert sum("unknown layout" in line for line in lines) == 1


def test_a_usual_process_has_no_gaps(project) -> None:
    result = project.run_tests(TESTS)
    result.stdout.no_fnmatch_line("*MEMRAY NOTES*")


def test_gaps_are_properties_of_the_junit_test_suite(project) -> None:
    project.write("conftest.py", GAPS)
    project.write("test_it.py", TESTS)
    project.run("--junitxml=junit.xml")
    tree = ElementTree.parse(project.path / "junit.xml")
    found = [one.get("value", "") for one in tree.findall("testsuite/properties/property")]
    assert [text.partition(":")[0] for text in found] == [
        "Python stacks are not available",
        "not all libraries were examined for allocators of their own",
        "liba.so contains a malloc of its own",
        "libb.so contains jemalloc and mimalloc",
        "libc1.so was not examined for an allocator of its own",
        "libd.so was not examined for an allocator of its own",
    ]


def test_notes_of_a_test_are_its_properties(project) -> None:
    project.write(
        "test_it.py",
        """
import subprocess, sys

@pytest.mark.limit_memory("10 MB")
def test_it():
    subprocess.run([sys.executable, "-c", ""], check=True)
""",
    )
    case = project.junit()["test_it"]
    notes = [one.get("value") for one in case.iter("property") if one.get("name") == "memray_note"]
    assert len(notes) == 1
    assert notes[0].startswith("1 child process was not measured")


POOL = """
import importlib.util

spec = importlib.util.spec_from_file_location("pool", {file!r})
pool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pool)

@pytest.mark.limit_memory("3 MB")
def test_maps():
    pool.take(1000)

@pytest.mark.limit_memory("500 KB")
def test_takes_from_what_is_mapped():
    pool.take(1_000_000)
"""


def test_an_allocator_linked_into_an_extension_is_named(project) -> None:
    if native_extension.compiler() is None:
        pytest.skip("no C compiler: the test extension cannot be built")
    file = native_extension.build(native_extension.POOL)
    result = project.run_tests(POOL.format(file=str(file)))
    # What it maps counts where it maps it; what it hands out does not.
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "Test was limited to 3.0MiB but allocated 4.0MiB*",
            f"{file.name} contains jemalloc: what it hands out is not measured, only the memory "
            "that it maps",
        ]
    )


CTYPES = """
import ctypes

library = ctypes.CDLL(None)

def test_first():
    pass

def test_it():
    library.calloc.restype = ctypes.c_void_p
    block = library.calloc(1, 5_000_000)
    library.free(ctypes.c_void_p(block))
"""


def test_functions_that_ctypes_looks_up_are_named(project) -> None:
    result = project.run_tests(CTYPES, "--memray")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["_ctypes*.so looked up the addresses of calloc and free with dlsym: calls through them *"]
    )


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
