"""Stacks of all the ways in which Python code calls Python code."""

import asyncio
import linecache
import re
import sys

import pytest
from shared_fixtures import needs_gil

import cmemray
from cmemray import Frame
from cmemray._load import core

pytestmark = pytest.mark.skipif(not core.PYTHON_STACKS, reason=core.PYTHON_STACKS_REASON or "-")

HERE = __file__
BIG = 100_000


def largest(m):
    """Frames of the largest location that lie in this file, innermost first."""
    return [frame for frame in m.locations_at_peak()[0].frames if frame.filename == HERE]


def line_of(text, nth=0):
    """Line of this file that ends in the comment TEXT."""
    lines = [
        number
        for number, line in enumerate(linecache.getlines(HERE), 1)
        if line.rstrip().endswith(f"# {text}")
    ]
    return lines[nth]


def plain(function):
    with cmemray.measure(attribution="exact") as m:
        held = function()
    del held
    return m


def inner():
    return bytearray(BIG)  # inner


def outer():
    return inner()  # outer


def test_calls():
    assert largest(plain(outer))[:2] == [
        Frame("inner", HERE, line_of("inner")),
        Frame("outer", HERE, line_of("outer")),
    ]


def test_the_whole_stack_is_there():
    m = plain(outer)
    frames, frame = [], sys._getframe()
    while frame is not None:
        frames.append((frame.f_code.co_name, frame.f_code.co_filename))
        frame = frame.f_back
    got = [(f.function, f.filename) for f in m.locations_at_peak()[0].frames]
    assert got[:3] == [("inner", HERE), ("outer", HERE), ("plain", HERE)]
    assert got[3:] == frames


def test_root_cuts_the_stack():
    m = cmemray.measure(attribution="exact", root=sys._getframe())
    with m:
        held = outer()
    del held
    assert [f.function for f in m.locations_at_peak()[0].frames] == ["inner", "outer"]


def generate():
    yield inner()  # yield


def delegate():
    yield from generate()  # yield from


def test_generators():
    m = plain(lambda: list(delegate()))  # lambda
    assert largest(m)[:4] == [
        Frame("inner", HERE, line_of("inner")),
        Frame("generate", HERE, line_of("yield")),
        Frame("delegate", HERE, line_of("yield from")),
        Frame("<lambda>", HERE, line_of("lambda")),
    ]


def test_comprehensions():
    def build():
        return [inner() for _ in range(3)]  # comprehension

    frames = largest(plain(build))
    names = [frame.function for frame in frames if frame.function != "<listcomp>"]
    assert names[:2] == ["inner", "build"]
    assert frames[1].lineno == line_of("comprehension")


def test_through_c():
    def key(value):
        held.append(inner())  # key
        return value

    held = []
    m = plain(lambda: sorted([2, 1], key=key))
    assert [frame.function for frame in largest(m)][:3] == ["inner", "key", "<lambda>"]


def test_methods_and_properties():
    class Thing:
        def __init__(self):
            self.first = inner()  # init

        @property
        def value(self):
            return inner()  # property

        def __getattr__(self, name):
            return inner()  # getattr

    assert largest(plain(Thing))[1] == Frame("__init__", HERE, line_of("init"))
    assert largest(plain(lambda: Thing.value.fget(None)))[1].function == "value"
    thing = object.__new__(Thing)
    assert largest(plain(lambda: thing.missing))[1] == Frame(
        "__getattr__", HERE, line_of("getattr")
    )


def test_coroutines():
    async def leaf():
        await asyncio.sleep(0)
        return inner()  # leaf

    async def branch():
        return await leaf()  # branch

    async def main():
        with cmemray.measure(attribution="exact") as m:
            held = await branch()
        del held
        return m

    frames = largest(asyncio.run(main()))
    assert frames[:3] == [
        Frame("inner", HERE, line_of("inner")),
        Frame("leaf", HERE, line_of("leaf")),
        Frame("branch", HERE, line_of("branch")),
    ]


def recurse(depth):
    if depth == 0:
        return bytearray(BIG)
    return recurse(depth - 1)  # recurse


def test_recursion_three_thousand_deep():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        m = plain(lambda: recurse(3000))
    finally:
        sys.setrecursionlimit(before)
    frames = largest(m)
    assert [f.function for f in frames[:3002]] == ["recurse"] * 3001 + ["<lambda>"]
    assert {f.lineno for f in frames[1:3001]} == {line_of("recurse")}
    assert m.locations_at_peak()[0].size > BIG


