"""Generators and coroutines: nested, suspended, passed between threads, dropped half way."""

import queue

from harness import SLACK, churn


def numbers(n):
    for i in range(n):
        held = [i] * (i & 63)
        yield i + len(held)


def nested(depth, n):
    if depth == 0:
        yield from numbers(n)
    else:
        yield from nested(depth - 1, n)


def pounding(stress, families):
    while True:
        seed = yield
        stress.pound.pound(seed, 1000, families, 0)
        stress.keep(3)


def dropped_half_way(stress):
    try:
        yield
    finally:
        stress.keep(5)


class Await:
    def __await__(self):
        value = yield bytearray(50)
        return value


async def coroutine(n):
    return sum([await Await() for _ in range(n)])


def drive(n):
    running = coroutine(n)
    running.send(None)
    try:
        for i in range(n):
            running.send(i)
    except StopIteration as stop:
        return stop.value


def everything():
    total = sum(nested(30, 200)) + sum(1 for _ in zip(nested(3, 50), nested(50, 50), strict=True))
    dropped = [nested(depth, 10) for depth in range(20)]
    total += sum(map(next, dropped))
    del dropped
    return total + drive(100) + sum(len(x) for x in (str(i) * 3 for i in range(200)))


def round(stress):
    families = stress.families(python=True)
    stress.first(everything)
    stress.first(churn, 8)
    passed = queue.SimpleQueue()

    def making():
        for _ in range(20):
            stress.same(everything)
            generator = nested(10, 40)
            passed.put((next(generator), generator))
            for half_way in [dropped_half_way(stress) for _ in range(3)]:
                next(half_way)
        pounder = pounding(stress, families)
        next(pounder)
        for seed in range(12):
            pounder.send(seed)

    def ending():
        for _ in range(40):
            first, generator = passed.get()
            assert first + sum(generator) == sum(numbers(40))
            stress.same(churn, 8)

    with stress.measured() as measured:
        stress.at_once(making, making, ending)
    tally = stress.take()
    assert tally.works == 24
    kept = {"pounding": 72, "dropped_half_way": 600}
    measured.expect_kept(tally, kept, blocks_more=2_000_000, more=4 * SLACK)
    stress.quiet()
