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
    # The loader's own memory is not asked for through a table that could be seen.
    alone.expect_alone(tally)

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
