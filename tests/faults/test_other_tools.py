"""Other tools that hook the interpreter's allocators, put on and taken off in every order."""

import pytest
from faulty_worlds import extension

HOOKER = """
import importlib.util, os, tracemalloc
spec = importlib.util.spec_from_file_location("hooker", os.environ["FAULTS_HOOKER"])
hooker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooker)
BYTES = 10**6

def take():
    # Ten blocks of Python's own, of which the peak is known.
    return [bytearray(BYTES // 10) for _ in range(10)]
"""

#: By a tool that was there before the test, and takes our hooks away with its own.
REMOVED = [
    "hooker.uninstall(0); take()",
    "take(); hooker.uninstall(0)",
    "hooker.uninstall(0); hooker.install(0); take()",
    "hooker.install(1); take(); hooker.uninstall(0)",
]
#: What is put on top of ours, and taken away again or not.
ON_TOP = [
    "hooker.install(1); take(); hooker.uninstall(1)",
    "hooker.install(1); take()",
    "take(); hooker.install(1)",
    "tracemalloc.start(); take(); tracemalloc.stop()",
    "tracemalloc.start(5); take()",
]


@pytest.fixture
def tools(world):
    world.environment["FAULTS_HOOKER"] = extension("hooker")
    world.project.write("hookers.py", HOOKER)
    return world


def marked(name, limit, body):
    """The text of a test with a limit."""
    body = body.replace("hooker.", "hookers.hooker.").replace("take()", "hookers.take()")
    return f"@pytest.mark.limit_memory({limit!r})\ndef {name}():\n    {body}\n\n"


START = "import pytest, tracemalloc, hookers\n\n"


@pytest.mark.parametrize("tool", ["hooker.install(0)", "tracemalloc.start()"])
def test_a_tool_that_was_there_before(tools, tool):
    tools.check(tools.run(conftest=f"from hookers import *\n{tool}\n"))


@pytest.mark.parametrize("tool", ["tracemalloc.stop()", "hooker.uninstall(0)"])
def test_a_tool_that_leaves_between_tests(tools, tool):
    """It was on top of ours when it came, or below; both tests are measured."""
    start = tool.replace("stop", "start").replace("uninstall", "install")
    for first in (start, "pass"):
        text = (
            f"{START}from hookers import hooker\n{first}\n"
            + marked("test_broken", "500 KB", "take()")
            + f"def test_middle():\n    {start if first == 'pass' else 'pass'}\n    {tool}\n\n"
            + marked("test_broken_again", "500 KB", "take()")
            + marked("test_kept", "2 MB", "take()")
        )
        result = tools.run(tests=text)
        assert tools.project.outcomes(result) == {
            "test_broken": "MEMORY PROBLEMS",
            "test_middle": "PASSED",
            "test_broken_again": "MEMORY PROBLEMS",
            "test_kept": "PASSED",
        }


def test_tools_on_top(tools):
    """Each test finds what earlier ones left on top of ours."""
    text = START
    expected = {}
    for number, body in enumerate(ON_TOP):
        text += marked(f"test_kept_{number}", "3 MB", body)
        text += marked(f"test_broken_{number}", "900 KB", "take()")
        text += f"def test_after_{number}():\n    tracemalloc.stop()\n\n"
        expected[f"test_kept_{number}"] = expected[f"test_after_{number}"] = "PASSED"
        expected[f"test_broken_{number}"] = "MEMORY PROBLEMS"
    result = tools.run(tests=text)
    assert tools.project.outcomes(result) == expected, result.outlines


@pytest.mark.parametrize("body", REMOVED)
def test_a_tool_takes_ours_away(tools, body):
    """A limit that was not reached is not known to be kept; the next test is measured again."""
    text = (
        START
        + "@pytest.fixture(scope='module', autouse=True)\ndef tool():\n"
        + "    hookers.hooker.install(0)\n    yield\n\n"
        + marked("test_removed", "3 MB", body)
        + marked("test_broken", "500 KB", "take()")
        + marked("test_kept", "3 MB", "take()")
    )
    result = tools.run(tests=text)
    assert tools.project.outcomes(result) == {
        "test_removed": "MEMORY PROBLEMS",
        "test_broken": "MEMORY PROBLEMS",
        "test_kept": "PASSED",
    }, result.outlines
    result.stdout.fnmatch_lines(["*test_removed*another tool removed the tracker's hooks*"])


def test_tracemalloc_stopped_during_a_test(tools):
    text = START + marked("test_stopped", "3 MB", "take(); tracemalloc.stop(); take()")
    text += marked("test_broken", "500 KB", "take()")
    result = tools.run(tests=text, flags=["-Xtracemalloc"])
    assert tools.project.outcomes(result) == {
        "test_stopped": "MEMORY PROBLEMS",
        "test_broken": "MEMORY PROBLEMS",
    }, result.outlines
    result.stdout.fnmatch_lines(["*test_stopped*another tool removed the tracker's hooks*"])


def test_tracemalloc_by_option(world):
    world.check(world.run(flags=["-Xtracemalloc=2"]))
