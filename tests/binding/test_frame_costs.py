"""The least time in which this interpreter leaves a frame and enters it again, against what the tracker takes
for granted (csrc/core/stack/chain.h): it must be several times as long, since machines get faster."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

CHAIN_H = Path(__file__).parents[2] / "csrc/core/stack/chain.h"
N = 100
MARGIN = 3


def _assumed(name: str) -> int:
    found = re.search(rf"#define {name} (\d+)u", CHAIN_H.read_text())
    assert found is not None
    return int(found[1])


def _fastest(run: Callable[[], object], levels: int = N) -> float:
    """Nanoseconds per level. What disturbs a run makes it longer, so the shortest is the one to heed."""
    best = float("inf")
    for _ in range(2000):
        start = time.perf_counter_ns()
        run()
        best = min(best, time.perf_counter_ns() - start)
    return best / levels


def _functions() -> Callable[[], object]:
    """N functions, each of which does nothing but call the next."""
    names: dict[str, Any] = {}
    exec("def f0(): pass\n", names)
    for i in range(1, N):
        exec(f"def f{i}(): f{i - 1}()\n", names)
    return names[f"f{N - 1}"]  # type: ignore[no-any-return]


def _recursion() -> Callable[[], object]:
    def descend(depth: int) -> None:
        if depth:
            descend(depth - 1)

    return lambda: descend(N - 1)


def _methods() -> Callable[[], object]:
    class Node:
        __slots__ = ("below",)

        def __init__(self, below: Node | None) -> None:
            self.below = below

        def visit(self) -> None:
            if self.below is not None:
                self.below.visit()

    node = None
    for _ in range(N):
        node = Node(node)
    assert node is not None
    return node.visit


def _exceptions() -> Callable[[], object]:
    def descend(depth: int) -> None:
        if not depth:
            raise KeyError
        descend(depth - 1)

    def run() -> None:
        with contextlib.suppress(KeyError):
            descend(N - 1)

    return run


def _yield_from() -> Callable[[], object]:
    def leaf() -> Generator[None, None, None]:
        while True:
            yield

    def level(below: Generator[None, None, None]) -> Generator[None, None, None]:
        yield from below

    generator = leaf()
    for _ in range(N - 1):
        generator = level(generator)
    next(generator)
    return lambda: next(generator)


def _await() -> Callable[[], object]:
    class Leaf:
        def __await__(self) -> Iterator[None]:
            while True:
                yield

    async def level(below: Any) -> None:
        await below

    coroutine = level(Leaf())
    for _ in range(N - 1):
        coroutine = level(coroutine)
    coroutine.send(None)
    return lambda: coroutine.send(None)


def _loops_over_generators() -> Callable[[], object]:
    def level(below: Iterator[int]) -> Iterator[int]:
        for _ in below:  # noqa: UP028 - this is what is measured
            yield _

    numbers: Iterator[int] = iter(lambda: 0, 1)
    for _ in range(N):
        numbers = level(numbers)
    next(numbers)
    return lambda: next(numbers)


@pytest.mark.parametrize("shape", [_functions, _recursion, _methods, _exceptions])
def test_calls_take_several_times_what_is_assumed(
    shape: Callable[[], Callable[[], object]],
) -> None:
    assert _fastest(shape()) >= MARGIN * _assumed("CMR_CHAIN_NS_OF_CALL")


@pytest.mark.parametrize("shape", [_yield_from, _await, _loops_over_generators])
def test_resumptions_take_several_times_what_is_assumed(
    shape: Callable[[], Callable[[], object]],
) -> None:
    assert _fastest(shape()) >= MARGIN * _assumed("CMR_CHAIN_NS_OF_RESUME")
