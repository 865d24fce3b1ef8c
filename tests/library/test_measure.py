"""What a measured block sees of itself."""

import gc
import mmap
import subprocess
import sys
import threading
import weakref

import pytest
from shared_fixtures import needs_gil, span

import cmemray
from cmemray import Frame, Location

HERE = __file__


def nothing(**options):
    with cmemray.measure(**options) as m:
        pass
    return m


@pytest.mark.parametrize("basis", ["requested", "system"])
@pytest.mark.parametrize("attribution", ["exact", "budgeted"])
@pytest.mark.parametrize("collect", [False, True])
def test_an_empty_block_asks_for_nothing(run_python, basis, attribution, collect):
    """In a process of its own: threads of a runner of tests may ask for something at any time."""
    out = run_python(
        "import cmemray\n"
        "for _ in range(3):\n"
        f"    m = cmemray.measure(basis={basis!r}, attribution={attribution!r}, collect={collect})\n"
        "    with m: pass\n"
        "    print(m.peak, m.count, m.total, m.leaked, m.locations_at_peak())\n"
    )
    assert out.count("\n") == 3
    for line in out.splitlines():
        peak, count, total, leaked, rows = line.split()
        assert (peak, count, total, rows) == ("0", "0", "0", "[]")
        assert int(leaked) in span(0)


def test_the_very_first_block_of_a_process_asks_for_nothing(run_python):
    out = run_python(
        "import cmemray\nwith cmemray.measure() as m: pass\nprint(m.peak, m.count, m.total)"
    )
    assert out == "0 0 0\n"


def test_reading_inside_the_block_asks_for_nothing():
    with cmemray.measure() as m:
        _ = m.peak
        _ = m.total
        _ = m.count
        _ = m.leaked
        _ = m.sampling_period
        _ = m.apart
        _ = m.losses
        _ = m.children
    assert (m.peak, m.count, m.total) == (0, 0, 0)


def test_a_bytearray_is_its_size():
    with cmemray.measure() as m:
        held = bytearray(1000)
    assert m.leaked in span(sys.getsizeof(held))
    # The call may make a tuple of its arguments.
    assert m.peak in span(sys.getsizeof(held), 60)
    assert m.total == m.peak
    assert m.count == m.peak_blocks
    del held


@pytest.mark.parametrize("size", [0, 1, 8, 100, 511, 512, 513, 4096, 10**6, 10**8])
def test_sizes_are_as_asked(size):
    with cmemray.measure(attribution="exact") as m:
        held = bytes(size + 1)
    assert m.leaked in span(sys.getsizeof(held))
    assert m.peak in span(sys.getsizeof(held), 100)


def test_numbers_stand_after_the_block():
    with cmemray.measure() as m:
        held = bytearray(10_000)
        first = m.peak
        del held
        assert m.peak == first
        assert m.leaked < 100
        held = bytearray(20_000)
    assert first > 10_000
    assert m.leaked > 20_000
    del held
    assert m.leaked > 20_000
    again = bytearray(10**7)
    assert m.total < 10**6 < len(again)


def test_locations_name_the_line():
    with cmemray.measure(attribution="exact") as m:
        held = [bytearray(1000), bytearray(3000)]
    assert len(held) == 2
    largest, *_ = m.locations_at_peak()
    line = held_line()
    assert largest.frames[0] == Frame("test_locations_name_the_line", HERE, line)
    assert largest.size > 4000
    assert not largest.estimated
    assert sum(row.size for row in m.locations_at_peak()) == m.peak
    assert sum(row.size for row in m.leaks()) == m.leaked


def held_line():
    code = test_locations_name_the_line.__code__
    return code.co_firstlineno + 2


def test_records_are_plain_tuples():
    location = Location(1, 2, (Frame("f", "a.py", 3),))
    assert location == (1, 2, (("f", "a.py", 3),), "malloc", False, 0.0, None)
    with pytest.raises(AttributeError):
        location.size = 5


