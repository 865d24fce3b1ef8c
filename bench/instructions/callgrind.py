"""Runs a program under callgrind and says what each marked stretch of it took.

A program marks the end of a stretch by calling getpriority(), a function of the C library that
nothing else calls, where callgrind is told to dump and to begin again at 0. For each mark the program
prints a line: "NAME<tab>TURNS", or "-" for a stretch that does not count. A name comes twice, with
different TURNS: the difference is what so many turns took, without the beginning and the end.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


class CountingError(Exception):
    """The program could not be run, or did not say what it did."""


def why_not() -> str:
    """Why nothing can be counted here; empty when it can."""
    return "" if shutil.which("valgrind") else "valgrind is not installed"


def count(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Instructions per turn of everything that the program of `command` names."""
    return per_turn(*stretches(command, environment))


def stretches(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[list[str], list[int]]:
    """What the program of `command` printed for each mark, and the instructions up to there."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        done = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"),
                *("--dump-before=getpriority", *command),
            ],
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise CountingError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
        labels = done.stdout.splitlines()
        if not labels:
            raise CountingError(f"{' '.join(command)} printed nothing\n{done.stderr}")
        return labels, [_total(out.with_name(f"out.{i + 1}")) for i in range(len(labels))]


def per_turn(labels: Sequence[str], totals: Sequence[int]) -> dict[str, float]:
    """What the stretches say: name -> instructions per turn, in order of appearance."""
    seen: dict[str, tuple[int, int]] = {}
    counts: dict[str, float] = {}
    for label, total in zip(labels, totals, strict=True):
        name, tab, turns = label.partition("\t")
        if not tab:
            continue
        if name not in seen:
            seen[name] = (int(turns), total)
            continue
        first_turns, first_total = seen[name]
        counts[name] = (total - first_total) / (int(turns) - first_turns)
    once = set(seen) - set(counts)
    if once:
        raise CountingError(f"came only once: {', '.join(sorted(once))}")
    return counts


def above_plain(counts: Mapping[str, float]) -> dict[str, float]:
    """Each "EVENT: WAY" less "EVENT: plain", so that what the C library and the interpreter take by
    themselves, in their versions, is left out. Names without a plain form stay as they are."""
    found = {}
    for name, n in counts.items():
        event, colon, way = name.rpartition(": ")
        plain = counts.get(f"{event}: plain") if colon else None
        if way != "plain" or not colon:
            found[name] = n - (plain or 0)
    return found


def _total(path: Path) -> int:
    try:
        found = _TOTALS.findall(path.read_text())
    except OSError as error:
        raise CountingError(f"valgrind made fewer dumps than there were marks: {error}") from error
    return int(found[-1])
