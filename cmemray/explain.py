"""Measured locations as text: who holds the memory, in the reader's own code.

Pure functions over `Location` records, used by `LimitExceeded` and by the pytest plugin. A location
is explained by its *own line*: the innermost frame that lies in the code of the reader. Library
frames below it say how the memory was asked for, not what to change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cmemray.estimate import Samples, error_of_lead, together
from cmemray.sizes import format_size, format_sizes

if TYPE_CHECKING:
    from cmemray.location import Frame, Location

#: Directories whose frames are the machinery around a test; never shown as anybody's code.
_SUBTESTS = "pytest_subtests"
_TOOL_DIRECTORIES = ("cmemray", "pytest_cmemray", "_pytest", "pytest", "pluggy", _SUBTESTS)
_INSTALLED = ("site-packages", "dist-packages")
NO_FRAME = "code without a Python frame"
#: A line leads another when it holds more by so many standard errors of the difference.
_LEAD = 4
#: So many lines are named that are too close to tell which of them leads: all, but for programs that
#: allocate everywhere alike, where a longer list tells nobody anything.
_MOST_NAMED = 10
#: Below so many samples errors are too rough to rely on.
_FEW = 20


class Paths:
    """Which files are the reader's own, and how file names are shown.

    Own are files below `root` (default: the working directory) or below one of `also`, which
    wins over the rule that installed packages and the standard library are not.
    """

    def __init__(self, root: str | None = None, also: Iterable[str] = ()) -> None:
        self.root = os.path.abspath(root if root is not None else os.getcwd())
        self._also = tuple(_folder(path) for path in also)
        # Not of sysconfig, whose first call loads a module of all variables of the build.
        self._stdlib = _folder(os.path.dirname(os.__file__))
        self._kind: dict[str, tuple[bool, bool, str]] = {}
        # What mock makes for a test is the test's, though it may be made before its first line.
        self._mock = os.path.join(self._stdlib, "unittest", "mock.py")

    def is_own(self, filename: str) -> bool:
        """True for a file in the reader's code."""
        return self._look_up(filename)[0]

    def is_hidden(self, filename: str) -> bool:
        """True for machinery that a stack is shown without: pytest, this tool, the import system."""
        return self._look_up(filename)[1]

    def is_standard(self, filename: str) -> bool:
        """True for a file of the standard library that does nothing in a test's name by itself."""
        if filename.startswith("<frozen "):
            return True
        path = os.path.normpath(filename)
        if not path.startswith(self._stdlib) or path == self._mock:
            return False
        return not any(part in _INSTALLED for part in path.split(os.sep))

    def shown(self, filename: str) -> str:
        """`filename` relative to the root where it lies below it."""
        return self._look_up(filename)[2]

    def _look_up(self, filename: str) -> tuple[bool, bool, str]:
        known = self._kind.get(filename)
        if known is None:
            known = self._kind[filename] = self._classify(filename)
        return known

    def _classify(self, filename: str) -> tuple[bool, bool, str]:
        if filename.startswith("<"):
            return (
                filename.startswith("<doctest"),
                filename.startswith("<frozen importlib"),
                filename,
            )
        path = os.path.normpath(os.path.join(self.root, filename))
        root = _folder(self.root)
        shown = path[len(root) :] if path.startswith(root) else path
        if path.startswith(self._also):
            return True, False, shown
        parts = path.split(os.sep)[:-1]
        installed = [i for i, part in enumerate(parts) if part in _INSTALLED]
        package = parts[installed[-1] + 1 : installed[-1] + 2] if installed else []
        if path.startswith(_HERE) or any(name in _TOOL_DIRECTORIES for name in package):
            return False, True, shown
        if installed or path.startswith(self._stdlib):
            return False, False, shown
        return path.startswith(root), False, shown


