"""gevent: greenlets by the hundred, a pool, and all modules patched while a measurement runs."""

from harness import SLACK, churn

NEEDS = ("gevent",)


def crowd(n):
    import gevent
    from gevent.pool import Pool
    from gevent.queue import Queue

    queue = Queue(maxsize=5)

    def put(number):
        gevent.sleep(0)
        queue.put(str(number) * 3)
        return number

    def get():
        return sum(len(queue.get()) for _ in range(n))

    getter = gevent.spawn(get)
    numbers = sum(Pool(10).map(put, range(n)))
    return numbers + getter.get()


def round(stress):
    import gevent

    families = stress.families(python=True)
    stress.first(crowd, 100)
    stress.first(churn, 9)

    def pounding(seed):
        for i in range(4):
            stress.pound.pound(seed + i, 800, families, i & 1)
            gevent.sleep(0)
            stress.same(churn, 9)

    with stress.measured() as measured:
        if stress.rounds == 1:
            from gevent import monkey

            monkey.patch_all()
        gevent.joinall([gevent.spawn(pounding, seed) for seed in range(12)], raise_error=True)
        stress.same(crowd, 100)
        stress.pound.keep(100, 30)
    tally = stress.take()
    assert tally.works == 48
    measured.expect(tally.count + 30, tally.bytes + 3000, blocks_more=2_000_000, more=4 * SLACK)
    if measured.exact:
        assert measured.left_by("round") == (30, 3000)
    stress.pound.drop()
