"""Greenlets that switch at many depths, in two threads, and some that are dropped half way."""

from harness import SLACK, churn, descend

NEEDS = ("greenlet",)


def switching(n):
    """The sum of what n greenlets hand to each other, each at a depth of its own."""
    import greenlet

    main, seen = greenlet.getcurrent(), []

    def body(number):
        def hop():
            total = 0
            for i in range(8):
                held = [bytearray(number * 10), str(i)]
                total += main.switch(number + i) + len(held)
            return total

        seen.append(descend(number * 3 % 60, hop))

    all_of_them = [greenlet.greenlet(body) for _ in range(n)]
    total = sum(one.switch(number) for number, one in enumerate(all_of_them))
    for i in range(8):
        for number, one in enumerate(all_of_them):
            if number % 7 != 3 or i < 4:  # the others are left where they are
                total += one.switch(i) or 0
    return total, tuple(sorted(seen))


def round(stress):
    import greenlet

    families = stress.families(python=True)
    stress.first(switching, 30)
    stress.first(churn, 7)

    def pounding(depth):
        main = greenlet.getcurrent()

        def body():
            for seed in range(6):
                stress.pound.pound(seed, 700, families, seed & 1)
                main.switch()
                stress.same(churn, 7)
                stress.keep(4)

        one = greenlet.greenlet(lambda: descend(depth, body))
        while not one.dead:
            one.switch()

    def work():
        for depth in (0, 20, 100):
            stress.same(switching, 30)
            pounding(depth)

    with stress.measured() as measured:
        stress.at_once(work, work)
        with stress.measured(counts=False):
            work()
    tally = stress.take()
    assert tally.works == 54
    measured.expect_kept(tally, {"body": 216}, blocks_more=2_000_000, more=4 * SLACK)
    stress.quiet()