def test_the_line_is_that_of_the_call_not_of_the_statement():
    def call():
        return (
            None,
            inner(),  # second
        )

    assert largest(plain(call))[1].lineno == line_of("second")


def test_exceptions_unwind_the_stack():
    def fail():
        try:
            recurse(-1)
        except RecursionError:
            return inner()  # handler

    frames = largest(plain(fail))
    assert [f.function for f in frames[:2]] == ["inner", "fail"]
    assert frames[1].lineno == line_of("handler")


def test_names_in_other_alphabets():
    source = "def größe_变量():\n    return bytearray(100_000)\n"
    for filename in ("päth.py", "путь/файл.py", "\U0001f40d.py", "odd\udcff.py", "", "<x>"):
        space = {}
        exec(compile(source, filename, "exec"), space)
        frame = plain(space["größe_变量"]).locations_at_peak()[0].frames[0]
        assert frame == ("größe_变量", filename, 2)


@needs_gil
def test_code_that_comes_and_goes():
    """Each function is another one, mostly at the address of the one before."""
    with cmemray.measure(attribution="exact", threads="current") as m:
        held, addresses = [], set()
        for i in range(300):
            space = {}
            exec(
                compile(f"\n\ndef f{i}():\n  return bytearray({BIG} + {i})", f"g{i}.py", "exec"),
                space,
            )
            held.append(space[f"f{i}"]())
            addresses.add(id(space[f"f{i}"].__code__))
            space.clear()
    del held
    assert len(addresses) < 150
    # Not what compile itself keeps: the interpreter's table of names may have grown.
    rows = [
        row for row in m.locations_at_peak() if re.fullmatch(r"g\d+\.py", row.frames[0].filename)
    ]
    by_name = {row.frames[0]: row for row in rows if row.size >= BIG}
    assert set(by_name) == {(f"f{i}", f"g{i}.py", 4) for i in range(300)}
    for i in range(300):
        row = by_name[f"f{i}", f"g{i}.py", 4]
        assert row.size in range(BIG + i, BIG + i + 200)


def test_the_same_source_again_and_again_is_one_location():
    source = f"def again():\n  return bytearray({BIG})"
    before = core.status()
    with cmemray.measure(attribution="exact") as m:
        held = []
        for _ in range(300):
            space = {}
            exec(compile(source, "again.py", "exec"), space)
            held.append(space["again"]())
    del held
    rows = [row for row in m.locations_at_peak() if row.frames[0] == ("again", "again.py", 2)]
    assert len({row.allocator for row in rows}) == len(rows)
    assert sum(row.size for row in rows) > 300 * BIG
    assert core.status()["codes"] - before["codes"] < 20


def test_settrace_and_setprofile_do_not_disturb():
    for install in (sys.settrace, sys.setprofile):
        install(lambda *_: None)
        try:
            m = plain(outer)
        finally:
            install(None)
        assert [f.function for f in largest(m)][:2] == ["inner", "outer"]


def test_greenlets_have_their_own_stacks():
    if core.FREE_THREADED:
        pytest.skip(
            "greenlet's wheel for free-threaded builds aborts in a switch inside of sorted()"
        )
    greenlet = pytest.importorskip("greenlet", reason="greenlet is not installed")

    def task(held):
        for _ in range(50):
            held.append(inner())  # greenlet
            sorted([2, 1], key=lambda value: main.switch() or value)

    main = greenlet.getcurrent()
    lists = [[] for _ in range(5)]
    with cmemray.measure(attribution="exact", root=sys._getframe()) as m:
        tasks = [greenlet.greenlet(task) for _ in lists]
        for task_, held in zip(tasks, lists, strict=True):
            task_.switch(held)
        for _ in range(200):
            for task_ in tasks:
                if not task_.dead:
                    task_.switch()
    sizes = {row.frames: row.size for row in m.leaks() if row.size > BIG}
    assert all(frames[0].function == "inner" for frames in sizes)
    assert {frames[1] for frames in sizes} == {Frame("task", HERE, line_of("greenlet"))}
    assert sum(sizes.values()) > 5 * 50 * BIG
