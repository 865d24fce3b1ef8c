"""pthread_cancel of threads that allocate, with clean-up handlers and key destructors that do, too."""

from harness import SLACK, churn


def round(stress):
    rough, families, seed, n = stress.rough, stress.families(), stress.seed() % 10**6, 20
    no = 0
    stress.first(churn, 1)
    rough.cancel(1, seed, families, no)  # the first one loads a library
    stress.take(rough)
    rough.asides()
    with stress.measured(collect=None) as alone:
        rough.cancel(n, seed, families, no)
    tally, (blocks, size) = stress.take(rough), rough.asides()
    assert tally.works == n
    alone.expect(tally.count + blocks, tally.bytes + size)
    assert alone.m.current == 0
    assert blocks == n * 3

    def cancelling():
        # From the second round of destructors on a thread is not watched any more.
        rough.cancel(n, seed, families, 3)

    def working():
        for _ in range(5):
            stress.same(churn, 1)
            stress.pound.pound(1, 5000, families, 1)

    with stress.measured() as measured:
        stress.at_once(cancelling, cancelling, working)
    tally, (blocks, size), own = stress.take(rough), rough.asides(), stress.take()
    assert tally.works == 2 * n and own.works == 5 and blocks == 2 * n * 9, (
        tally.works,
        own.works,
        blocks,
    )
    measured.expect(
        tally.count + own.count + 2 * n * 3,
        tally.bytes + own.bytes,
        blocks_more=500_000,
        more=SLACK,
    )
