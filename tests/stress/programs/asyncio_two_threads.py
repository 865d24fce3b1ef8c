"""Two event loops in two threads, and measurements that begin and end inside of coroutines."""

import asyncio
import contextvars

from harness import SLACK, churn

variable = contextvars.ContextVar("variable", default=0)


async def child(n):
    variable.set(n)
    held = [bytes(n & 255)]
    for _ in range(3):
        held.append(str(n) * 3)
        await asyncio.sleep(0)
    return len(held) + variable.get()


async def parent(n):
    events = asyncio.Queue()

    async def put():
        for i in range(n):
            await events.put(i)

    async def get():
        return sum([await events.get() for _ in range(n)])

    results = await asyncio.gather(*map(child, range(n)), put(), get())
    return sum(results[:n]) + results[-1]


def whole(n):
    return asyncio.run(parent(n))


def round(stress):
    families = stress.families(python=True)
    stress.first(whole, 60)
    stress.first(churn, 6)

    def in_executor():
        stress.pound.pound(1, 500, families, 1)
        stress.keep(2)

    async def measuring():
        for _ in range(20):
            with stress.measured(counts=False) as inner:
                await asyncio.sleep(0)
                stress.same(churn, 6)
                await asyncio.get_running_loop().run_in_executor(None, in_executor)
            assert inner.m.count > 0

    async def pounding():
        for seed in range(10):
            stress.pound.pound(seed, 2000, families, 0)
            await asyncio.sleep(0)
            stress.keep(3)

    async def together():
        await asyncio.gather(measuring(), pounding())

    def loops():
        for _ in range(3):
            stress.same(whole, 60)
        asyncio.run(together())

    with stress.measured() as measured:
        stress.at_once(loops, loops)
    tally = stress.take()
    assert tally.works == 60
    kept = {"pounding": 60, "in_executor": 80}
    measured.expect_kept(tally, kept, blocks_more=2_000_000, more=4 * SLACK)
    stress.quiet()
