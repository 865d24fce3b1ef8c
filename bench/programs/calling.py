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


def sieve() -> int:
    """Loops over a bytearray with small numbers."""
    size = 250
    flags = bytearray(size)
    found = 0
    for _ in itertools.repeat(None, 250):
        for i in range(2, size):
            flags[i] = 1
        for i in range(2, 16):
            if flags[i]:
                j = i * i
                while j < size:
                    flags[j] = 0
                    j += i
        found = flags.count(1)
    return found


def _next(state: str, letter: str) -> str:
    if letter == "a":
        return "even" if state == "odd" else "odd"
    return state if letter in "bc" else "start"


def automaton() -> int:
    """A state machine of small functions, called for each letter of a text."""
    state = "start"
    odd = 0
    for _ in itertools.repeat(None, 150):
        for letter in "abacabadabacabaeabacabadabacabacabbage" * 20:
            state = _next(state, letter)
            odd += state == "odd"
            if odd > 200:
                odd = 0
    return odd
