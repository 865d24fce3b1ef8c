"""Interpreters that are made, allocate, and are destroyed, in several threads."""

import sys

from harness import KEPT, SLACK, churn

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

PROGRAM = """
import importlib.util
spec = importlib.util.spec_from_file_location("pound", {path!r})
pound = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pound)
def deep(n):
    held = [str(n) * 5]
    return deep(n - 1) + len(held) if n else pound.pound({seed}, {steps}, {families}, {released})
def keep():
    pound.keep({kept}, 9)
def keeper():
    keep()
keeper()
try:
    deep(20)
except TypeError:
    pass
kept = [dict.fromkeys(range(50)) for _ in range(100)]
assert sum(map(len, kept)) == 5000
"""


def execute(identity, text):
    if hasattr(interpreters, "exec"):
        failed = interpreters.exec(identity, text)
        assert failed is None, failed
    else:
        interpreters.run_string(identity, text)


def round(stress):
    # Only the C library's blocks: an interpreter may have its own lock, and its own heap.
    families = 1
    stress.first(churn, 1)
    path = stress.pound.__file__

    def life(seed):
        one = interpreters.create()
        try:
            for released in (0, 1):
                text = PROGRAM.format(
                    path=path,
                    seed=seed,
                    steps=5000,
                    families=families,
                    released=released,
                    kept=KEPT,
                )
                execute(one, text)
            stress.same(churn, 1)
        finally:
            interpreters.destroy(one)

    with stress.measured() as measured:
        life(1)
        stress.at_once(lambda: life(2), lambda: life(3))
        stress.at_once(*[lambda: stress.pound.pound(5, 20_000, families, 1)] * 2)
    tally = stress.take()
    assert tally.works == 8, tally.works
    # Before 3.12 lines are of the code that called the interpreter: see docs/limits.md.
    named = sys.version_info >= (3, 12)
    if measured.exact and not named:
        blocks, size = measured.left_by("execute")
        assert blocks >= 54 and size >= 54 * KEPT, (blocks, size)
    kept = {"keeper": 54}
    measured.expect_kept(tally, kept, blocks_more=5_000_000, more=16 * SLACK, named=named)
    stress.quiet()
