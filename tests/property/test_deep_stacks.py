"""Programs that go up and down hundreds of frames, by calls of all kinds, and allocate all the time: every
block is booked on the stack that sys._getframe shows in a run of the same program that is not measured."""

from __future__ import annotations

import collections
import linecache
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cmemray
from cmemray._load import core

pytestmark = pytest.mark.skipif(not core.PYTHON_STACKS, reason=core.PYTHON_STACKS_REASON or "-")

try:
    import greenlet
except ImportError:
    greenlet = None  # type: ignore[assignment]

HERE = __file__
MOST_DEEP = 250
STEPS = 9000

Stack = tuple[tuple[str, int], ...]


class Block:
    __slots__ = ()


class Unwind(Exception):
    """Leaves several frames at once."""


class Program:
    """The same steps in every run. What a step decides was drawn beforehand, and no block is made but by
    `make`, on lines that end in the comment `block`."""

    def __init__(self, seed: int, make: Callable[[], object]) -> None:
        rng = random.Random(seed)
        # For a while the program tends to go down, then up, or stays where it is.
        self.ops = iter(
            [
                rng.choices(range(10), [up, 3, 3, 2, 1, 1, 1, 1, 30, 3])[0]
                for up in (rng.choice([2, 10, 20]) for _ in range(STEPS // 300))
                for _ in range(300)
            ]
        )
        self.done = False
        self.make = make
        self.slots: list[object] = [None] * STEPS
        self.indices = iter(list(range(STEPS)))
        self.depth = 0
        self.others: list[Any] = []

    def allocate(self) -> None:
        self.slots[next(self.indices)] = self.make()  # block

    def run(self) -> None:
        for op in self.ops:
            if op == 0:
                break
            if op < 8 and self.depth >= MOST_DEEP:
                break
            self.depth += 1
            try:
                if op == 1:
                    self.run()
                elif op == 3:
                    self.also()
                elif op == 2:  # the same from another line
                    self.run()
                elif op == 4:
                    for _ in self.generate():
                        self.slots[next(self.indices)] = self.make()  # block
                elif op == 5:
                    for _ in self.delegate(3):
                        self.allocate()
                elif op == 6:
                    sorted((2, 1), key=self.key)
                elif op == 7:
                    self.unwind(5)
                elif op == 8:
                    self.slots[next(self.indices)] = self.make()  # block
                elif self.others:
                    self.others[self.depth % len(self.others)].switch()
                else:
                    self.allocate()
            except Unwind:
                pass
            finally:
                self.depth -= 1
        else:
            self.done = True

    def run_all(self) -> None:
        while not self.done:
            self.run()

    def also(self) -> None:
        self.slots[next(self.indices)] = self.make()  # block
        self.run()
        self.slots[next(self.indices)] = self.make()  # block

    def key(self, value: int) -> int:
        self.run()
        return value

    def generate(self) -> Iterator[None]:
        self.run()
        yield
        self.slots[next(self.indices)] = self.make()  # block
        yield

    def delegate(self, n: int) -> Iterator[None]:
        if n:
            yield from self.delegate(n - 1)
        else:
            yield from self.generate()

    def unwind(self, n: int) -> None:
        if n:
            self.unwind(n - 1)
        else:
            self.allocate()
            raise Unwind


def _lines() -> frozenset[int]:
    lines = enumerate(linecache.getlines(HERE), 1)
    return frozenset(number for number, line in lines if line.endswith("# block\n"))


def _seen(seed: int, start: Callable[[Program], None]) -> collections.Counter[Stack]:
    """How many blocks each stack is to have, innermost frame first."""
    seen: collections.Counter[Stack] = collections.Counter()
    root = sys._getframe()

    def make() -> None:
        stack = []
        frame = sys._getframe(1)
        while frame is not None and frame is not root:
            stack.append((frame.f_code.co_name, frame.f_lineno))
            frame = frame.f_back  # type: ignore[assignment]
        seen[tuple(stack)] += 1

    start(Program(seed, make))
    return seen


def _booked(seed: int, start: Callable[[Program], None]) -> collections.Counter[Stack]:
    lines = _lines()
    booked: collections.Counter[Stack] = collections.Counter()
    program = Program(seed, Block)
    with cmemray.measure(attribution="exact", root=sys._getframe()) as m:
        start(program)
    for row in m.leaks():
        if row.frames and row.frames[0].filename == HERE and row.frames[0].lineno in lines:
            booked[tuple((frame.function, frame.lineno) for frame in row.frames)] += row.count
    return booked


def _alone(program: Program) -> None:
    program.run_all()


def _in_greenlets(program: Program) -> None:
    program.others = [greenlet.greenlet(program.run_all) for _ in range(3)]
    program.others.append(greenlet.getcurrent())
    program.run_all()


@pytest.mark.parametrize("seed", range(3))
def test_every_block_is_booked_on_its_stack(seed: int) -> None:
    seen = _seen(seed, _alone)
    assert max(map(len, seen)) > 100
    assert _booked(seed, _alone) == seen


@pytest.mark.skipif(
    greenlet is None or core.FREE_THREADED,
    reason="greenlet is not installed, or aborts when it switches inside of sorted() (free-threaded)",
)
@pytest.mark.parametrize("seed", range(3))
def test_every_block_of_green_threads_is_booked_on_its_stack(seed: int) -> None:
    seen = _seen(seed, _in_greenlets)
    assert max(map(len, seen)) > 100
    assert _booked(seed, _in_greenlets) == seen
