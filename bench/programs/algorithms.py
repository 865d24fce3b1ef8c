"""Algorithms on plain containers: graphs, heaps, matrices, sets, generators, text, tasks."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction


def graphs() -> int:
    """Shortest ways through a grid by a priority queue of tuples."""
    side = 70
    cost = {(x, y): (x * 7 + y * 13) % 9 + 1 for x in range(side) for y in range(side)}
    best = {(0, 0): 0}
    queue = [(0, (0, 0))]
    while queue:
        length, here = heapq.heappop(queue)
        if length > best[here]:
            continue
        x, y = here
        for there in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if there in cost:
                longer = length + cost[there]
                if longer < best.get(there, 1 << 30):
                    best[there] = longer
                    heapq.heappush(queue, (longer, there))
    return best[(side - 1, side - 1)]


Matrix = list[list[float]]


def _multiplied(a: Matrix, b: Matrix) -> Matrix:
    columns = list(zip(*b, strict=True))
    return [[sum(map(float.__mul__, row, column)) for column in columns] for row in a]


def matrices() -> float:
    """Matrices of floats in lists: multiplied, added, transposed."""
    n = 60
    a = [[(i * j % 7) / 7 for j in range(n)] for i in range(n)]
    for _ in range(5):
        product = _multiplied(a, a)
        a = [
            [(x + y) / n for x, y in zip(p, q, strict=True)]
            for p, q in zip(a, product, strict=True)
        ]
        a = [list(row) for row in zip(*a, strict=True)]
    return a[1][2]


def sets() -> int:
    """Sets and dicts of numbers and strings: unions, differences, inverted, grown and shrunk."""
    a = {i * 7 % 50_021 for i in range(40_000)}
    b = {i * 11 % 50_021 for i in range(40_000)}
    names = {f"key-{i}": i for i in a & b}
    inverted = {value: key for key, value in names.items()}
    for i in list(names)[::2]:
        del names[i]
    names.update((f"new-{i}", i) for i in a ^ b)
    frozen = {frozenset((i % 100, i % 77, i % 3)) for i in range(20_000)}
    return len(a | b) + len(inverted) + len(names) + len(frozen)


def _numbers(n: int) -> Iterator[int]:
    yield from range(n)


def _pairs(source: Iterable[int]) -> Iterator[tuple[int, str]]:
    for i in source:
        yield i, f"item {i}"


def _batches(source: Iterator[tuple[int, str]], n: int) -> Iterator[list[tuple[int, str]]]:
    while batch := list(itertools.islice(source, n)):
        yield batch


def pipelines() -> int:
    """Five generators in a row, batches at the end."""
    seen = 0
    kept = (pair for pair in _pairs(_numbers(60_000)) if pair[0] % 3)
    for batch in _batches(((i, text.upper()) for i, text in kept), 128):
        seen += len({text[-2:] for _, text in batch})
    return seen


_LINE = re.compile(r'(\S+) - \[(\d+)/(\w+)\] "(GET|POST) (/\S*)" (\d{3}) (\d+)')


def logs() -> int:
    """Lines of a log matched, split and replaced."""
    lines = [
        f'10.0.{i % 256}.{i % 99} - [{i % 28}/Mar] "GET /page/{i % 400}?q={i}" 200 {i * 3}'
        for i in range(9_000)
    ]
    by_page: dict[str, list[int]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match:
            page, _, query = match.group(5).partition("?")
            by_page.setdefault(page, []).append(int(match.group(7)) + len(query))
    clean = [re.sub(r"\d+\.\d+", "x", line) for line in lines]
    words = [re.split(r"[\s\"/?=]+", line) for line in clean]
    return len(by_page) + sum(map(len, words))


def concatenation() -> int:
    """Strings built piece by piece, in loops, by join, by buffers of parts, then encoded."""
    text = ""
    for i in range(40_000):
        text += str(i)
    parts = []
    for i in range(40_000):
        parts.append("%d:%s" % (i, text[i : i + 5]))  # noqa: UP031
    joined = ";".join(parts)
    fields = [field.partition(":") for field in joined.split(";")]
    return len(joined.encode("utf-16")) + len({middle for _, _, middle in fields})


def fractions() -> Fraction:
    """Exact sums and a table of binomials: integers that grow."""
    total = Fraction(0)
    for i in range(1, 350):
        total += Fraction(i, i * i + 1)
    row = [1]
    for _ in range(350):
        row = [1, *(a + b for a, b in itertools.pairwise(row)), 1]
    return total + Fraction(max(row), sum(row))


async def _worker(queue: asyncio.Queue[int], out: list[str]) -> None:
    while True:
        job = await queue.get()
        await asyncio.sleep(0)
        out.append(f"job {job}")
        queue.task_done()


async def _tasks() -> int:
    queue: asyncio.Queue[int] = asyncio.Queue(50)
    out: list[str] = []
    workers = [asyncio.create_task(_worker(queue, out)) for _ in range(20)]
    for i in range(4_000):
        await queue.put(i)
    await queue.join()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return len(out)


def tasks() -> int:
    """Asynchronous tasks around a queue."""
    return asyncio.run(_tasks())
