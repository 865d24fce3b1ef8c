"""Signals every millisecond: one handler in Python, one in C that maps memory in the middle of it."""

import signal

from harness import SLACK, churn, descend


def least(number):
    return sorted([number, 1], key=lambda other: -other)[0]


def entries(n):
    """Calls from C into Python, and deep stacks between them that leave their traces in memory."""
    total = 0
    for i in range(n):
        total += max(map(least, (i,)))
    return total + descend(900, lambda: 1)


def round(stress):
    families, seen = stress.families(python=True), []

    def handler(number, frame):
        seen.append([bytes(50), str(number)])
        stress.pound.pound(number, 50, families, 0)

    stress.first(entries, 300)
    for seed in range(3):
        stress.first(churn, seed)
    signal.signal(signal.SIGALRM, handler)
    stress.rough.stack()
    stress.rough.handle(signal.SIGUSR1)
    stress.rough.take()

    def work():
        stress.rough.stack()
        for seed in range(3):
            descend(seed * 10, lambda seed=seed: stress.same(churn, seed))
            stress.pound.pound(seed, 10_000, families, 0)
            stress.pound.pound(seed, 10_000, families, 1)

    with stress.measured() as measured:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        stress.rough.tick(signal.SIGUSR1, 1000)
        stress.rough.tick(signal.SIGUSR1, 670)
        helpers = stress.threads(work)
        for _ in range(3):
            work()
        for thread in helpers:
            thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)
        mapped, size, failed = stress.rough.still()
    stress.check()
    # Handlers of C alone, and so often that they interrupt the interpreter everywhere.
    with stress.measured() as often:
        stress.rough.tick(signal.SIGUSR1, 90)
        for _ in range(30):
            stress.same(entries, 300)
        more, _, more_failed = stress.rough.still()
    assert more > 0 == more_failed
    assert often.m.total > 0
    tally = stress.take()
    assert tally.works == 24 + len(seen) and failed == 0
    assert seen and mapped, (len(seen), mapped)
    # A handler that interrupts an event is not told of, so its mappings count or do not.
    measured.expect(tally.count, tally.bytes, blocks_more=1_000_000 + mapped, more=4 * SLACK + size)
    zero, seed = 0, stress.seed()
    with stress.measured(collect=None) as quiet:
        stress.pound.pound(seed, 10_000, families, zero)
    quiet.expect_alone(stress.take())