@dataclass(frozen=True)
class Line:
    """What one line of the reader's code holds: bytes, blocks, and in how many stacks."""

    frame: Frame | None
    size: int
    count: int
    stacks: int
    largest: Location
    estimated: bool
    samples: Samples | None = None

    @property
    def error(self) -> float:
        """Standard error of the size in bytes, 0 when it is exact."""
        return self.samples.error if self.samples else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Bytes between which the true size lies, in 95 of 100 cases."""
        return self.samples.interval(self.size) if self.samples else (self.size, self.size)


def own_frame(frames: Sequence[Frame], paths: Paths) -> Frame | None:
    """The innermost frame in the reader's code, else the innermost shown one, else any, else None."""
    for frame in frames:
        if paths.is_own(frame.filename):
            return frame
    shown = (frame for frame in frames if not paths.is_hidden(frame.filename))
    return next(shown, frames[0] if frames else None)


def is_machinery(frames: Sequence[Frame], paths: Paths) -> bool:
    """True for a stack of nothing but the machinery around a test, and what that calls of the standard
    library: `unittest` and `doctest` run tests, and asyncio runs them for these. True also where pytest
    reports a subtest, which it does from the middle of the test."""
    if any(_reports_a_subtest(frame, paths) for frame in frames):
        return True
    files = {frame.filename for frame in frames}
    hidden = {name for name in files if paths.is_hidden(name)}
    return bool(hidden) and all(paths.is_standard(name) for name in files - hidden)


def _reports_a_subtest(frame: Frame, paths: Paths) -> bool:
    if not paths.is_hidden(frame.filename):
        return False
    # The former of unittest's subtests, the latter of pytest's, with its plugin before version 9.
    parts = frame.filename.split(os.sep)
    return frame.function == "addSubTest" or parts[-1] == "subtests.py" or _SUBTESTS in parts


def by_own_line(locations: Iterable[Location], paths: Paths) -> list[Line]:
    """Locations added up by their own line, largest first."""
    groups: dict[tuple[str, int], list[Location]] = {}
    for location in locations:
        frame = own_frame(location.frames, paths)
        key = (frame.filename, frame.lineno) if frame else ("", 0)
        groups.setdefault(key, []).append(location)
    lines = []
    for group in groups.values():
        largest = max(group, key=lambda location: location.size)
        lines.append(
            Line(
                frame=own_frame(largest.frames, paths),
                size=sum(location.size for location in group),
                count=sum(location.count for location in group),
                stacks=len({location.frames for location in group}),
                largest=largest,
                estimated=any(location.estimated for location in group),
                samples=together(location.samples for location in group),
            )
        )
    lines.sort(key=lambda line: line.size, reverse=True)
    return lines


def limit_sentence(
    limit: int,
    peak: int,
    locations: Iterable[Location],
    paths: Paths,
    *,
    subject: str = "Test",
    largest: Location | None = None,
) -> str:
    """One sentence for a passed limit: the limit, the peak, by how much, and the line that holds most."""
    shown_limit, shown_peak = format_sizes(limit, peak)
    text = f"{subject} was limited to {shown_limit} but allocated {shown_peak}"
    if peak == limit:
        text += " (reaching the limit counts as passing it)"
    elif limit:
        text += f" (+{format_size(peak - limit)}, {peak * 100 // limit}%)"
    return text + blame(locations, peak, paths, largest)


def blame(
    locations: Iterable[Location], total: int, paths: Paths, largest: Location | None = None
) -> str:
    """'; 96% from make_rows (shop/rows.py:31)': the line that holds most of `total` bytes, or ''.

    Of estimates that are too close to tell which line holds most, all are named, up to ten.
    `largest` is the largest block that was sampled, to be named when no sample is left.
    """
    lines = by_own_line(locations, paths)
    if total <= 0:
        return ""
    if says_nothing(lines, total):
        return _largest_block(largest, paths) if largest else ""
    near = leaders(lines)
    named = [
        f"{share(line.size, total, line.estimated)} from {where(line.frame, paths)}"
        for line in near[:_MOST_NAMED]
    ]
    text = " or ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    if len(near) > len(named):
        text += f", and {len(near) - len(named)} more as close"
    return f"; {text}, by few samples" if _are_few(lines[0].samples, total) else f"; {text}"


