"""Whose allocations count: threads older and younger than the measurement, and foreign ones."""

import queue
import sys
import threading

import pytest
from native_extension import program
from shared_fixtures import needs_gil

import cmemray

SIZE = sys.getsizeof(bytearray(1_000_000))


class Worker(threading.Thread):
    """Runs functions that are handed to it, and keeps their results."""

    def __init__(self, name="worker-1"):
        super().__init__(name=name, daemon=True)
        self.jobs, self.done, self.held = queue.SimpleQueue(), queue.SimpleQueue(), []

    def run(self):
        for job in iter(self.jobs.get, None):
            self.held.append(job())
            self.done.put(None)

    def do(self, job):
        self.jobs.put(job)
        self.done.get()

    def end(self):
        self.jobs.put(None)
        self.join()


@pytest.fixture
def worker():
    worker = Worker()
    worker.start()
    worker.do(lambda: None)
    yield worker
    worker.end()


def big():
    return bytearray(1_000_000)


def run_new_thread(function=big):
    worker = Worker("young")
    worker.start()
    worker.do(function)
    worker.end()
    return worker


def test_all_threads_count(worker):
    with cmemray.measure() as m:
        worker.do(big)
        young = run_new_thread()
        held = big()
    assert 3 * SIZE <= m.peak < 3 * SIZE + 50_000
    del held, young


def test_only_the_calling_thread(worker):
    with cmemray.measure(threads="current") as m:
        worker.do(big)
        young = run_new_thread()
        held = big()
    assert SIZE <= m.peak < SIZE + 20_000
    del held, young


def test_the_calling_thread_and_those_it_starts(worker):
    with cmemray.measure(threads="test") as m:
        worker.do(big)
        young = run_new_thread()
        held = big()
    assert 2 * SIZE <= m.peak < 2 * SIZE + 50_000
    assert m.old_threads == []
    del held, young


def test_old_threads_are_named(worker):
    with cmemray.measure() as m:
        worker.do(big)
    # A test runner has a thread of its own, to which a message may have come.
    [thread] = [thread for thread in m.old_threads if thread.native_id == worker.native_id]
    assert thread.name == "worker-1"
    assert SIZE <= thread.size < SIZE + 5000
    assert thread.count >= 2
    assert m.peak_without_old_threads < 5000 < SIZE <= m.old_threads_at_peak


def test_old_threads_do_not_break_a_limit(worker):
    with cmemray.measure(limit="500 KB") as m:
        worker.do(big)
    assert m.peak > 500 * 1024
    with pytest.raises(cmemray.LimitExceeded), cmemray.measure(limit="500 KB"):
        worker.do(big)
        big()


def test_young_threads_are_not_old():
    with cmemray.measure() as m:
        young = run_new_thread()
    assert young.native_id not in {thread.native_id for thread in m.old_threads}
    assert m.peak_without_old_threads >= SIZE
    del young


@needs_gil
def test_freed_by_another_thread(worker):
    with cmemray.measure() as m:
        worker.do(big)
        assert m.leaked >= SIZE
        worker.held.clear()
        assert m.leaked < 10_000
    assert m.leaked < 10_000


def test_threads_at_once():
    def churn():
        held = []
        for i in range(2000):
            held.append(bytearray(i))
            if i % 3 == 0:
                held.pop(len(held) // 2)
        return sum(map(sys.getsizeof, held))

    with cmemray.measure(attribution="exact") as m:
        workers = [Worker(f"w{i}") for i in range(4)]
        for worker in workers:
            worker.start()
            worker.jobs.put(churn)
        for worker in workers:
            worker.done.get()
            worker.end()
        del workers, worker
    assert m.leaked < 20_000
    assert m.count > 4 * 2000
    assert not m.incomplete
    assert sum(row.size for row in m.locations_at_peak()) == m.peak


def test_a_thread_that_python_does_not_know(native):
    steps = program(("malloc", 0, 123_456))
    with cmemray.measure(attribution="exact", threads="test") as m:
        native.run_in_thread(steps)
    assert m.peak == m.leaked == 123_456
    [row] = m.leaks()
    assert row == (123_456, 1, (), "malloc", False, 0.0, None)
    native.clear()


def test_stacks_of_threads_end_at_their_own_bottom():
    with cmemray.measure(attribution="exact", root=sys._getframe()) as m:
        young = run_new_thread()
    functions = [frame.function for frame in m.locations_at_peak()[0].frames]
    assert functions[:2] == ["big", "run"]
    assert functions[-1] == "_bootstrap"
    del young


def test_stress_of_everything_at_once(run_python):
    """Threads allocate, compile, recurse and come and go while measurements start and stop."""
    out = run_python(STRESS)
    assert out == "fine\n"


STRESS = """
import gc, sys, threading, time, cmemray
end = time.monotonic() + 3
sys.setswitchinterval(1e-4)
def recurse(n):
    return [bytearray(n * 10)] + recurse(n - 1) if n else []
def generate(n):
    yield from (str(i) * 5 for i in range(n))
def churn(i):
    while time.monotonic() < end:
        recurse(60); list(generate(300)); {j: (j, [j]) for j in range(300)}
def compiling(i):
    n = 0
    while time.monotonic() < end:
        space = {}; n += 1
        exec(compile(f"def f{n}(x): return [bytearray(x), {{x: {n}}}]", f"f{n}.py", "exec"), space)
        space[f"f{n}"](n % 5000)
def spawning(i):
    while time.monotonic() < end:
        thread = threading.Thread(target=recurse, args=(30,)); thread.start(); thread.join()
def looking(i):
    while time.monotonic() < end:
        sys._current_frames(); gc.collect(1); time.sleep(0.001)
def measuring(i):
    while time.monotonic() < end:
        options = dict(attribution=("exact", "budgeted")[i % 2], basis=("requested", "system")[i // 2 % 2])
        with cmemray.measure(**options) as m:
            kept = recurse(40)
            list(generate(200))
        assert m.total >= m.peak, (m.total, m.peak)
        assert not m.incomplete, m.incomplete_reason
        rows = m.locations_at_peak()
        assert m.estimated or sum(row.size for row in rows) == m.peak
        m.leaks()
work = [churn, churn, compiling, spawning, looking, measuring, measuring, measuring, measuring]
failed = []
threading.excepthook = lambda args: failed.append(args)
threads = [threading.Thread(target=function, args=(i,)) for i, function in enumerate(work)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("fine" if not failed else failed)
"""
