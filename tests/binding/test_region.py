"""The raw region: order of calls and arguments."""

import sys

import pytest
from native_extension import program

from cmemray._load import core


def test_bad_options():
    for options in (
        {"basis": 2},
        {"basis": -1},
        {"threads": 3},
        {"max_period": 3},
        {"max_period": 0},
        {"first_period": 3},
        {"first_period": 0},
    ):
        with pytest.raises(ValueError):
            core.Region(**options)
    with pytest.raises(TypeError):
        core.Region(0)
    with pytest.raises(TypeError):
        core.Region(unknown=1)


def test_bad_starts():
    region = core.Region()
    for arguments, names in (((1,), {}), ((None, None), {}), ((), {"frame": None}), (("x",), {})):
        with pytest.raises(TypeError):
            region.start(*arguments, **names)
    region.start(root=sys._getframe())
    with pytest.raises(RuntimeError, match="before"):
        region.start()
    region.stop()
    with pytest.raises(RuntimeError, match="before"):
        region.start()
    with pytest.raises(RuntimeError, match="once"):
        region.__init__()


def test_not_initialised():
    region = core.Region.__new__(core.Region)
    for name in ("start", "seal", "stop", "usage", "apart", "losses", "leaks", "children"):
        with pytest.raises(RuntimeError, match="not initialised"):
            getattr(region, name)()


def test_seal_fixes_the_peak_while_leaks_go_on(native):
    first, second = program(("malloc", 0, 1000)), program(("malloc", 1, 5000), ("free", 0))
    region = core.Region(exact=True, threads=core.THREADS_TEST)
    region.start()
    native.run(first)
    region.seal()
    native.run(second)
    region.seal()
    region.stop()
    region.stop()
    usage = region.usage()
    assert usage["peak"] == 1000
    assert (usage["total"], usage["count"]) == (1000, 1)
    assert usage["current"] == 5000
    assert [row[:3] for row in region.locations_at_peak()] == [(1000, 1, "malloc")]
    assert [row[:3] for row in region.leaks()] == [(5000, 1, "malloc")]
    native.clear()


def test_allocators_are_told_apart(native):
    region = core.Region(exact=True, threads=core.THREADS_TEST)
    steps = (
        ("malloc", 0, 100),
        ("calloc", 1, 10, 20),
        ("posix_memalign", 2, 300, 64),
        ("aligned_alloc", 3, 448, 64),
        ("memalign", 4, 500, 64),
        ("reallocarray", 5, 10, 60),
        ("valloc", 6, 700),
        ("obj_malloc", 7, 800),
        ("mem_calloc", 8, 9, 100),
        ("malloc", 9, 1),
        ("realloc", 9, 1000),
        ("obj_malloc", 10, 1),
        ("realloc", 10, 1100),
        ("mmap", 11, 1 << 20, 3 | 0x22 << 8),
        ("mmap", 12, 1 << 20, 3 | 0x22 << 8),
        ("mremap", 12, 2 << 20),
    )
    whole = program(*steps)
    region.start()
    native.run(whole)
    region.stop()
    rows = {row[2]: row[0] for row in region.leaks()}
    assert rows == {
        "malloc": 100,
        "calloc": 200,
        "posix_memalign": 300,
        "aligned_alloc": 448,
        "memalign": 500,
        "reallocarray": 600,
        "valloc": 700,
        "pymalloc_malloc": 800,
        "pymalloc_calloc": 900,
        "realloc": 1000,
        "pymalloc_realloc": 1100,
        "mmap": 1 << 20,
        "mremap": 2 << 20,
    }
    native.clear()


def test_rows_are_sorted_and_their_order_is_fixed(native):
    programs = [program(("malloc", slot, size)) for slot, size in enumerate((100, 100, 500))]

    def first():
        native.run(programs[0])

    def second():
        native.run(programs[1])

    def rows(one, other):
        region = core.Region(exact=True, threads=core.THREADS_TEST)
        region.start()
        one()
        other()
        native.run(programs[2])
        region.stop()
        native.clear()
        return [(row[0], row[3][0][0]) for row in region.leaks()]

    rows(first, second)  # on its first run a function may get some memory for itself
    assert rows(first, second) == rows(second, first)
    assert rows(first, second)[0][0] == 500
    assert {name for size, name in rows(first, second) if size == 100} == {"first", "second"}


def test_equal_stacks_are_one_row(native):
    programs = [program(("malloc", slot, 100)) for slot in range(10)]
    region = core.Region(exact=True, threads=core.THREADS_TEST)
    region.start()
    for each in programs:
        native.run(each)
    region.stop()
    assert [row[:2] for row in region.leaks()] == [(1000, 10)]
    native.clear()


def test_install_is_told():
    report = core.install()
    assert report["objects"] > 3
    assert report["slots"] > 10
    assert report["failed"] == 0
    assert core.install() == report


def test_private_allocators_are_pairs():
    assert all(
        isinstance(file, str) and isinstance(name, str) for file, name in core.private_allocators()
    )


def test_status_is_numbers():
    before = core.status()
    region = core.Region()
    region.start()
    assert core.status()["regions_open"] == before["regions_open"] + 1
    del region
    assert core.status()["regions_open"] == before["regions_open"]


def test_another_region_of_the_same_options():
    for arguments in ((), (1,), (1, 3), (1, 0), ("x", 1), (1, -1)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            core.Region().again(*arguments)
    first = core.Region(exact=True)
    first.start()
    second = first.again(-1, 64)
    second.start()
    assert core.n_running() == 2
    second.stop()
    first.stop()
    assert second.usage()["sampling_period"] == 1
    assert second.figures()[0] <= first.figures()[0]


def test_end_without_begin_does_nothing():
    region = core.Region()
    region.end(True)
    region.begin()
    region.end(True)
    region.end("no number, and not looked at")
    with pytest.raises(RuntimeError, match="before"):
        region.begin()


def test_end_with_a_bad_argument_ends_all_the_same():
    region = core.Region()
    region.begin()
    with pytest.raises(TypeError):
        region.end("x")
    assert not region.is_running()