def leaders(lines: Sequence[Line]) -> Sequence[Line]:
    """Those of `lines` (largest first) that may hold most: the first, and what it does not lead."""
    first = lines[0]
    if first.samples is None:
        return lines[:1]
    return [first] + [
        line
        for line in lines[1:]
        if first.size - line.size < _LEAD * error_of_lead(first.samples, line.samples)
    ]


def _are_few(samples: Samples | None, total: int) -> bool:
    """Whether so few samples divide most of `total` bytes that parts and errors say little."""
    return samples is not None and samples.all < _FEW and samples.size * 2 > total


def says_nothing(lines: Sequence[Line], total: int) -> bool:
    """Whether most of `total` bytes may lie anywhere, as no sample of them is left."""
    if not lines:
        return True
    samples = lines[0].samples
    return samples is not None and samples.all < 1 and samples.size * 2 > total


def _largest_block(largest: Location, paths: Paths) -> str:
    frame = own_frame(largest.frames, paths)
    return (
        "; too few samples to tell from where, the largest sampled block was "
        f"{format_size(largest.size)} from {where(frame, paths)}"
    )


def where(frame: Frame | None, paths: Paths) -> str:
    """'make_rows (shop/rows.py:31)'."""
    if frame is None:
        return NO_FRAME
    return f"{frame.function} ({paths.shown(frame.filename)}:{frame.lineno})"


def share(size: int, total: int, estimated: bool) -> str:
    """`size` as a percentage of `total`, with "~" when it is an estimate."""
    mark = "~" if estimated else ""
    percent = size * 100 / total if total else 0.0
    return f"{mark}<1%" if 0 < percent < 1 else f"{mark}{min(round(percent), 100)}%"


def margin(line: Line, total: int) -> str:
    """' (+-3)': how many per cent of `total` an estimate may be off, in 95 of 100 cases, or ''."""
    low, high = line.interval
    points = round(max(line.size - low, high - line.size) * 100 / total) if total else 0
    return f" (+-{points})" if points else ""


def location_list(
    lines: list[Line],
    total: int,
    paths: Paths,
    *,
    most: int | None = 10,
    frames: int = 1,
) -> str:
    """'- SIZE allocated here: ...' items for own lines, each with its largest stack.

    At most `most` items that hold 1 % or more (None: all items), then how many more. A stack is
    shown at least to its own line, and to `frames` frames when it has as many.
    """
    text = []
    shown = lines
    if most is not None:
        shown = lines[:1] + [line for line in lines[1:most] if line.size * 100 >= total]
    for line in shown:
        text.append(
            f"    - {format_size(line.size)} allocated here: "
            f"{share(line.size, total, line.estimated)}{margin(line, total)}, "
            f"{plural(line.count, 'allocation')}"
            + (f", {line.stacks} stacks, the largest:" if line.stacks > 1 else "")
        )
        text += [f"        {entry}" for entry in stack_lines(line.largest.frames, paths, frames)]
    rest = lines[len(shown) :]
    if rest:
        size = sum(line.size for line in rest)
        text.append(f"    ...and {len(rest)} more, {format_size(size)} together")
    return "\n".join(text)


def stack_lines(frames: Sequence[Frame], paths: Paths, at_least: int = 1) -> list[str]:
    """'function:file:line' for the innermost frames, up to the own line; then '...' when cut."""
    if not frames:
        return [NO_FRAME]
    visible = [frame for frame in frames if not paths.is_hidden(frame.filename)] or frames
    own = next((i for i, frame in enumerate(visible) if paths.is_own(frame.filename)), 0)
    shown = visible[: max(own + 1, at_least)]
    text = [f"{frame.function}:{paths.shown(frame.filename)}:{frame.lineno}" for frame in shown]
    return [*text, "..."] if len(shown) < len(visible) else text


def plural(count: int, noun: str) -> str:
    """'1 block', '2 blocks'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _folder(path: str) -> str:
    return os.path.join(os.path.normpath(path), "")


_HERE = tuple(
    _folder(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), name))
    for name in ("cmemray", "pytest_cmemray")
)
