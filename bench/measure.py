"""Processor time of whole processes, and what several rounds of it say."""

from __future__ import annotations

import math
import os
import signal
import statistics
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """A process that ended: status as subprocess has it, user + system seconds of it and of the
    children it waited for, its largest resident size in bytes, and whether it was cut off."""

    status: int
    seconds: float
    resident: int
    cut_off: bool

    @property
    def ending(self) -> str:
        """'exit 1', 'killed by SIGSEGV' or 'cut off'."""
        return "cut off" if self.cut_off else ending_of(self.status)


def ending_of(status: int) -> str:
    """The same, of a status that subprocess gave."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit {status}"


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path,
    timeout: float,
) -> Finished:
    """Run `command` with its output in `log`, and say what it cost.

    The time is that of wait4: exact, and of that process alone, whatever else the machine does.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment) if environment is not None else None,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        late = threading.Event()

        def cut() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(timeout, cut)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Finished(
        status=process.returncode,
        seconds=usage.ru_utime + usage.ru_stime,
        resident=usage.ru_maxrss * 1024,
        cut_off=late.is_set(),
    )


@dataclass(frozen=True)
class Ratio:
    """Rounds of one thing divided by the same rounds of another: the median and the extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:5.2f} [{self.low:.2f}-{self.high:.2f}]"


def ratio(rounds: Sequence[float | None], of: Sequence[float | None]) -> Ratio | None:
    """Each round against the same round of `of`, so that a slow minute weighs on both. None where one
    of them did not run; None altogether when no round has both."""
    each = [a / b for a, b in zip(rounds, of, strict=False) if a is not None and b]
    return Ratio(statistics.median(each), min(each), max(each)) if each else None


def mean(ratios: Sequence[float]) -> float:
    """The geometric mean; NaN of nothing."""
    return math.exp(statistics.fmean(map(math.log, ratios))) if ratios else math.nan


def rotated(things: Sequence[str], step: int) -> list[str]:
    """`things` from another start in every round: none is always the one after the heaviest."""
    step %= max(len(things), 1)
    return [*things[step:], *things[:step]]
