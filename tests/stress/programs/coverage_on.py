"""coverage.py, which traces every line, around and inside of measurements."""

import harness
from harness import churn

NEEDS = ("coverage",)


def traced(work, first):
    """The lines of the harness that coverage sees run."""
    import coverage

    watcher = coverage.Coverage(data_file=None, include=[harness.__file__], config_file=False)
    watcher.start()
    try:
        work(first)
    finally:
        watcher.stop()
    return tuple(sorted(watcher.get_data().lines(harness.__file__) or ()))


def round(stress):
    families = stress.families(python=True)
    for seed in range(4):
        stress.first(churn, seed)

    def work(first):
        for seed in range(4):
            stress.firsts[churn, (seed,)] == churn(seed) or stress.failures.append(seed)
        if not first:
            stress.pound.pound(9, 20_000, families, 0)
            stress.pound.keep(200, 20)

    if "lines" not in stress.firsts:
        stress.firsts["lines"] = traced(work, True)
    with stress.measured() as around:
        lines = traced(work, False)
    assert lines == stress.firsts["lines"] and len(lines) > 10
    tally = stress.take()
    around.expect(tally.count + 20, tally.bytes + 4000, blocks_more=1_000_000, more=SLACK)
    if around.exact:
        assert around.left_by("work") == (20, 4000)
    stress.pound.drop()


SLACK = harness.SLACK
