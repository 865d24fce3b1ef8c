"""sys._current_frames and stacks of other threads, as fast as they can be had."""

import sys
import threading
import traceback

from harness import SLACK, churn, descend


def round(stress):
    families = stress.families(python=True)
    stress.first(churn, 2)
    over = threading.Event()
    seen = []

    def looking():
        looks = 0
        while not over.is_set():
            for frame in sys._current_frames().values():
                looks += len(traceback.extract_stack(frame, limit=20))
                while frame is not None:
                    frame = frame.f_back
        seen.append(looks)

    def work():
        for depth in range(0, 100, 10):
            descend(depth, lambda: stress.same(churn, 2))
            descend(depth, lambda: stress.pound.pound(1, 3000, families, 0))
            descend(depth, lambda: stress.pound.pound(2, 3000, families, 1))

    with stress.measured() as measured:
        watchers = stress.threads(looking, looking)
        stress.at_once(work, work)
        over.set()
        for thread in watchers:
            thread.join()
    tally = stress.take()
    assert tally.works == 40
    measured.expect(tally.count, tally.bytes, blocks_more=50_000_000, more=100 * SLACK)
    assert len(seen) == 2 and min(seen) > 0
