"""The tracker asks the system for something and does not get it: the tests' own results are the same,
and no limit is passed in silence.

Each run refuses one call of one kind (the Nth), or all from the Nth on. CMEMRAY_FAULTS_STEP=1 tries
every N until nothing is refused any more (make faults); by default N goes up in larger steps.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from faulty_worlds import library

STEP = int(os.environ.get("CMEMRAY_FAULTS_STEP", "0"))

START = """
import mmap, threading
import pytest

_kept = []

def note(name, value):
    with open("results", "a") as file:
        file.write(f"{name} {value}\\n")

@pytest.mark.limit_memory("2 MB")
def test_fails_by_itself():
    pytest.fail("its own failure")

def test_without_a_limit():
    note("no limit", len([0] * 1000))

"""
SMALL = """
@pytest.mark.limit_memory("2 MB")
def test_kept():
    note("kept", len(bytearray(10**6)))

@pytest.mark.limit_memory("500 KB")
def test_broken():
    note("broken", len(bytearray(10**6)))

@pytest.mark.limit_leaks("10 KB")
def test_leak_kept():
    _kept.append(bytearray(5000))
    note("leak kept", len(_kept))

@pytest.mark.limit_leaks("10 KB")
def test_leak_broken():
    _kept.append(bytearray(10**5))
    note("leak broken", len(_kept))

@pytest.mark.limit_memory("500 KB")
def test_broken_by_a_thread():
    thread = threading.Thread(target=lambda: note("thread", len(bytearray(10**6))))
    thread.start()
    thread.join()

@pytest.mark.limit_memory("500 KB")
def test_broken_by_small_objects():
    note("small", len([(i, str(i)) for i in range(10**4)]))

@pytest.mark.limit_memory("1 MB")
def test_broken_by_a_mapping():
    with mmap.mmap(-1, 2**21, flags=mmap.MAP_PRIVATE) as mapping:
        note("mapping", len(mapping))

@pytest.mark.limit_memory("20 MB")
def test_kept_with_an_import():
    import _decimal
    note("import", _decimal.Decimal("1.5"))
"""
#: What makes the tracker's tables grow: of frames, mappings, functions; and tags be used up.
GROWING = """
import cmemray

def _deep(depth):
    return _deep(depth - 1) if depth else len(bytearray(10**6))

@pytest.mark.limit_memory("2 MB")
def test_kept_far_down():
    note("far down", _deep(600))

@pytest.mark.limit_memory("500 KB")
def test_broken_far_down():
    note("far down", _deep(600))

def _mappings(n):
    kinds = (mmap.MAP_PRIVATE, mmap.MAP_SHARED)
    made = [mmap.mmap(-1, 8192, flags=kinds[i % 2]) for i in range(n)]
    for mapping in made:
        mapping[0] = 1
    note("mappings", len(made))
    # Of those that are left the kernel is asked what is in memory.
    _kept.append(made[:10])
    for mapping in made[10:]:
        mapping.close()

@pytest.mark.limit_memory("20 MB")
def test_kept_with_mappings():
    _mappings(400)

@pytest.mark.limit_memory("1 MB")
def test_broken_by_mappings():
    _mappings(600)

def test_functions():
    names = {}
    exec("".join(f"def f{i}(): return bytearray({i})\\n" for i in range(4500)), names)
    try:
        with cmemray.measure(attribution="exact"):
            n = sum(len(names[f"f{i}"]()) for i in range(4500))
    except (MemoryError, OSError):
        n = sum(range(4500))
    note("functions", n)

def test_sections():
    try:
        with cmemray.measure():
            for i in range(80):
                with cmemray.measure():
                    _kept.append(bytearray(600))
    except (MemoryError, OSError):
        pass
    note("sections", "were measured or refused")
