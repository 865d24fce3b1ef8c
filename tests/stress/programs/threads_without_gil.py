"""Threads that allocate in C: of the C library's, and Python's with the lock released."""


def round(stress):
    seed, steps, four, families = stress.seed(), 20_000, 4, stress.families()
    with stress.measured(collect=None) as team:
        stress.pound.team(four, seed, steps, families)
    tally = stress.take()
    team.expect(tally.count, tally.bytes)
    assert team.m.current == 0
    assert tally.peak <= team.m.peak <= tally.peaks

    with stress.measured(collect=None) as released:
        stress.at_once(*[lambda: stress.pound.pound(seed, steps, families, 1)] * 3)
    tally = stress.take()
    released.expect(tally.count, tally.bytes, blocks_more=5000, more=8 << 20)
    assert tally.peak <= released.m.peak <= tally.peaks + (8 << 20)
