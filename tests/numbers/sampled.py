"""Programs whose lines are estimated over many seeds, and what they hold in truth.

`python tests/numbers/sampled.py [SEEDS]` prints bias and coverage of each.

A program is run once with attribution "exact" and once for each seed with samples. It does the same
each time, so that the lines' true parts of the peak are known. Sizes and periods are small, lest it
take long: a limit of L means a period of L / 2048 bytes at most.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import cmemray
from cmemray import explain
from cmemray.estimate import Samples

KB, MB = 1024, 1024**2
#: The code of these tests is that of the reader here, wherever it lies.
PATHS = explain.Paths("/", also=[os.path.dirname(os.path.abspath(__file__))])
Lines = dict[int, explain.Line]


def mixed_sizes() -> object:
    """Small and large objects of several lines, in turn."""
    pick, held = random.Random(1), []
    for _ in range(1500):
        held.append(bytes(pick.randrange(1, 400)))
        held.append([None] * pick.randrange(1, 60))
        if pick.random() < 0.1:
            held.append(bytearray(pick.randrange(1000, 20_000)))
        if pick.random() < 0.02:
            held.append(bytes(pick.randrange(20_000, 40_000)))
    return held


def frees() -> object:
    """Most of what is allocated is freed before the peak."""
    pick = random.Random(2)
    held: list[Any] = [None] * 1000
    for i in range(6000):
        at = pick.randrange(1000)
        if i % 3 == 0:
            held[at] = bytes(pick.randrange(1, 900))
        elif i % 3 == 1:
            held[at] = bytearray(pick.randrange(1, 1500))
        else:
            held[at] = None
    return held


def resizes() -> object:
    """Lists and byte arrays that grow, each at its own pace."""
    pick = random.Random(3)
    lists: list[list[None]] = [[] for _ in range(60)]
    arrays = [bytearray() for _ in range(60)]
    for _ in range(4000):
        at = pick.randrange(60)
        lists[at].append(None)
        if pick.random() < 0.3:
            arrays[at].extend(b"0123456789" * pick.randrange(1, 10))
        if pick.random() < 0.05:
            del lists[at][len(lists[at]) // 2 :]
    return lists, arrays


def _fill(pick: random.Random, held: list[object], ready: threading.Barrier) -> None:
    for i in range(700):
        held[i] = bytes(pick.randrange(1, 700))
        if pick.random() < 0.2:
            held[i] = held[i], bytearray(pick.randrange(700, 5000))
    ready.wait()


def threads() -> object:
    """Three threads and the calling one; all hold theirs at the end."""
    held: list[list[object]] = [[None] * 700 for _ in range(4)]
    ready = threading.Barrier(4)
    others = [
        threading.Thread(target=_fill, args=(random.Random(i), held[i], ready)) for i in range(3)
    ]
    for other in others:
        other.start()
    for i in range(500):
        held[3][i] = (None,) * 50
    ready.wait()
    for other in others:
        other.join()
    return held


def _rows(pick: random.Random) -> Iterator[dict[str, Any]]:
    for i in range(400):
        yield {"name": "x" * pick.randrange(1, 300), "number": i * 1.5, "tags": [i] * (i % 7)}


def generators() -> object:
    """Rows that come out of a generator; one in three is kept, some are copied."""
    held: list[object] = []
    for i, row in enumerate(_rows(random.Random(4))):
        if i % 3 == 0:
            held.append(row)
        elif i % 3 == 1:
            held.append(dict(row))
    return held, [str(i) * 20 for i in range(500)]


def one_large_block() -> object:
    """Half of the peak is a single block that is certain to be seen."""
    large = bytearray(600 * KB)
    texts = [bytes(300) for _ in range(1000)]
    lists = [[None] * 40 for _ in range(700)]
    return large, texts, lists


def _churn(times: int) -> None:
    for _ in range(times):
        bytes(20_000)


def few_samples() -> object:
    """Much is allocated and freed under a small peak: the period has grown long before it."""
    _churn(30_000)
    texts = [bytes(150) for _ in range(900)]
    arrays = [bytearray(99) for _ in range(600)]
    return texts, arrays, bytes(30_000)


def handful_of_samples() -> object:
    """The same with so small a peak that a handful of samples make it up."""
    _churn(33_000)
    texts = [bytes(150) for _ in range(700)]
    arrays = [bytearray(99) for _ in range(400)]
    return texts, arrays


def growing_periods() -> object:
    """The period doubles time and again while what was allocated before stays."""
    held: list[object] = []
    for i in range(40):
        held.append([bytes(40) for _ in range(20 + i)])
        held.append([bytearray(90 + 20 * i) for _ in range(20)])
        held.append([None] * (30 * i + 1))
    return held


def peak_in_the_middle() -> object:
    """The peak is over long before the end; what comes later is of other lines."""
    held: list[object] = [bytes(100 + i) for i in range(1200)]
    held += [bytearray(400) for _ in range(300)]
    del held[::2]
    held += [(None,) * 30 for _ in range(300)]
    del held[::3]
    return held + [[None] * 20 for _ in range(150)]


def _deep(depth: int, held: list[object]) -> None:
    held.append(bytes(60 + depth))
    if depth:
        _deep(depth - 1, held)
    held.append(bytearray(200))


def recursion() -> object:
    """The same lines in stacks of many depths, each a location of its own."""
    held: list[object] = []
    for _ in range(25):
        _deep(40, held)
    return held


def many_lines() -> object:
    """Code made from text: forty lines, some with next to nothing."""
    space: dict[str, Any] = {}
    exec(MANY, space)
    return space["held"]


MANY = compile(
    "held = []\n"
    + "".join(f"held += [bytes(200) for _ in range({i * i})]\n" for i in range(1, 21)),
    __file__ + ".many",
    "exec",
)


def still_there() -> object:
    """What is looked at is what is left in the end, not the peak."""
    held = [bytes(500) for _ in range(2000)]
    del held[200:]
    arrays = [bytearray(250) for _ in range(700)]
    lists = [[None] * 9 for _ in range(300)]
    return held, arrays, lists


@dataclass(frozen=True)
class Program:
    """What to run, with which limit, and whether its leaks are looked at."""

    run: Callable[[], object]
    limit: int
    leaks: bool = False


PROGRAMS = [
    Program(mixed_sizes, 64 * MB),
    Program(frees, 64 * MB),
    Program(resizes, 8 * MB),
    Program(threads, 64 * MB),
    Program(generators, 8 * MB),
    Program(one_large_block, 64 * MB),
    Program(few_samples, MB),
    Program(handful_of_samples, 4 * MB),
    Program(growing_periods, 64 * MB),
    Program(peak_in_the_middle, 64 * MB),
    Program(recursion, 8 * MB),
    Program(many_lines, 8 * MB),
    Program(still_there, 64 * MB, leaks=True),
]


def measured(program: Program, **how: Any) -> tuple[Lines, cmemray.measure]:
    """Lines of PROGRAM, by number (of its file: all programs stand in this one)."""
    with cmemray.measure(limit=program.limit, **how) as m:
        kept = program.run()
    rows = m.leaks() if program.leaks else m.locations_at_peak()
    del kept
    lines = explain.by_own_line(rows, PATHS)
    return {_number(line): line for line in lines}, m


def _number(line: explain.Line) -> int:
    if line.frame is None:
        return 0
    return line.frame.lineno + (100_000 if line.frame.filename.endswith(".many") else 0)


@dataclass
class Tally:
    """What the seeds said of one line."""

    truth: int
    sizes: list[float] = field(default_factory=list)
    variance: float = 0.0
    covered: int = 0

    @property
    def bias(self) -> float:
        """Of the mean, in its standard errors; that of a line that hardly varies is that of a byte."""
        return (self.mean - self.truth) / max(self.spread / sqrt(len(self.sizes)), 1.0)

    @property
    def mean(self) -> float:
        """Mean size."""
        return sum(self.sizes) / len(self.sizes)

    @property
    def spread(self) -> float:
        """Standard deviation of the sizes."""
        mean = self.mean
        return sqrt(sum((size - mean) ** 2 for size in self.sizes) / (len(self.sizes) - 1))


@dataclass
class Outcome:
    """A program under all seeds."""

    lines: dict[int, Tally]
    total: int
    samples: float = 0.0  # effective ones that made up the list, in the mean

    def is_uncertain(self, tally: Tally) -> bool:
        """Whether a line's part is really an estimate: by 0.1 % of the total or more, as it says."""
        return tally.variance / len(tally.sizes) >= (self.total / 1000) ** 2

    def uncertain(self) -> list[Tally]:
        """Lines of which that is true."""
        return [tally for tally in self.lines.values() if self.is_uncertain(tally)]


