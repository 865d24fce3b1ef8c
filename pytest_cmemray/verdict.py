"""Budgets against measured numbers: what is wrong with a test, and what has to be said of it.

Pure: no pytest, no tracker. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cmemray.explain import Paths, is_machinery
from cmemray.sizes import format_size, format_sizes
from pytest_cmemray.markers import Plan
from pytest_cmemray.types import Stack, StackFrame


class OldThread(Protocol):
    """What a thread older than the test allocated in it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


class Measured(Protocol):
    """The part of `cmemray.measure` that verdicts and texts read."""

    @property
    def peak(self) -> int: ...  # noqa: D102
    @property
    def peak_blocks(self) -> int: ...  # noqa: D102
    @property
    def total(self) -> int: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def leaked(self) -> int: ...  # noqa: D102
    @property
    def peak_without_old_threads(self) -> int: ...  # noqa: D102
    @property
    def old_threads(self) -> Sequence[OldThread]: ...  # noqa: D102
    @property
    def apart(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def incomplete(self) -> bool: ...  # noqa: D102
    @property
    def incomplete_reason(self) -> str: ...  # noqa: D102
    @property
    def sampling_period(self) -> int: ...  # noqa: D102
    @property
    def children(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def resized_old_bytes(self) -> int: ...  # noqa: D102
    def locations_at_peak(self) -> list[Any]: ...  # noqa: D102
    def leaks(self) -> list[Any]: ...  # noqa: D102
    def largest_located(self) -> Any: ...  # noqa: D102


@dataclass(frozen=True)
class Over:
    """The peak reached its limit."""

    limit: int
    numbers: Measured


@dataclass(frozen=True)
class Increase:
    """The peak is higher than in the last passing run."""

    before: int
    numbers: Measured


@dataclass(frozen=True)
class Leak:
    """Locations that left their limit's worth of memory, or more, behind; largest first."""

    limit: int
    locations: tuple[Any, ...]
    numbers: Measured


@dataclass(frozen=True)
class Incomplete:
    """The tracker missed something, so that a kept limit cannot be told.

    Without a reason of its own, it is what the numbers say that they miss.
    """

    numbers: Measured
    reason: str = ""


Finding = Over | Increase | Leak | Incomplete


def judge_memory(plan: Plan, numbers: Measured, before: int | None) -> Finding | None:
    """What is wrong with the peak; `before` is the one to compare with, None for none."""
    limit = plan.limit
    if limit is None:
        return None
    peak = judged_peak(numbers)
    if peak >= limit:
        return Over(limit, numbers)
    if numbers.incomplete:
        return Incomplete(numbers)
    if before is not None and peak > before:
        return Increase(before, numbers)
    return None


def judge_leaks(plan: Plan, numbers: Measured, paths: Paths) -> Finding | None:
    """What is wrong with the memory left behind; an exception of the filter passes through."""
    if plan.leaks is None:
        return None
    limit, keep = plan.leaks.limit, plan.leaks.filter_fn
    try:
        left = numbers.leaks()
    except MemoryError as error:
        return Incomplete(numbers, str(error)) if numbers.leaked >= limit else None
    over = [location for location in left if location.size >= limit]
    # pytest itself is in the middle of calling the test, and holds a few small blocks for that.
    over = [location for location in over if not is_machinery(location.frames, paths)]
    if keep is not None:
        over = [location for location in over if keep(stack_of(location.frames))]
    if over:
        return Leak(limit, tuple(over), numbers)
    return Incomplete(numbers) if numbers.incomplete else None


def at_peak(numbers: Measured) -> list[Any] | None:
    """The locations that held the peak; None when the system refuses memory for the list."""
    try:
        return numbers.locations_at_peak()
    except MemoryError:
        return None


def judged_peak(numbers: Measured) -> int:
    """The peak that a limit is compared with: without what threads older than the test hold."""
    return numbers.peak_without_old_threads if numbers.old_threads else numbers.peak


def stack_of(frames: Iterable[Any]) -> Stack:
    """The frames of a location as filter functions get them."""
    return Stack(tuple(StackFrame(f.function, f.filename, f.lineno) for f in frames))


def notes(plan: Plan, numbers: Measured) -> list[str]:
    """What the reader of a verdict has to know besides it, whichever it is."""
    said = []
    if numbers.children:
        count = sum(numbers.children.values())
        ways = ", ".join(sorted(numbers.children))
        plural = "es were" if count > 1 else " was"
        said.append(f"{count} child process{plural} not measured ({ways})")
    if numbers.incomplete and plan.limit is None and plan.leaks is None:
        said.append(f"incomplete measurement: {numbers.incomplete_reason}")
    limit = plan.limit
    if limit is not None and judged_peak(numbers) < limit:
        if numbers.peak >= limit:
            peak, allowed = format_sizes(numbers.peak, limit)
            whose = old_threads(numbers) or "threads older than the test"
            said.append(f"the peak of {peak} is within the limit of {allowed} only without {whose}")
        aside = apart(numbers)
        if aside and judged_peak(numbers) + apart_bytes(numbers) >= limit:
            said.append(f"not counted against the limit: {aside}")
    return said


def old_threads(numbers: Measured) -> str:
    """'thread worker-1 (30.0MiB), older than the test': those that matter to the peak, or ''."""
    matter = [one for one in numbers.old_threads if one.size * 100 >= numbers.peak]
    if not matter:
        return ""
    matter.sort(key=lambda thread: thread.size, reverse=True)
    named = ", ".join(
        f"{one.name.removeprefix('thread ')} ({format_size(one.size)})" for one in matter[:3]
    )
    more = f" and {len(matter) - 3} more" if len(matter) > 3 else ""
    return f"thread{'s' if len(matter) > 1 else ''} {named}{more}, older than the test"


_APART = {
    "reserved": "reserved address space",
    "shared": "shared anonymous mappings",
    "file": "file mappings",
}


def apart(numbers: Measured) -> str:
    """'file mappings 477.0MiB (4.0KiB resident)': what stands apart from the peak, or ''."""
    return ", ".join(
        f"{_APART[kind]} {format_size(mapped)} ({format_size(resident)} resident)"
        for kind, (mapped, resident) in numbers.apart.items()
        if mapped
    )


def apart_bytes(numbers: Measured) -> int:
    """All bytes mapped apart from the peak."""
    return sum(mapped for mapped, _ in numbers.apart.values())
