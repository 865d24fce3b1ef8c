"""Code that calls much and allocates little: a tool that is called on calls pays here."""

from __future__ import annotations

import itertools


def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)


def fibonacci() -> int:
    """Plain recursion on small numbers."""
    return _fibonacci(24)


class Counter:
    """A wheel with a property, a method and a dunder method."""

    def __init__(self) -> None:
        self._at = 0

    @property
    def at(self) -> int:
        return self._at

    def step(self) -> int:
        self._at = (self._at + 1) % 250
        return self._at

    def __len__(self) -> int:
        return self._at


def methods() -> int:
    """Methods, properties, builtins and generators on numbers that CPython keeps ready."""
    counter = Counter()
    seen = 0
    for _ in itertools.repeat(None, 150_000):
        counter.step()
        if counter.at > seen:
            seen = counter.at
        if len(counter) > 200 and isinstance(seen, int):
            seen = abs(seen) % 200
    return seen + sum(1 for _ in iter(counter.step, 0))
