"""Records that measurements hand out: plain, immutable, comparable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from cmemray.estimate import Samples


class Frame(NamedTuple):
    """One call in a stack: the function's plain name, its file as compiled, and the line."""

    function: str
    filename: str
    lineno: int


class Location(NamedTuple):
    """A call stack and allocator, with what was allocated there and is held.

    `size` is in bytes as they were asked for, `count` in blocks. `frames` begins with the innermost
    call; it is empty for threads that run no Python code. When `estimated`, the location was
    sampled: its size is its share of an exact total, with a standard error of `error` bytes; its
    count is an estimate, too. `samples` is what the size rests on, None when it is exact: sizes of
    several locations add up, their errors do not (see `cmemray.estimate`).
    """

    size: int
    count: int  # type: ignore[assignment]  # not the method of tuple
    frames: tuple[Frame, ...]
    allocator: str = "malloc"
    estimated: bool = False
    error: float = 0.0
    samples: Samples | None = None


class OldThread(NamedTuple):
    """What a thread older than the measurement allocated in it: bytes and blocks, freed or not."""

    name: str
    native_id: int
    size: int
    count: int  # type: ignore[assignment]  # not the method of tuple


class LeakedObject(NamedTuple):
    """An object that outlived its block, and the stack that made it, innermost call first."""

    obj: Any
    frames: tuple[Frame, ...]


_RawFrame = tuple[str, str, int]
_RawSamples = tuple[float, float, float, float]
_Row = tuple[int, int, str, tuple[_RawFrame, ...], bool, _RawSamples | None]


class Frames:
    """Makes Frame tuples of the core's, each only once."""

    def __init__(self) -> None:
        # The core shares equal tuples within a call, so their identity tells them apart. All are
        # kept, lest the address of one come back as another.
        self._stacks: dict[int, tuple[Frame, ...]] = {}
        self._frames: dict[int, Frame] = {}
        self._kept: list[tuple[_RawFrame, ...]] = []

    def stack(self, raw: tuple[_RawFrame, ...]) -> tuple[Frame, ...]:
        """The frames of `raw`, innermost first."""
        known = self._stacks.get(id(raw))
        if known is None:
            get = self._frames.get
            known = tuple([get(id(frame)) or self._make(frame) for frame in raw])
            self._stacks[id(raw)] = known
            self._kept.append(raw)
        return known

    def _make(self, raw: _RawFrame) -> Frame:
        frame = self._frames[id(raw)] = Frame(*raw)
        return frame


def locations(
    rows: Iterable[_Row],
) -> list[Location]:
    """Rows of the core as Locations, in their order."""
    frames = Frames()
    found = []
    for size, count, allocator, stack, estimated, raw in rows:
        samples = Samples(*raw) if raw else None
        error = samples.error if samples else 0.0
        found.append(
            Location(size, count, frames.stack(stack), allocator, estimated, error, samples)
        )
    return found
