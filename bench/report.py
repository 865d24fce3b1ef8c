"""The one table: what rows and columns there are, and how they are written. Pure."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from bench import measure

MIB = 2**20


@dataclass(frozen=True)
class Column:
    """One way of measuring: its name in the table, and its mode in programs and in suites ("": it does
    not apply there)."""

    key: str
    title: str
    program: str
    suite: str

    def mode(self, group: str) -> str:
        return self.suite if group == SUITES else self.program


SUITES = "suites"
COLUMNS = (
    Column("again", "plain again", "again", ""),
    Column("twice", "limit 2x peak", "budgeted", "twice"),
    Column("far", "far limit", "far", "limit"),
    Column("exact", "exact (leaks)", "exact", "leaks"),
    Column("system", "basis system", "system", "system"),
    Column("measured", "--memray", "", "memray"),
    Column("peer", "memray", "memray", "peer-memray"),
    Column("peer-python", "memray, Python", "memray-python", "peer-python"),
    Column("peer-leaks", "memray, leaks", "memray-leaks", "peer-leaks"),
    Column("tracemalloc", "tracemalloc", "tracemalloc", "tracemalloc"),
)
OURS = ("twice", "far", "exact", "system", "measured")


@dataclass
class Row:
    """A program or a suite: mode -> one number for each round, None where it did not run."""

    name: str
    group: str
    seconds: dict[str, list[float | None]] = field(default_factory=dict)
    grown: dict[str, list[float | None]] = field(default_factory=dict)
    #: How a mode ended that did not end well.
    endings: dict[str, str] = field(default_factory=dict)
    #: Largest requested bytes of a program; 0: not known.
    peak: int = 0
    #: Of a suite: tests, and by mode how many came out differently by mistake.
    tests: int = 0
    differ: dict[str, int] = field(default_factory=dict)

    def add(
        self, mode: str, number: int, seconds: float | None, grown: float | None, ending: str
    ) -> None:
        """What one run of round `number` took; seconds None when it did not end."""
        for kept, value in ((self.seconds, seconds), (self.grown, grown)):
            values = kept.setdefault(mode, [])
            values += [None] * (number + 1 - len(values))
            values[number] = value
        if ending:
            self.endings[mode] = ending

    def ratio(self, mode: str) -> measure.Ratio | None:
        """Of `mode` to plain."""
        return measure.ratio(self.seconds.get(mode, ()), self.seconds.get("plain", ()))

    def cell(self, mode: str, spread: bool = True) -> str:
        """The ratio with its extremes, how it failed, or "-"."""
        if not mode or mode not in self.seconds:
            return "-"
        ratio = self.ratio(mode)
        if ratio is None or mode in self.endings:
            return self.endings.get(mode, "-")
        return str(ratio).strip() if spread else f"{ratio.median:.2f}"

    def plain(self) -> float:
        """Median seconds of plain."""
        seconds = [one for one in self.seconds.get("plain", ()) if one is not None]
        return statistics.median(seconds) if seconds else math.nan

    def own_memory(self, mode: str) -> float | None:
        """Resident bytes above plain's growth; None when unknown."""
        both = [self.grown.get(name, ()) for name in (mode, "plain")]
        known = [[one for one in values if one is not None] for values in both]
        if not all(known):
            return None
        return max(statistics.median(known[0]) - statistics.median(known[1]), 0.0)

    def line(self, modes: Sequence[str]) -> str:
        """For the log, while it runs."""
        parts = [f"{mode} {self.cell(mode, spread=False)}" for mode in modes if mode != "plain"]
        return f"plain {self.plain():.2f} s, " + ", ".join(parts)

    def completed(self, older: Row) -> Row:
        """This, with the modes that only `older` has. They are later rounds, each beside its own plain."""
        missing = [mode for mode in older.seconds if mode not in self.seconds]
        if not missing:
            return self
        whole = copy.deepcopy(self)
        begin = len(whole.seconds.get("plain", ()))
        for mode in ("plain", *missing):
            pairs = zip(older.seconds.get(mode, ()), older.grown.get(mode, ()), strict=True)
            for number, (seconds, grown) in enumerate(pairs, begin):
                whole.add(mode, number, seconds, grown, older.endings.get(mode, ""))
        whole.differ = {**older.differ, **whole.differ}
        return whole

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def groups_of(rows: Sequence[Row]) -> list[str]:
    """Groups in order of appearance."""
    return list(dict.fromkeys(row.group for row in rows))


