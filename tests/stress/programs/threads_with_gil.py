"""Threads that allocate with the interpreter's lock held."""

from harness import churn

KEPT = 1234


def keeper(stress):
    stress.pound.keep(KEPT, 10)


def round(stress):
    seed, steps, zero = stress.seed(), 20_000, 0
    families = stress.families(python=True)
    with stress.measured(collect=None) as alone:
        stress.pound.pound(seed, steps, families, zero)
    alone.expect_alone(stress.take())

    def work():
        for seed in range(4):
            stress.same(churn, seed)
            stress.pound.pound(seed, 5000, families, 0)
        keeper(stress)

    for seed in range(4):
        stress.first(churn, seed)
    with stress.measured() as together:
        stress.at_once(work, work, work, work)
    tally = stress.take()
    together.expect(tally.count + 40, tally.bytes + 40 * KEPT, blocks_more=200_000, more=64 << 20)
    assert together.m.peak >= max(tally.peak, 40 * KEPT)
    if together.exact:
        assert together.left_by("keeper") == (40, 40 * KEPT)
    stress.pound.drop()
