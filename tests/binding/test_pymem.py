"""The interpreter's allocator hooks live with those of others."""

import tracemalloc

import native_extension
import pytest
from native_extension import program
from shared_fixtures import FREE_THREADED, needs_gil

import cmemray
from cmemray._load import core

STEPS = program(
    ("obj_malloc", 0, 100),
    ("mem_malloc", 1, 200),
    ("raw_malloc", 2, 300),
    ("realloc", 0, 1000),
    ("free", 1),
)


def peak(native):
    # A test runner's own thread allocates when a message comes.
    with cmemray.measure(threads="test") as m:
        native.run(STEPS)
    native.clear()
    return m.peak, m.count, m.leaked


EXPECTED = (1500, 4, 1300)


def test_no_hook_is_left(native):
    for _ in range(3):
        assert peak(native) == EXPECTED
        assert core.status()["hooked_domains"] == 0


def test_tracemalloc_around_us(native):
    tracemalloc.start()
    try:
        for _ in range(3):
            assert peak(native) == EXPECTED
    finally:
        tracemalloc.stop()
    assert peak(native) == EXPECTED


def test_tracemalloc_started_in_the_block_and_left_on(native):
    with cmemray.measure():
        tracemalloc.start()
    try:
        for _ in range(3):
            with cmemray.measure() as m:
                native.run(STEPS)
            native.clear()
            assert m.count in range(4, 40)
            assert m.peak >= 1500
    finally:
        tracemalloc.stop()
    for _ in range(3):
        assert peak(native) == EXPECTED


def test_tracemalloc_stopped_in_the_block(native):
    tracemalloc.start()
    with cmemray.measure():
        tracemalloc.stop()
    for _ in range(3):
        assert peak(native) == EXPECTED


SETTINGS = ["debug"] if FREE_THREADED else ["malloc", "debug", "malloc_debug", "pymalloc_debug"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_other_allocators_of_the_interpreter(run_python, setting):
    out = run_python(
        "import sys, cmemray\n"
        "held = m = None\n"
        "for _ in range(3):\n"
        "    with cmemray.measure() as m: held = bytearray(1000)\n"
        "    assert m.leaked == sys.getsizeof(held), m.leaked\n"
        "    with cmemray.measure() as m: pass\n"
        "    assert (m.peak, m.count, m.total) == (0, 0, 0)\n"
        "print('fine')",
        environment={"PYTHONMALLOC": setting},
    )
    assert out == "fine\n"


@pytest.fixture
def tool(native):
    """Another tool's hooks, installed before ours."""
    module = native_extension.load(native_extension.TOOL)
    module.install()
    yield module
    module.uninstall()


def test_what_a_tool_below_us_keeps_for_itself_does_not_count(native, tool):
    for _ in range(3):
        assert peak(native) == EXPECTED


def test_threads_that_get_raw_memory_meanwhile_do_not_answer_for_us(native):
    # They need no lock of the interpreter, so they go on while the hooks are put in, and while it is
    # asked whether a request of this thread comes by ours in spite of the tool's.
    tool, pound = map(native_extension.load, (native_extension.TOOL, native_extension.POUND))
    raw = 2
    pound.crew_start(2, 1, raw)
    try:
        for i in range(20):
            (tool.uninstall if i % 2 else tool.install_for_objects)()
            with cmemray.measure(collect=None) as m:
                native.run(STEPS)
            native.clear()
            assert not m.incomplete, (i, m.incomplete_reason)
    finally:
        pound.crew_stop()
        tool.uninstall()


@needs_gil
def test_a_library_loaded_inside_an_allocation_is_seen(tool):
    # It takes the mark that its dlopen leaves on the thread, set in the middle of an event.
    with cmemray.measure(basis="requested") as m:
        tool.open_in_malloc(str(native_extension.build(native_extension.LATE)))
        before = m.total
        assert tool.late()
        after = m.total
    assert 1000 <= after - before < 2000
