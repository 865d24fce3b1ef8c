"""What filter functions of the leak markers see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class StackFrame:
    """One call of a stack: the function's name, its file, and the line that was running."""

    function: str
    filename: str
    lineno: int


@dataclass(frozen=True)
class Stack:
    """The calls that led to an allocation, innermost first."""

    frames: tuple[StackFrame, ...]


class LeaksFilterFunction(Protocol):
    """Decides which leaks of `limit_leaks` count."""

    def __call__(self, stack: Stack) -> bool:
        """True when a leak allocated at `stack` is to be reported, False to ignore it."""


class LeakedObjectsFilterFunction(Protocol):
    """Decides which surviving objects of `limit_leaked_objects` count."""

    def __call__(self, obj: Any) -> bool:
        """True when the surviving `obj` is to be reported, False to ignore it."""
