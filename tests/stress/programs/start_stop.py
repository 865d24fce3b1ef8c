"""Ten thousand starts and stops while threads of C and of Python allocate."""

import sys
import threading

from harness import FREE_THREADED, MODES, churn

import cmemray

STARTS = 2500


def round(stress):
    pound, families, yes, no = stress.pound, stress.families(), 1, 0
    for seed in range(4):
        stress.first(churn, seed)
    pound.crew_start(2, stress.seed(), families)
    over = threading.Event()

    def python():
        while not over.is_set():
            for seed in range(4):
                stress.same(churn, seed)

    def starts():
        for i in range(STARTS // 10):
            with cmemray.measure(**{**MODES[i % len(MODES)], "collect": None}):
                pass

    def more_starts(n):
        for i in range(n):
            # A full collection now and then only: it takes as long as a hundred starts.
            options = {**MODES[i % len(MODES)], "collect": True if i % 100 == 1 else None}
            with stress.measured(counts=False, **options):
                pass

    sys.setswitchinterval(1e-4)
    others = stress.threads(python, starts)
    left = STARTS - STARTS // 10
    # A free-threaded build stops all of Python's threads at each start; the crew goes on in any.
    beside = left // 10 if FREE_THREADED else left
    more_starts(beside)
    with stress.measured():
        stress.same(churn, 1)
        pound.crew_pause()
    over.set()
    for thread in others:
        thread.join()
    stress.check()
    pound.crew_resume(no)
    more_starts(left - beside)
    pound.crew_pause()
    # Now with the crew alone, so that each number is known.
    for _ in range(20):
        stress.beside_crew(2000, yes)
    pound.crew_stop()
