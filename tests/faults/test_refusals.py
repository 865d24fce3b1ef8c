"""The tracker asks the system for something and does not get it: the tests' own results are the same,
and no limit is passed in silence.

Each run refuses one call of one kind (the Nth), or all from the Nth on. CMEMRAY_FAULTS_STEP=1 tries
every N until nothing is refused any more (make faults); by default N goes up in large steps.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_worlds import library

STEP = int(os.environ.get("CMEMRAY_FAULTS_STEP", "0"))

TESTS = """
import mmap, threading
import pytest

_kept = []

def note(name, value):
    with open("results", "a") as file:
        file.write(f"{name} {value}\\n")

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

@pytest.mark.limit_memory("2 MB")
def test_fails_by_itself():
    pytest.fail("its own failure")

def test_without_a_limit():
    note("no limit", len([0] * 1000))
"""
OVER = {
    "test_broken": "Test was limited to",
    "test_leak_broken": "Test was allowed to leak",
    "test_broken_by_a_thread": "Test was limited to",
    "test_broken_by_small_objects": "Test was limited to",
    "test_broken_by_a_mapping": "Test was limited to",
}
PASSING = ("test_kept", "test_leak_kept", "test_kept_with_an_import", "test_without_a_limit")
#: What a test says that cannot be judged.
REFUSED = "Memory was not measured"

#: (call, whether all later ones are refused, too, first N and distance of the next by default).
CASES = [
    ("mmap", 0, 1, 11),
    ("mmap", 1, 2, 40),
    ("munmap", 0, 1, 20),
    ("munmap", 1, 1, 1000),
    ("madvise", 0, 1, 6),
    ("madvise", 1, 1, 1000),
    ("mprotect", 0, 1, 5),
    ("mprotect", 1, 1, 1000),
    ("syscall", 0, 1, 4),
    ("syscall", 1, 1, 1000),
    ("open", 1, 1, 1000),
    ("fstat", 1, 1, 1000),
    ("pipe2", 0, 1, 1),
    ("pthread_key_create", 0, 1, 1),
    ("pthread_setspecific", 0, 1, 1),
    ("pthread_setspecific", 1, 1, 1000),
    ("__register_atfork", 0, 1, 1),
]


@pytest.fixture
def run(project):
    def run(call, every, first, step):
        refuse = library("refuse")
        project.write("conftest.py", "")
        (project.path / "test_it.py").write_text(TESTS)
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


def check(run, plain):
    """A run in which something was refused, against one in which nothing was."""
    assert (run["status"], run["exit"]) == (0, 1), run["output"]
    assert run["results"] == plain["results"]
    assert run["tests"].keys() == plain["tests"].keys() == {*OVER, *PASSING, "test_fails_by_itself"}
    assert "INTERNALERROR" not in run["output"]
    for name, (outcome, said, numbers) in run["tests"].items():
        if name == "test_fails_by_itself":
            assert outcome == "failed"
            assert "its own failure" in said
        elif name in OVER:
            assert outcome == "failed"
            assert said.startswith((OVER[name], REFUSED)), said
        elif outcome == "failed":
            assert name != "test_without_a_limit"
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


@pytest.mark.parametrize(("call", "every", "first", "step"), CASES)
def test_refused(run, call, every, first, step):
    runs = run(call, every, first, STEP or step)
    plain = runs.pop()
    assert plain["refused"] == 0
    assert plain["number"] > 1, f"{call} was never asked for"
    assert [plain["tests"][name][0] for name in PASSING] == ["passed"] * len(PASSING)
    for one in runs:
        assert one["refused"] >= 1
        check(one, plain)
    if call == "mmap":
        assert any(REFUSED in said for one in runs for _, said, _ in one["tests"].values())
