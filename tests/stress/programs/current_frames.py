"""sys._current_frames and stacks of other threads, as fast as they can be had."""

import sys
import threading
import traceback

from harness import churn, descend


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
                    looks += 1
        seen.append(looks)

    def deep():
        stress.pound.pound(2, 3000, families, 1)
        stress.keep(5)

    def work():
        for depth in range(0, 100, 10):
            descend(depth, lambda: stress.same(churn, 2))
            descend(depth, lambda: stress.pound.pound(1, 3000, families, 0))
            descend(depth, deep)

    with stress.measured() as measured:
        watchers = stress.threads(looking, looking)
        stress.at_once(work, work)
        over.set()
        for thread in watchers:
            thread.join()
    tally = stress.take()
    assert tally.works == 40
    assert len(seen) == 2 and min(seen) > 0
    # Each frame that was looked at is an object, or a summary of several.
    more = 1_000_000 + 100 * sum(seen)
    measured.expect_kept(tally, {"deep": 100}, blocks_more=more, more=100 * more)
    stress.quiet()
