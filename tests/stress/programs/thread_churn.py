"""Threads that come and go: Python's, the C library's, and those of C that call into Python."""

import threading

from harness import churn

KEPT = 321


def keeper(stress):
    stress.pound.keep(KEPT, 1)


def round(stress):
    families = stress.families()
    stress.first(churn, 3)

    def short():
        stress.pound.pound(7, 300, families, 1)
        keeper(stress)

    def spawner():
        for _ in range(25):
            thread = threading.Thread(target=short)
            thread.start()
            thread.join()

    def foreign():
        for i in range(10):
            stress.rough.call(short, 4)
            stress.pound.team(4, i, 300, families)

    with stress.measured() as measured:
        stress.at_once(spawner, spawner, foreign, lambda: stress.same(churn, 3))
    tally = stress.take()
    n = 2 * 25 + 40
    assert tally.works == n + 40
    measured.expect(tally.count + n, tally.bytes + n * KEPT, blocks_more=60_000, more=64 << 20)
    if measured.exact:
        assert measured.left_by("keeper") == (n, n * KEPT)
    stress.pound.drop()
    seed, hundreds, few = stress.seed(), 400, 8
    with stress.measured(collect=None) as exact:
        for _ in range(10):
            stress.pound.team(few, seed, hundreds, families)
    tally = stress.take()
    # The loop's own numbers are small ones, which exist already.
    exact.expect(tally.count, tally.bytes, blocks_more=2, more=200)
