"""Threads of C that a measured block starts, and that go on after it and through the next ones."""

from harness import churn


def round(stress):
    pound, families, yes, no, four = stress.pound, stress.families(), 1, 0, 4
    stress.first(churn, 1)
    seed = stress.seed()
    # Started in one: what is left at its end is what the crew holds.
    with stress.measured(collect=None) as first:
        pound.crew_start(four, seed, families)
        pound.pound(yes, 5000, yes, yes)
        pound.crew_pause()
    own, numbers = stress.take(), pound.crew_numbers()
    first.expect(own.count + numbers[0], own.bytes + numbers[1])
    assert (first.m.current, first.usage["current_blocks"]) == numbers[3:5]
    # They free in the next ones what they got in earlier ones, and between.
    for _ in range(3):
        stress.beside_crew(20_000, yes)
        pound.crew_resume(no)
        stress.same(churn, 1)
        pound.crew_pause()
    # Ended while measured: nothing of this epoch is left.
    with stress.measured(collect=None) as last:
        pound.crew_resume(yes)
        pound.pound(yes, 5000, yes, yes)
        pound.crew_stop()
    own, numbers = stress.take(), pound.crew_numbers()
    last.expect(own.count + numbers[0], own.bytes + numbers[1])
    assert (last.m.current, last.usage["current_blocks"]) == (0, 0) == numbers[3:5]
    # Running while measurements come and go, without a pause.
    pound.crew_start(four, seed, families)
    for _ in range(10):
        with stress.measured() as loose:
            stress.same(churn, 1)
        assert loose.m.count > 0 or "basis" in stress.options()
    pound.crew_stop()
