"""What a run of the benchmarks found, as JSON and back."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.report import Row

_LATEST = "latest.json"


@dataclass
class Curve:
    """Something at growing sizes: seconds plain and measured (sums of CPU time by size), own resident
    bytes, bytes tracked and stacks recorded. `mode` is "budgeted" or "exact"."""

    what: str
    mode: str
    unit: str
    sizes: list[int] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    heap: list[float] = field(default_factory=list)
    stacks: list[int] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Measured to plain at each size."""
        return [a / b for a, b in zip(self.measured, self.plain, strict=True)]

    def growth(self) -> float:
        """The ratio at the largest size over that at the smallest."""
        ratios = self.ratios()
        return ratios[-1] / ratios[0]


@dataclass
class Results:
    """All parts of one run; parts that did not run are empty."""

    made: dict[str, str]
    rounds: int
    rows: list[Row] = field(default_factory=list)
    fixed: dict[str, float] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    @classmethod
    def new(cls, rounds: int) -> Results:
        """Nothing yet, on this machine, today."""
        made = {
            "date": time.strftime("%Y-%m-%d"),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()),
        }
        return cls(made, rounds)

    def save(self, folder: Path) -> Path:
        """Write it twice: by time, and as the latest."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1) + "\n"
        (folder / _LATEST).write_text(text)
        path = folder / time.strftime("%Y-%m-%dT%H%M%S.json")
        path.write_text(text)
        return path

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` wrote."""
        said = json.loads(path.read_text())
        said["rows"] = [Row(**row) for row in said["rows"]]
        said["curves"] = [Curve(**curve) for curve in said["curves"]]
        return cls(**said)

    def merged(self, other: Results) -> Results:
        """This, with the parts of `other` that it does not have: parts may come from several runs."""
        names = {row.name for row in self.rows}
        rows = self.rows + [row for row in other.rows if row.name not in names]
        fixed = self.fixed or other.fixed
        return Results(self.made, self.rounds, rows, fixed, self.curves or other.curves)
