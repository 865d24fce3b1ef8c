"""Sandboxes that refuse system calls: same outcomes, or a clear statement."""

import ctypes
import subprocess
import sys

import pytest
from faulty_worlds import OUTCOMES, library

ASK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).{call})"
EXEC = (
    "import ctypes, os, sys; ctypes.CDLL(sys.argv[1]).{call}; os.execv(sys.argv[2], sys.argv[2:])"
)


@pytest.fixture
def sandbox(world):
    path = library("seccomp")
    for name in ("deny_membarrier", "deny_mprotect"):
        assert hasattr(ctypes.CDLL(path), name)
    done = subprocess.run([sys.executable, "-c", ASK.format(call="deny_membarrier()"), path])
    if done.returncode != 0:
        pytest.skip(f"this kernel or container refuses seccomp: error {done.returncode}")
    world.environment["FAULTS_SECCOMP"] = path
    # With its JIT on, CPython ends itself where it may not make code executable.
    world.environment["PYTHON_JIT"] = "0"
    return world


def from_the_start(sandbox, call, **options):
    """Run in a process that began in the sandbox."""
    path = sandbox.environment["FAULTS_SECCOMP"]
    begin = EXEC.format(call=call)
    before = f'exec {sys.executable} -c "{begin}" {path} "$@"'
    return sandbox.run(before=before, **options)


def later(sandbox, call, imports="", just_before="", **options):
    """Run in a process that goes into the sandbox when the tests are collected."""
    return sandbox.run(
        conftest=(
            f"import ctypes, os\n{imports}\n"
            "def pytest_collection_finish():\n"
            f"    {just_before or 'pass'}\n"
            f"    assert ctypes.CDLL(os.environ['FAULTS_SECCOMP']).{call} == 0\n"
        ),
        **options,
    )


def test_membarrier(sandbox):
    sandbox.check(from_the_start(sandbox, "deny_membarrier()"))


@pytest.mark.parametrize("mib", [32, 64, 1024])
def test_large_mappings(sandbox, mib):
    """As with vm.overcommit_memory=2 and little memory: reservations must be small."""
    sandbox.check(from_the_start(sandbox, f"deny_big_maps({mib << 20})"))


def test_executable_mappings_once_all_is_loaded(sandbox):
    tests = "from cmemray._load import core\n"
    native = (
        "import importlib.util\ndef _load():\n    spec = importlib.util.spec_from_file_location"
    )
    native += (
        "('native', os.environ['FAULTS_NATIVE'])\n    module = importlib.util.module_from_spec"
    )
    native += "(spec)\n    spec.loader.exec_module(module)\n    return module\nkeep = _load()\n"
    sandbox.check(later(sandbox, "deny_executable_maps()", tests + native))


def test_executable_mappings_before_the_core_is_loaded(sandbox):
    """It cannot be loaded: limits are not checked, which is said; tests run as ever."""
    result = later(sandbox, "deny_executable_maps()")
    not_loaded(sandbox, result)


def test_mprotect_before_the_core_is_loaded(sandbox):
    result = later(sandbox, "deny_mprotect()")
    # A thread's stack takes one, too, with older C libraries.
    thread = sandbox.project.outcomes(result)["test_broken_by_a_thread"]
    assert thread in ("FAILED", "MEMORY PROBLEMS")
    not_loaded(sandbox, result, test_broken_by_a_thread=thread)


def not_loaded(sandbox, result, **by_themselves):
    by_themselves |= {
        "test_totals": "FAILED",
        "test_fails_by_itself": "FAILED",
        "test_without_a_limit": "PASSED",
    }
    failed = {name: "MEMORY PROBLEMS" for name in OUTCOMES if name not in by_themselves}
    assert sandbox.project.outcomes(result) == failed | by_themselves, result.outlines
    assert failed
    for name in failed:
        result.stdout.fnmatch_lines(
            [f"MEMORY PROBLEMS *{name} - Memory was not measured, so the *"]
        )
    result.stdout.fnmatch_lines(["nothing was measured: *_core*"])


def test_mprotect_once_the_core_is_loaded(sandbox):
    """Libraries whose tables are read-only by now cannot be hooked: nothing passes in silence."""
    # Starting threads and loading the native extension take mprotect themselves.
    result = later(sandbox, "deny_mprotect()", "from cmemray._load import core")
    outcomes = sandbox.project.outcomes(result)
    assert outcomes["test_broken"] == outcomes["test_leak_broken"] == "MEMORY PROBLEMS"
    assert outcomes["test_kept"] == outcomes["test_leak_kept"] == "MEMORY PROBLEMS"
    result.stdout.fnmatch_lines(["*test_kept - *libraries' calls could not be recorded*"])
    result.stdout.fnmatch_lines(["*test_broken - Test was limited to 500.0KiB but allocated 97*"])


def test_mprotect_once_all_is_hooked(sandbox):
    # What the rest of a run loads is loaded by then.
    imports = "import cmemray, cmemray.explain, unittest, multiprocessing, lzma, bz2, _decimal"
    now = "with cmemray.measure(): ctypes.CDLL(os.environ['FAULTS_SECCOMP'])"
    result = later(sandbox, "deny_mprotect()", imports, now)
    outcomes = sandbox.project.outcomes(result)
    del outcomes["test_totals"], outcomes["test_broken_by_a_thread"]  # need it themselves
    assert outcomes == {k: v for k, v in OUTCOMES.items() if k in outcomes}, result.outlines