def test_freed_memory_is_no_leak():
    with cmemray.measure(attribution="exact") as m:
        for _ in range(100):
            bytearray(1000)
    assert m.leaked in span(0)
    assert 1000 < m.peak < 3000
    assert m.total > 100_000


def test_memory_older_than_the_block_is_not_seen():
    held = [bytearray(1000) for _ in range(100)]
    with cmemray.measure() as m:
        held.clear()
    assert m.leaked in span(0)
    assert m.peak < 1000


def test_growth_of_an_older_block_is_told():
    held = bytearray(10_000)
    with cmemray.measure() as m:
        held += bytes(50_000)
    assert m.resized_old_bytes >= 60_000
    assert m.peak >= 60_000


@needs_gil
def test_cycles_are_collected_on_request():
    class Node:
        pass

    def make():
        for _ in range(100):
            node = Node()
            node.self, node.data = node, bytearray(1000)

    gc.disable()
    try:
        with cmemray.measure(collect=True) as m:
            make()
        assert m.leaked < 2000
        assert m.peak > 100_000
    finally:
        gc.enable()
    assert m.collection_time > 0


def test_a_measurement_runs_once():
    m = nothing()
    with pytest.raises(RuntimeError, match="started before"):
        m.start()
    m.stop()


def test_started_and_stopped_by_hand():
    m = cmemray.measure(limit=1000)
    m.stop()
    m.start()
    with pytest.raises(RuntimeError):
        m.start()
    held = bytearray(5000)
    m.stop()
    m.stop()
    assert m.leaked >= sys.getsizeof(held)
    with pytest.raises(cmemray.LimitExceeded):
        m.check()


def test_never_started():
    m = cmemray.measure()
    assert (m.peak, m.count, m.leaked, m.children, m.old_threads) == (0, 0, 0, {}, [])
    assert m.locations_at_peak() == []


def test_dropped_while_running():
    m = cmemray.measure()
    m.start()
    del m
    assert nothing().peak == 0


# --- limits ----------------------------------------------------------------------------------


def test_within_the_limit():
    with cmemray.measure(limit="1 MB") as m:
        bytearray(1000)
    assert m.peak < 2**20


def test_over_the_limit():
    with pytest.raises(cmemray.LimitExceeded) as caught, cmemray.measure(limit="10 KB"):
        make_rows(50_000)
    text = str(caught.value)
    assert text.startswith("Block was limited to 10.0KiB but allocated 4")
    assert "make_rows" in text
    assert isinstance(caught.value, AssertionError)


def make_rows(size):
    return bytearray(size)


def test_equal_to_the_limit_fails():
    with cmemray.measure() as m:
        bytearray(1000)
    size = m.peak
    with cmemray.measure(limit=size + 1):
        bytearray(1000)
    reached = pytest.raises(cmemray.LimitExceeded, match="reaching the limit")
    with reached, cmemray.measure(limit=size):
        bytearray(1000)


def test_another_exception_goes_first():
    with pytest.raises(KeyError), cmemray.measure(limit=1000) as m:
        held = bytearray(5000)
        raise KeyError(len(held))
    assert m.peak > 5000


def test_budgeted_shares_add_up():
    with cmemray.measure(limit="4 MB", seed=1) as m:
        held = [bytearray(100) for _ in range(20_000)]
    assert m.estimated
    assert m.sampling_period <= 2048
    rows = m.locations_at_peak()
    assert all(row.estimated for row in rows)
    assert sum(row.size for row in rows) == m.peak
    share = sum(row.size for row in rows if row.frames[0] == rows[0].frames[0]) / m.peak
    assert share > 0.85, rows[:3]
    del held


def test_an_equal_seed_gives_equal_estimates():
    def run(seed):
        # Not what threads of a runner of tests ask for meanwhile.
        with cmemray.measure(seed=seed, threads="current") as m:
            held = [bytearray(i % 700) for i in range(100_000)]
        assert m.estimated
        del held
        return m.peak, m.locations_at_peak()

    run("warm")  # a JIT compiles the loop the first time
    first, second, third = run("a"), run("a"), run("b")
    assert first == second
    assert first[0] == third[0]


