"""cProfile switched on and off while measurements run, in the main thread and in another."""

import cProfile
import pstats

from harness import FREE_THREADED, SLACK, churn, descend


def calls(work):
    profile = cProfile.Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    stats = pstats.Stats(profile).stats
    return sum(row[1] for name, row in stats.items() if name[2] in ("churn", "descend"))


def round(stress):
    families = stress.families(python=True)
    stress.first(churn, 5)

    def work():
        for depth in range(0, 60, 5):
            descend(depth, lambda: stress.same(churn, 5))
            descend(depth, lambda: stress.pound.pound(5, 1500, families, 0))
        stress.pound.keep(111, 7)

    if "calls" not in stress.firsts:
        stress.firsts["calls"] = calls(work)
        stress.pound.drop()
        stress.take()
    with stress.measured() as around:
        assert calls(work) == stress.firsts["calls"] > 100
        with stress.measured(counts=False):
            profile = cProfile.Profile()
            profile.enable()
            stress.same(churn, 5)
        stress.same(churn, 5)
        profile.disable()
        if not FREE_THREADED:
            stress.at_once(work)
    tally = stress.take()
    n = 7 if FREE_THREADED else 14
    around.expect(tally.count + n, tally.bytes + n * 111, blocks_more=1_000_000, more=SLACK)
    if around.exact:
        assert around.left_by("work") == (n, n * 111), around.m.leaks()
    stress.pound.drop()