"""


class Program(NamedTuple):
    """Tests; those that break their limit, with how they say so; those that pass."""

    tests: str
    over: dict[str, str]
    passing: tuple[str, ...]


LIMITED = "Test was limited to"
PROGRAMS = {
    "small": Program(
        START + SMALL,
        {
            "test_broken": LIMITED,
            "test_leak_broken": "Test was allowed to leak",
            "test_broken_by_a_thread": LIMITED,
            "test_broken_by_small_objects": LIMITED,
            "test_broken_by_a_mapping": LIMITED,
        },
        ("test_kept", "test_leak_kept", "test_kept_with_an_import", "test_without_a_limit"),
    ),
    "growing": Program(
        START + GROWING,
        {"test_broken_far_down": LIMITED, "test_broken_by_mappings": LIMITED},
        (
            *("test_kept_far_down", "test_kept_with_mappings", "test_functions", "test_sections"),
            "test_without_a_limit",
        ),
    ),
}
WITHOUT_A_LIMIT = ("test_without_a_limit", "test_functions", "test_sections")
#: What a test says that cannot be judged.
REFUSED = "Memory was not measured"

#: (call, program, whether all later ones are refused, too, first N and distance of the next by default).
CASES = [
    ("mmap", "small", 0, 1, 1),
    ("mmap", "small", 1, 2, 40),
    ("mmap", "growing", 0, 5, 40),
    ("mremap", "growing", 0, 1, 1),
    ("mremap", "growing", 1, 1, 1000),
    ("munmap", "small", 0, 1, 20),
    ("munmap", "small", 1, 1, 1000),
    ("munmap", "growing", 1, 1, 1000),
    ("madvise", "small", 0, 1, 6),
    ("madvise", "small", 1, 1, 1000),
    ("mprotect", "small", 0, 1, 5),
    ("mprotect", "small", 1, 1, 1000),
    ("mincore", "growing", 0, 1, 50),
    ("mincore", "growing", 1, 1, 1000),
    ("syscall", "small", 0, 1, 4),
    ("syscall", "small", 1, 1, 1000),
    ("open", "small", 0, 1, 10),
    ("open", "small", 1, 1, 1000),
    ("fstat", "small", 0, 1, 20),
    ("fstat", "small", 1, 1, 1000),
    ("read", "small", 0, 1, 50),
    ("read", "small", 1, 1, 1000),
    ("write", "small", 0, 1, 50),
    ("write", "small", 1, 1, 1000),
    ("pread", "growing", 0, 1, 10),
    ("pread", "growing", 1, 1, 1000),
    ("pipe2", "small", 0, 1, 1),
    ("prctl", "small", 0, 1, 1),
    ("pthread_key_create", "small", 0, 1, 1),
    ("pthread_setspecific", "small", 0, 1, 1),
    ("pthread_setspecific", "small", 1, 1, 1000),
    ("__register_atfork", "small", 0, 1, 1),
]
#: What else the core calls, and why it is not refused. Text and blocks of bytes (mem*, str*) apart.
NOT_REFUSED = {
    "the C library answers without the system": (
        *("__errno_location", "dladdr", "dl_iterate_phdr", "dlerror", "getauxval", "getpid"),
        *("pthread_getspecific", "pthread_once", "qsort", "qsort_r", "sysconf"),
        *("sigemptyset", "sigismember", "__tls_get_addr"),
    ),
    "finds what is loaded already": ("dlopen", "dlsym", "dlclose"),
    "fails for wrong arguments only": ("clock_gettime", "pthread_sigmask", "sched_yield"),
    "is done even where it fails": ("close",),
    "the loader's, and the compiler's": (
        *("__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable"),
        *("_ITM_registerTMCloneTable", "__stack_chk_fail"),
    ),
}


def test_every_call_is_here():
    """All that the core takes from the C library is refused above, or there is a reason."""
    import cmemray._core

    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    command = [nm, "-D", "--undefined-only", "--format=posix", cmemray._core.__file__]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    called = {line.split()[0].partition("@")[0] for line in said.splitlines()}
    called = {name for name in called if not name.startswith(("Py", "_Py", "mem", "str"))}
    refused = {case[0] for case in CASES}
    assert called - refused == called & {name for names in NOT_REFUSED.values() for name in names}
    assert refused <= called


@pytest.fixture
def run(project):
    def run(call, program, every, first, step):
        refuse = library("refuse")
        project.write("conftest.py", "")
        (project.path / "test_it.py").write_text(program.tests)
        script = Path(__file__).with_name("refusals.py")
        command = [sys.executable, "-P", script, refuse, project.path, call]
        command += [str(every), str(first), str(step)]
        done = subprocess.run(
            [str(word) for word in command],
            # A JIT asks for what the tracker asks for, too, and the interpreter does without it badly.
            env={**os.environ, "LD_PRELOAD": refuse, "PYTHON_JIT": "0"},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def check(program, run, plain):
    """A run in which something was refused, against one in which nothing was."""
    assert (run["status"], run["exit"]) == (0, 1), run["output"]
    assert run["results"] == plain["results"]
    expected = {*program.over, *program.passing, "test_fails_by_itself"}
    assert run["tests"].keys() == plain["tests"].keys() == expected
    assert "INTERNALERROR" not in run["output"]
    for name, (outcome, said, numbers) in run["tests"].items():
        if name == "test_fails_by_itself":
            assert outcome == "failed"
            assert "its own failure" in said
        elif name in program.over:
            assert outcome == "failed"
            assert said.startswith((program.over[name], REFUSED)), said
        elif outcome == "failed":
            assert name not in WITHOUT_A_LIMIT, said
            assert said.startswith(REFUSED), said
        elif "memray_note" in numbers:
            note = numbers["memray_note"]
            assert note.startswith(("not measured: ", "incomplete measurement: ")), note
        else:
            assert_near(numbers, plain["tests"][name][2])


def assert_near(numbers, plain):
    """Without a word of anything missing, nothing is."""
    for key in ("memray_peak_bytes", "memray_total_bytes", "memray_allocations"):
        assert numbers[key] == pytest.approx(plain[key], rel=0.01, abs=4096), (numbers, plain)


@pytest.mark.parametrize(("call", "name", "every", "first", "step"), CASES)
def test_refused(run, call, name, every, first, step):
    program = PROGRAMS[name]
    runs = run(call, program, every, first, STEP or step)
    plain = runs.pop()
    assert plain["refused"] == 0
    assert plain["number"] > 1, f"{call} was never asked for"
    assert [plain["tests"][test][0] for test in program.passing] == ["passed"] * len(
        program.passing
    )
    for one in runs:
        assert one["refused"] >= 1
        check(program, one, plain)
    if call == "mmap" and name == "small":
        assert any(REFUSED in said for one in runs for _, said, _ in one["tests"].values())
