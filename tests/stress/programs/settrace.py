"""sys.settrace in several threads, with a function that allocates, set and unset meanwhile."""

import sys

from harness import churn


class Tracer:
    def __init__(self):
        self.seen, self.held = 0, []

    def __call__(self, frame, event, argument):
        self.seen += 1
        self.held = [frame.f_lineno, event, str(self.seen)]
        return self


def keeper(stress):
    stress.pound.keep(555, 3)


def round(stress):
    families = stress.families(python=True)
    for seed in range(3):
        stress.first(churn, seed)
    counts = []

    def work():
        tracer = Tracer()
        for seed in range(3):
            sys.settrace(tracer)
            stress.same(churn, seed)
            stress.pound.pound(seed, 4000, families, 0)
            keeper(stress)
            sys.settrace(None)
            stress.same(churn, seed)
        counts.append(tracer.seen)

    def switching():
        # A measurement that begins inside a traced function and ends outside.
        sys.settrace(Tracer())
        inner = stress.measured(counts=False)
        inner.__enter__()
        stress.same(churn, 0)
        sys.settrace(None)
        inner.__exit__(None, None, None)

    with stress.measured() as measured:
        stress.at_once(work, work, switching)
    tally = stress.take()
    measured.expect(tally.count + 18, tally.bytes + 18 * 555, blocks_more=1_000_000, more=256 << 20)
    if measured.exact:
        assert measured.left_by("keeper") == (18, 18 * 555)
    stress.pound.drop()
    assert len(set(counts)) == 1 and counts[0] > 1000, counts
