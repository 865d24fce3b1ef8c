"""Three thousand calls down, allocating on the way; also until the interpreter says no."""

import sys
import threading

from harness import PYTHON, SLACK, descend

DEEP = 3000


def ladder(n):
    held = bytearray(n & 63)
    return len(held) + (ladder(n - 1) if n else 0)


def endless(n):
    try:
        return endless(n + 1)
    except RecursionError:
        return n


def through_c(n):
    return max(map(through_c, (n - 1,))) + 1 if n else 0


def endlessly():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        return descend(3, lambda: endless(0)) > 900
    finally:
        sys.setrecursionlimit(limit)


def round(stress):
    families = stress.families(python=True)
    sys.setrecursionlimit(10_000)
    threading.stack_size(64 << 20)
    stress.first(ladder, DEEP)
    stress.first(through_c, 50)

    def bottom(seed):
        stress.pound.pound(seed, 6000, families, 0)
        stress.keep(7)

    def work():
        for seed in range(3):
            stress.same(ladder, DEEP)
            stress.same(through_c, 50)
            descend(DEEP, lambda seed=seed: bottom(seed))

    # Each level is a stack of its own: three thousand, of up to three thousand frames.
    with stress.measured(rows=False) as measured:
        stress.at_once(work, work)
        work()
    with stress.measured():
        assert endlessly()
    tally = stress.take()
    assert tally.works == 9
    # The ladders' own blocks are Python's: they count where those do.
    if families & PYTHON:
        tally.count += 9 * (DEEP + 1)
        tally.bytes += 9 * sum(sys.getsizeof(bytearray(n & 63)) for n in range(DEEP + 1))
    measured.expect_kept(tally, {"bottom": 63}, blocks_more=500_000, more=4 * SLACK)
    stress.quiet()