def ratios(rows: Sequence[Row], column: Column, group: str) -> list[float]:
    """The medians of a column in a group, of rows where there is one."""
    found = (row.ratio(column.mode(group)) for row in _ended(rows, column, group))
    return [ratio.median for ratio in found if ratio is not None]


def _ended(rows: Sequence[Row], column: Column, group: str) -> list[Row]:
    mode = column.mode(group)
    return [row for row in rows if row.group == group and mode and mode not in row.endings]


Figures = Callable[[Sequence[Row], Column, str], list[float]]
Summary = Callable[[Sequence[float]], float]
#: What stands below the rows of a group.
_SUMMARIES: tuple[tuple[str, Figures, Summary], ...] = (
    ("geometric mean", ratios, measure.mean),
    ("worst", ratios, max),
)


def lines(
    rows: Sequence[Row], columns: Sequence[Column], spread: bool = True
) -> list[tuple[str, list[list[str]]]]:
    """Group -> lines of cells: each row, then geometric mean and worst."""
    found = []
    for group in groups_of(rows):
        body = [
            [
                row.name,
                f"{row.plain():.3f}",
                *(row.cell(column.mode(group), spread) for column in columns),
            ]
            for row in rows
            if row.group == group
        ]
        for name, figures, summary in _SUMMARIES if len(body) > 1 else ():
            cells = []
            for column in columns:
                known = figures(rows, column, group)
                cells.append(f"{summary(known):.2f}" if known else "-")
            body.append([f"{group}, {name}", "", *cells])
        found.append((group, body))
    return found


def table(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """The table as text."""
    head = ["", "plain s", *(column.title for column in columns)]
    groups = lines(rows, columns)
    every = [head, *(line for _, body in groups for line in body)]
    widths = [max(len(line[i]) for line in every) for i in range(len(head))]
    text = ["CPU time, ratio to plain in the same round: median [lowest-highest]", ""]
    text.append(_joined(head, widths))
    for _, body in groups:
        text += ["", *(_joined(line, widths) for line in body)]
    failed = [
        f"{row.name}, {mode}: {ending}" for row in rows for mode, ending in row.endings.items()
    ]
    if failed:
        text += ["", "did not end well: " + "; ".join(failed)]
    differ = [f"{row.name}, {mode}: {n}" for row in rows for mode, n in row.differ.items() if n > 0]
    if differ:
        text += ["", "tests that come out differently: " + "; ".join(differ)]
    return "\n".join(text)


def memory_lines(rows: Sequence[Row], modes: Sequence[str]) -> list[list[str]]:
    """Programs whose peak is worth a share: MiB, and own memory of each mode."""
    found = []
    for row in rows:
        if row.peak < MIB:
            continue
        cells = []
        for mode in modes:
            own = row.own_memory(mode)
            cells.append("-" if own is None else f"{own / MIB:.1f} ({own / row.peak:.0%})")
        found.append([row.name, f"{row.peak / MIB:.1f}", *cells])
    return found


def memory_table(rows: Sequence[Row], modes: Sequence[str]) -> str:
    """Own memory of each mode: resident growth above plain's, and as a share of the program's peak."""
    modes = [mode for mode in modes if mode != "plain"]
    head = ["", "peak MiB", *modes]
    body = memory_lines(rows, modes)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    text = ["Own memory, MiB (share of the program's peak in requested bytes)", ""]
    return "\n".join([*text, *(_joined(line, widths) for line in [head, *body])])


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = f"  {cells[0]:<{widths[0]}}"
    return first + "".join(
        f"  {cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)
    )
