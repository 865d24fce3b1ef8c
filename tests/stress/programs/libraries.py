"""Libraries that are loaded, allocate, and are unloaded, also by several threads at once."""

import shutil
import tempfile
from pathlib import Path

from harness import SLACK, churn

copies = []


def round(stress):
    if not copies:
        folder = Path(tempfile.mkdtemp(prefix="guests-", dir=stress.folder))
        copies.extend(str(shutil.copy(stress.guest, folder / f"guest{i}.so")) for i in range(4))
    families, seed, path, few, steps = stress.families(), stress.seed(), copies[0], 30, 1000
    visit = stress.rough.visit
    with stress.measured(collect=None) as alone:
        visit(path, few, seed, steps, families)
    tally = stress.take(stress.rough)
    assert tally.works == 30
    # With a Python that is not position-independent, as Debian's is, the loader allocates through the
    # program's own table, which is seen: a few small blocks each time, which it frees in the end.
    alone.expect(tally.count, tally.bytes, blocks_more=few * 10, more=few * 20_000)
    assert tally.peak <= alone.m.peak <= tally.peak + 100_000
    assert 0 <= alone.m.current <= 20_000

    stress.first(churn, 2)

    def visiting(path, seed):
        return lambda: visit(path, few, seed, steps, families)

    with stress.measured() as measured:
        stress.at_once(
            *[visiting(path, seed) for seed, path in enumerate(copies)],
            visiting(copies[0], 9),
            lambda: [stress.same(churn, 2) for _ in range(10)],
        )
    tally = stress.take(stress.rough)
    assert tally.works == 150
    measured.expect(tally.count, tally.bytes, blocks_more=500_000, more=SLACK)
