"""Other tools that hook the allocators of Python or of the process, put on and off in every order."""

import native_extension
import pytest
from faulty_worlds import extension, library

HOOKER = """
import importlib.util, os, sys, tracemalloc
spec = importlib.util.spec_from_file_location("hooker", os.environ["FAULTS_HOOKER"])
hooker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooker)
BYTES = 10**6

def take():
    # Ten blocks of Python's own, of which the peak is known.
    return [bytearray(BYTES // 10) for _ in range(10)]

sys.setrecursionlimit(20_000)

def go_deep(n=10_000):
    # Four million bytes of frames, in pieces that come from the allocator of arenas.
    a = b = c = d = e = f = g = h = i = j = k = l = m = o = p = q = r = s = t = u = v = None
    aa = bb = cc = dd = ee = ff = gg = hh = ii = jj = kk = ll = mm = oo = pp = qq = rr = ss = None
    return n and go_deep(n - 1)
"""

#: By a tool that was there before the test, and takes our hooks away with its own.
REMOVED = [
    "hooker.uninstall(0); take()",
    "take(); hooker.uninstall(0)",
    "hooker.uninstall(0); hooker.install(0); take()",
    "hooker.install(1); take(); hooker.uninstall(0)",
    # Its hooks of mem and obj ask raw, where ours still are.
    "hooker.uninstall(2); hooker.install(2); take()",
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
        + "    hookers.hooker.install(0)\n    hookers.hooker.install(2)\n    yield\n\n"
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


ARENA_TOOLS = {
    "removed in a test": ("hooker.uninstall_arenas(0)", "pass", "MEMORY PROBLEMS"),
    "removed between tests": ("hooker.install_arenas(1)", "hooker.uninstall_arenas(0)", "PASSED"),
    "removed from above ours": (
        "hooker.install_arenas(1)",
        "hooker.uninstall_arenas(1)",
        "PASSED",
    ),
    "left on": ("hooker.install_arenas(1)", "pass", "PASSED"),
}


@pytest.mark.parametrize("steps", ARENA_TOOLS.values(), ids=ARENA_TOOLS)
def test_a_tool_for_arenas(tools, steps):
    """The interpreter's stock, of which frames are made, is not the test's."""
    inside, between, outcome = steps
    text = (
        f"{START}from hookers import hooker\nhooker.install_arenas(0)\n\n"
        + marked("test_first", "2 MB", f"hookers.go_deep(); {inside}")
        + f"def test_between():\n    {between}\n\n"
        + marked("test_kept", "2 MB", "hookers.go_deep()")
        + marked("test_broken", "900 KB", "take()")
    )
    result = tools.run(tests=text)
    assert tools.project.outcomes(result) == {
        "test_first": outcome,
        "test_between": "PASSED",
        "test_kept": "PASSED",
        "test_broken": "MEMORY PROBLEMS",
    }, result.outlines
    if outcome != "PASSED":
        result.stdout.fnmatch_lines(["*test_first*another tool removed the tracker's hooks*"])


PATCHER = """
import ctypes, importlib.util, os
patcher = ctypes.CDLL(os.environ["FAULTS_PATCHER"])
spec = importlib.util.spec_from_file_location("native", os.environ["FAULTS_NATIVE"])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)

def install():
    assert patcher.patcher_install() > 20

def take():
    native.run(bytes.fromhex(os.environ["FAULTS_MILLION"]))
"""
REPLACED = (
    "*test_unknown*another tool has replaced malloc in * libraries: calls from them are not *"
)


@pytest.fixture
def patcher(world):
    million = native_extension.program(("malloc", 0, 10**6), ("free", 0))
    world.environment["FAULTS_PATCHER"] = library("patcher")
    world.environment["FAULTS_MILLION"] = million.hex()
    world.project.write("tool.py", PATCHER)
    return world


def patched(name, limit, body):
    return f"@pytest.mark.limit_memory({limit!r})\ndef {name}():\n    {body}\n\n"


PATCHED = {
    "there before and for ever": ("install()", "take()", "pass", False),
    "leaves between tests": ("install()", "take()", "patcher.patcher_leave()", True),
    "comes and goes in a test": (
        "pass",
        "install(); take(); patcher.patcher_leave()",
        "pass",
        True,
    ),
    "comes in a test and stays": ("pass", "install()", "pass", False),
    "comes in a test and leaves": ("pass", "install()", "patcher.patcher_leave()", True),
}


@pytest.mark.parametrize("steps", PATCHED.values(), ids=PATCHED)
def test_a_tool_that_replaces_malloc_in_all_libraries(patcher, steps):
    """While it does, limits that were not reached are not known to be kept; then all is as ever."""
    before, inside, between, gone = steps
    text = (
        f"import pytest\nfrom tool import *\n{before}\n\n"
        + patched("test_unknown", "3 MB", inside)
        + f"def test_between():\n    {between}\n\n"
        + patched("test_kept", "3 MB", "take()")
        + patched("test_broken", "500 KB", "take()")
    )
    result = patcher.run(tests=text)
    assert patcher.project.outcomes(result) == {
        "test_unknown": "MEMORY PROBLEMS",
        "test_between": "PASSED",
        "test_kept": "PASSED" if gone else "MEMORY PROBLEMS",
        "test_broken": "MEMORY PROBLEMS",
    }, result.outlines
    result.stdout.fnmatch_lines([REPLACED])
    reported = "*test_broken*limited to 500.0KiB but allocated 97?.?KiB*"
    unknown = REPLACED.replace("test_unknown", "test_broken")
    result.stdout.fnmatch_lines([reported if gone else unknown])
