"""Allocators that stand in front of the C library's: same outcomes, same bytes."""

import subprocess
import sys
import sysconfig

import pytest
from faulty_worlds import NUMBERS, STEPS, TESTS, compiler, preloadable
from native_extension import program

ALLOCATORS = {
    "jemalloc": ["libjemalloc.so.2"],
    "tcmalloc": ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"],
    "mimalloc": ["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so"],
}


def need(name):
    """The library's path; skips where it is not installed, or Python cannot live with it."""
    path = preloadable(*ALLOCATORS[name])
    if not path:
        pytest.skip(f"{name} is not installed")
    return runs_with(path)


def runs_with(path):
    """`path`, when the interpreter runs with it in front."""
    command = ["env", f"LD_PRELOAD={path}", "ASAN_OPTIONS=detect_leaks=0"]
    command += [sys.executable, "-c", "import ctypes, ssl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this Python does not run with {path}: {done.stderr[-200:]}")
    return path


#: Of Python; free-threaded builds have no other one.
OF_PYTHON = ["mimalloc"] if sysconfig.get_config_var("Py_GIL_DISABLED") else ["pymalloc", "malloc"]


@pytest.mark.parametrize("allocator", OF_PYTHON)
@pytest.mark.parametrize("name", list(ALLOCATORS))
def test_preloaded(world, name, allocator):
    environment = {"LD_PRELOAD": need(name), "PYTHONMALLOC": allocator}
    result = world.run(environment=environment)
    world.check(result)


def sanitizer():
    """gcc's libasan."""
    command = [*compiler(), "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if not path.startswith("/"):
        pytest.skip("the compiler has no libasan")
    return runs_with(path)


def test_sanitizer(world):
    world.project.ini("memray_sanitizer = track")
    environment = {"LD_PRELOAD": sanitizer(), "ASAN_OPTIONS": "detect_leaks=0"}
    # Its strdup is its own, and takes memory from inside the sanitizer.
    size, blocks, peak = NUMBERS
    environment["FAULTS_STEPS"] = STEPS.hex().replace(program(("strdup", 7, 50)).hex(), "")
    tests = TESTS.replace(repr(NUMBERS)[1:-1], f"{size - 50}, {blocks - 1}, {peak - 50}")
    world.check(world.run(environment=environment, tests=tests))
