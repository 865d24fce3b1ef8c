"""The table of instructions per event: what is kept, and how a count is judged. Pure but for reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).with_name("table.json")
#: A count may change by this share of what is kept before it is a breach.
CHANGE = 0.10
#: And by so many instructions: a tenth of next to nothing is noise.
SLACK = 2.0

Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Changed:
    """An event that takes more than the table allows, so much less that the table would let it grow
    back unseen, or is not in it."""

    event: str
    kept: float | None
    counted: float

    def __str__(self) -> str:
        if self.kept is None:
            return f"{self.event}: {self.counted:.1f} instructions, not in the table"
        return (
            f"{self.event}: {self.counted:.1f} instructions, {self.kept:.1f} in the table"
            f" ({self.counted / self.kept - 1:+.0%})"
        )


def load(path: Path = PATH) -> Table:
    """Key -> event -> instructions."""
    table: Table = json.loads(path.read_text()) if path.exists() else {}
    return table


def save(table: Table, path: Path = PATH) -> None:
    """Keys in order, events in the order in which they are counted."""
    rounded = {
        key: {event: round(n, 1) for event, n in table[key].items()} for key in sorted(table)
    }
    path.write_text(json.dumps(rounded, indent=2) + "\n")


def changed(kept: Mapping[str, float], counted: Mapping[str, float]) -> list[Changed]:
    """Events that take too much now, or far less than the table says, and those that it does not know."""
    found = []
    for event, n in counted.items():
        before = kept.get(event)
        if before is None or abs(n - before) > max(CHANGE * abs(before), SLACK):
            found.append(Changed(event, before, n))
    return found


def text(kept: Mapping[str, float], counted: Mapping[str, float]) -> str:
    """One line per event: counted, kept, how it changed."""
    width = max(map(len, counted), default=0)
    lines = [f"  {'event':<{width}}{'now':>10}{'table':>10}"]
    for event, n in counted.items():
        before = kept.get(event)
        lines.append(f"  {event:<{width}}{n:10.1f}")
        lines[-1] += (
            f"{before:10.1f}{_change(before, n):>9}" if before is not None else f"{'-':>10}"
        )
    gone = [event for event in kept if event not in counted]
    return "\n".join(lines + [f"  {event}: in the table, not counted" for event in gone])


def _change(before: float, now: float) -> str:
    return f"{now / before - 1:+.0%}" if abs(before) >= 1 else ""
