"""All at once: signals, forks, starts and stops, libraries, cancelled threads, tracing, collections."""

import gc
import signal
import sys
import threading
import time
import warnings

import forks
from harness import FREE_THREADED, MODES, SLACK, churn, descend

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)


def compiling(n):
    """Functions that live for one call, so that their addresses are used again."""
    total = 0
    for i in range(n):
        space = {}
        exec(compile(f"def f{i}(x): return len([bytearray(x), {i}])", f"f{i}.py", "exec"), space)
        total += space[f"f{i}"](i % 500)
    return total


def round(stress):
    families, over, texts = stress.families(), threading.Event(), []
    for seed in range(3):
        stress.first(churn, seed)
    stress.first(churn, 3)
    stress.first(compiling, 20)
    signal.signal(signal.SIGALRM, lambda number, frame: bytes(500))
    stress.rough.stack()
    stress.rough.handle(signal.SIGUSR1)

    def measuring():
        stress.rough.stack()
        i = 0
        while not over.is_set():
            with stress.measured(counts=False, **MODES[i % len(MODES)]) as inner:
                stress.same(churn, i % 3)
            assert inner.m.total > 0
            i += 1

    def working():
        while not over.is_set():
            descend(50, lambda: stress.same(churn, 1))
            stress.same(compiling, 20)
            thread = threading.Thread(target=stress.pound.pound, args=(3, 500, families, 1))
            thread.start()
            thread.join()

    def tracing():
        while not over.is_set():
            sys.settrace(lambda *_: None)
            stress.same(churn, 2)
            sys.settrace(None)
            sys._current_frames()
            gc.collect(1)

    def visiting():
        while not over.is_set():
            stress.rough.visit(str(stress.guest), 3, 1, 300, families)
            stress.rough.cancel(2, 5, families, 0)

    def forking():
        try:
            # There, a child that collects may wait for a collection of its parent's; see forks.py.
            for seed in range(0 if FREE_THREADED else 3):
                texts.append(forks.fork(stress, stress.families(), seed, quiet=False))
                time.sleep(0.01)
            time.sleep(1 if FREE_THREADED else 0)
        finally:
            over.set()

    stress.pound.crew_start(2, stress.seed(), families)
    stress.pound.crew_pause()
    with stress.measured() as measured:
        stress.pound.crew_resume(1)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        stress.rough.tick(signal.SIGUSR1, 1000)
        stress.at_once(measuring, measuring, working, tracing, visiting, forking)
        signal.setitimer(signal.ITIMER_REAL, 0)
        mapped, size, failed = stress.rough.still()
        stress.pound.crew_pause()
    numbers = stress.pound.crew_numbers()
    assert failed == 0 and numbers[7] == 0
    own, rough = stress.take(), stress.take(stress.rough)
    blocks, asides = stress.rough.asides()
    # A handler that interrupts an event is not told of, so its mappings count or do not.
    measured.expect(
        own.count + rough.count + blocks + numbers[0],
        own.bytes + rough.bytes + asides + numbers[1],
        blocks_more=mapped + 50_000_000,
        more=size + 100 * SLACK,
    )
    for text in texts:
        stress.events_of_child(text)
    # And then it is quiet, and all is exact.
    stress.beside_crew(5000, 0)
    stress.pound.crew_stop()
