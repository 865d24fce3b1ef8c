"""What a run of the benchmarks found, as JSON and back."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.report import SUITES, Row

LATEST = "latest.json"


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
    #: CPython and build -> number of threads -> limit and exact, processor time and time passed
    #: (bench/threads.py).
    threads: dict[str, dict[str, list[str]]] = field(default_factory=dict)

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
        self.save_as(folder / LATEST)
        path = folder / time.strftime("%Y-%m-%dT%H%M%S.json")
        self.save_as(path)
        return path

    def save_as(self, path: Path) -> None:
        """Write it, numbers with six digits."""
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` wrote."""
        said = json.loads(path.read_text())
        said["rows"] = [Row(**row) for row in said["rows"]]
        said["curves"] = [Curve(**curve) for curve in said["curves"]]
        return cls(**said)

    def merged(self, older: Results) -> Results:
        """This, with what `older` has and this has not: parts and modes may come from several runs."""
        groups = {row.group for row in self.rows} - {SUITES}  # of suites some may have been chosen
        before = {(row.group, row.name): row for row in older.rows}
        found = {key: row for key, row in before.items() if key[0] not in groups}
        for row in self.rows:
            key = (row.group, row.name)
            found[key] = row.completed(before[key]) if key in before else row
        rows = list(found.values())
        order = ("allocating", "calling", "extreme", SUITES)
        rows.sort(key=lambda row: order.index(row.group))
        curves = {(curve.what, curve.mode): curve for curve in (*older.curves, *self.curves)}
        fixed = {**older.fixed, **self.fixed}
        threads = {**older.threads, **self.threads}
        rounds = max(self.rounds, older.rounds)
        return Results(self.made, rounds, rows, fixed, list(curves.values()), threads)


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
