"""What was aimed at, beside what was measured. Pure functions over results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import report
from bench.report import COLUMNS, MIB, OURS, SUITES, Row

_OURS = [column for column in COLUMNS if column.key in OURS]
_COLUMN = {column.key: column for column in COLUMNS}
#: Bytes that a measurement may take whatever it measures, and for each distinct stack.
FIXED_BYTES = 8_000_000
BYTES_PER_STACK = 128
SHARES = {"budgeted": 0.15, "far": 0.15, "exact": 0.50}


@dataclass(frozen=True)
class Bar:
    """One bar: what is judged, how much is allowed, what was found, where it is worst."""

    what: str
    allowed: float
    found: float | None
    unit: str = ""
    where: str = ""

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        return "met" if self.found <= self.allowed else "NOT MET"

    def cells(self) -> list[str]:
        """What, allowed, found, verdict."""
        unit = f" {self.unit}" if self.unit else ""
        found = "-" if self.found is None else f"{_figure(self.found)}{unit}"
        if self.where:
            found += f" ({self.where})"
        return [self.what, f"{_figure(self.allowed)}{unit}", found, self.verdict]


def _figure(number: float) -> str:
    return f"{number:.2f}" if abs(number) < 100 else f"{number:.0f}"


def judged(rows: Sequence[Row], fixed: Mapping[str, float], scale: Sequence[Bar] = ()) -> list[Bar]:
    """All bars, in the order of the design."""
    return [
        Bar("plugin installed, nothing measured", 1.01, fixed.get("installed ratio")),
        *_suites(rows),
        *_programs(rows),
        *_fixed(fixed),
        *_memory(rows),
        *scale,
    ]


def text(bars: Sequence[Bar]) -> str:
    """A line for each."""
    body = [["bar", "allowed", "measured", ""], *(bar.cells() for bar in bars)]
    widths = [max(len(line[i]) for line in body) for i in range(4)]
    return "\n".join(
        "  "
        + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in body
    )


def _worst(
    rows: Sequence[Row], keys: Sequence[str], groups: Sequence[str]
) -> tuple[float, str] | None:
    found = [
        (ratio.median, f"{row.name}, {_COLUMN[key].title}")
        for row in rows
        for key in keys
        if row.group in groups and (mode := _COLUMN[key].mode(row.group))
        if (ratio := row.ratio(mode)) is not None and mode not in row.endings
    ]
    return max(found, default=None)


def _mean(rows: Sequence[Row], key: str, group: str, what: str, allowed: float) -> Bar:
    known = report.ratios(rows, _COLUMN[key], group)
    return Bar(what, allowed, report.measure.mean(known) if known else None)


def _suites(rows: Sequence[Row]) -> Iterator[Bar]:
    for key in ("twice", "far"):
        title = f"suites, every test under limit_memory, {_COLUMN[key].title}"
        yield _mean(rows, key, SUITES, f"{title}, geometric mean", 1.06)
        worst = _worst(rows, (key,), (SUITES,))
        yield Bar(f"{title}, worst", 1.20, *_found(worst))


def _found(worst: tuple[float, str] | None) -> tuple[float | None, str, str]:
    return (worst[0], "", worst[1]) if worst else (None, "", "")


def _programs(rows: Sequence[Row]) -> Iterator[Bar]:
    for key, allowed in (("twice", 1.12), ("far", 1.12), ("exact", 1.40), ("system", 1.04)):
        what = f"allocating programs, {_COLUMN[key].title}, geometric mean"
        yield _mean(rows, key, "allocating", what, allowed)
    deep = _worst([row for row in rows if row.name == "deep 400"], ("exact",), ("extreme",))
    yield Bar("exact at 400 frames", 4.0, *_found(deep))
    worst = _worst(rows, [column.key for column in _OURS], ("calling",))
    yield Bar("call-heavy programs, every mode, worst", 1.02, *_found(worst))


def _fixed(fixed: Mapping[str, float]) -> Iterator[Bar]:
    for what, allowed, unit, key in (
        ("start and stop, 200 more objects loaded", 50.0, "us", "ours, 200 objects"),
        ("the first one: import and patching", 20.0, "ms", "ours, first"),
        ("the plugin, per trivial test with a limit", 0.10, "ms", "per test ms, limit"),
        ("memory over plain pytest's, per passing test", 200.0, "B", "bytes per test"),
        (
            "controlling process's memory over plain pytest's, per passing test",
            200.0,
            "B",
            "controller bytes per test",
        ),
        ("report data over plain pytest's, per passing test", 2048.0, "B", "report bytes"),
    ):
        yield Bar(what, allowed, fixed.get(key), unit)


def own_share(own: float, heap: float, stacks: int = 0) -> float:
    """The part of `own` that the fixed allowance does not cover, as a share of the tracked heap."""
    return max(own - FIXED_BYTES - BYTES_PER_STACK * stacks, 0.0) / heap


def _memory(rows: Sequence[Row]) -> Iterator[Bar]:
    for mode, allowed in SHARES.items():
        shares = [
            (own_share(own, row.peak), row.name)
            for row in rows
            if row.peak >= MIB and (own := row.own_memory(mode)) is not None
        ]
        what = f"own memory above 8 MB, share of the peak, {mode}, worst program"
        yield Bar(what, allowed, *_found(max(shares, default=None)))