def play(program: Program, seeds: int) -> Outcome:
    """Run PROGRAM exactly, then under SEEDS seeds."""
    program.run()  # what is made on first use
    truth, exact = measured(program, attribution="exact")
    assert not exact.estimated
    total = exact.leaked if program.leaks else exact.peak
    tallies = {at: Tally(line.size) for at, line in truth.items() if line.size * 100 >= total}
    outcome = Outcome(tallies, total)
    for seed in range(seeds):
        lines, m = measured(program, seed=seed)
        assert m.estimated
        assert sum(line.size for line in lines.values()) == (m.leaked if program.leaks else m.peak)
        known = next(line.samples for line in lines.values())
        assert known is not None
        outcome.samples += known.all / seeds
        for at, tally in outcome.lines.items():
            _count(tally, lines.get(at), known)
    return outcome


def _count(tally: Tally, line: explain.Line | None, known: Samples) -> None:
    size = line.size if line else 0
    tally.sizes.append(size)
    # A line that is not listed has no sample: what is listed says how much it may hold.
    low, high = line.interval if line else known._replace(own=0.0).interval(0)
    tally.covered += low - 0.5 <= tally.truth <= high + 0.5
    tally.variance += line.error**2 if line else 0.0


def main() -> None:
    """Print a table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{'program':20} lines samples  worst bias  coverage  spread / error")
    covered = cases = 0
    for program in PROGRAMS:
        outcome = play(program, seeds)
        lines = outcome.uncertain()
        bias = max((line.bias for line in lines), key=abs)
        said = sqrt(sum(line.variance for line in lines) / seeds)
        spread = sqrt(sum(line.spread**2 for line in lines))
        covered += sum(line.covered for line in lines)
        cases += seeds * len(lines)
        print(
            f"{program.run.__name__:20} {len(lines):5} {outcome.samples:7.0f} {bias:+11.2f}"
            f" {sum(line.covered for line in lines) / len(lines) / seeds:9.1%}"
            f" {spread / said:15.2f}"
        )
    print(f"all {covered / cases:53.1%}")


if __name__ == "__main__":
    main()
