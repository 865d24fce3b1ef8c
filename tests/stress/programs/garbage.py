"""Collections of all kinds: by hand in threads, by themselves, with finalizers that allocate."""

import gc
import weakref

from harness import SLACK, churn


class Node:
    # Appended to, as a sum that several threads change would lose some without the lock.
    made, gone = [], []

    def __init__(self, stress):
        Node.made.append(None)
        self.stress = stress
        self.me, self.more = self, [bytearray(100) for _ in range(5)]

    def __del__(self):
        Node.gone.append(None)
        self.more = [str(len(Node.gone)) * 10, churn]
        self.stress.keep(2)


def round(stress):
    families = stress.families(python=True)
    stress.first(churn, 4)
    called = []
    dead = []

    def callback(phase, info):
        called.append(phase)

    def making():
        for i in range(300):
            node = Node(stress)
            dead.append(weakref.ref(node, lambda _: bytes(100)))
            if i % 100 == 0:
                stress.same(churn, 4)
                stress.pound.pound(i, 4000, families, 0)

    def collecting():
        for i in range(30):
            gc.collect(i % 3)

    def freezing():
        for _ in range(5):
            gc.freeze()
            stress.keep(10)
            stress.pound.pound(1, 2000, families, 1)
            gc.unfreeze()

    gc.callbacks.append(callback)
    try:
        with stress.measured() as measured:
            stress.at_once(making, making, collecting, freezing)
            gc.collect()
            left = sum(ref() is not None for ref in dead)
            dead.clear()
    finally:
        gc.callbacks.remove(callback)
    gc.collect()
    made, gone = len(Node.made), len(Node.gone)
    assert left == 0 and made == gone == 600 * (stress.rounds + 1), (left, made, gone)
    tally = stress.take()
    assert tally.works == 11
    kept = {"__del__": 1200, "freezing": 50}
    measured.expect_kept(tally, kept, blocks_more=2_000_000, more=4 * SLACK)
    stress.quiet()
    # While one thread collects, and lets others run in a finalizer, these do not.
    assert called.count("start") == called.count("stop") > 0