@needs_gil
def test_small_blocks_are_exact_without_being_asked():
    with cmemray.measure() as m:
        held = [bytearray(10) for _ in range(10)]
    assert not m.estimated
    assert sum(row.count for row in m.locations_at_peak()) == m.peak_blocks
    del held


def test_locations_of_interest_only_for_large_peaks():
    """locate_from: sampled from the start, as coarse as leaves that peak 2048 samples, and four times
    as coarse while live bytes are far from it."""
    with cmemray.measure(locate_from="1 MiB") as small:
        kept = [bytes(100) for _ in range(100)]
    assert (small.sampling_period, small.peak_blocks > 100) == (4 * 512, True)
    del kept
    with cmemray.measure(limit=2**30, locate_from=2**40) as limited:
        pass
    assert limited.sampling_period == 4 * 65536
    with cmemray.measure(limit=2**21, locate_from=2**40) as limited:
        pass
    assert limited.sampling_period == 4 * 1024
    with cmemray.measure(locate_from=2**40, attribution="exact") as exact:
        pass
    assert exact.sampling_period == 1


def test_what_is_larger_than_locate_from_has_its_samples():
    with cmemray.measure(locate_from=100_000, seed=1) as m:
        kept = [bytes(1000) for _ in range(1000)]
    assert len(kept) == 1000
    assert 1 < m.sampling_period <= m.peak / 256
    [first, *_] = m.locations_at_peak()
    assert first.size > 0.8 * m.peak


def test_again_is_a_new_measurement_with_equal_settings():
    template = cmemray.measure(limit=2**21, threads="current", collect=True)
    first = template.again(seed="a", locate_from=2**20)
    with first:
        kept = bytearray(1_000_000)
    second = template.again()
    with second:
        pass
    assert (first.sampling_period, second.sampling_period) == (4 * 512, 1)
    assert first.peak > len(kept) > second.peak
    with pytest.raises(cmemray.LimitExceeded), template.again():
        bytearray(2**21)
    assert template.peak == 0


def test_figures_are_the_numbers_and_whether_there_is_more_to_say():
    with cmemray.measure() as m:
        kept = bytearray(1000)
        assert m.figures[5]
    peak, total, count, left, collecting, more = m.figures
    assert (peak, total, count, left) == (m.peak, m.total, m.count, m.leaked)
    assert peak >= len(kept)
    assert 0 <= collecting <= m.collection_time * 1e6
    assert not more


@pytest.mark.parametrize("what", ["child", "mapping", "thread"])
def test_figures_tell_that_there_is_more_to_say(what):
    asked, done = threading.Event(), threading.Event()

    def allocate():
        asked.wait()
        bytearray(1000)
        done.set()

    thread = threading.Thread(target=allocate)
    thread.start()
    with cmemray.measure() as m:
        if what == "child":
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        elif what == "mapping":
            mmap.mmap(-1, 4096).close()
        else:
            asked.set()
            done.wait()
    asked.set()
    thread.join()
    assert m.figures[5]


def test_where_leaks_are_of_no_interest_nothing_is_collected_at_the_end():
    class Cycle:
        def __init__(self):
            self.me = self

    for collect, alive in ((None, True), (False, False)):
        gc.collect()
        with cmemray.measure(collect=collect):
            watched = weakref.ref(Cycle())
        assert (watched() is not None) == alive


def test_figures_in_the_child_of_a_fork_tell_that_it_is_one(run_python):
    source = """
import os, cmemray
with cmemray.measure() as m:
    child = os.fork()
    if child == 0:
        m.stop()
        os._exit(7 if m.figures[5] and m.is_forked else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), m.is_forked)
"""
    assert run_python(source) == "7 False\n"
