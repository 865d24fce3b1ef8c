"""Runs the tests that came out differently again: plain and measured in turn, several times, first as
the machine is and then while other processes take its processors away.

A test that is bound by time fails now and then, sooner when it is measured and sooner on a machine
with other work. Counts of both, under both conditions, tell that from a test that is changed by being
measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from bench import measure
from bench.suites import catalog, report

if TYPE_CHECKING:
    from bench.suites.run import Run, Runner

TIMES = 5
#: Most tests of a suite that are run again; what is beyond counts as it came out.
MOST = 200
BUSY = ", busy"
#: By a signal that no process gives itself.
KILLED = "killed by SIGKILL"
#: Processes that do nothing but work, for each processor: a test has a fifth of its usual time.
_CREW = 4
_WORK = "import os\nwhile os.getppid() == {parent}:\n    for i in range(10**6): pass"

#: How often a test came out how: by mode, and by mode + BUSY.
Counts = dict[str, dict[str, int]]


def suspects(runs: Sequence[Run], suite: str, modes: Sequence[str]) -> list[str]:
    """Tests that came out differently among the plain runs, or measured from plain."""
    found = dict.fromkeys(report.unsteady(runs, suite))
    for mode in modes:
        found |= dict.fromkeys(one.test for one in report.differences(runs, suite, mode))
    return list(found)


def counted(runs: Sequence[Run], tests: Sequence[str]) -> dict[str, Counts]:
    """How often each of `tests` came out how, by mode."""
    counts: dict[str, Counts] = {test: {} for test in tests}
    for run in runs:
        for test in tests:
            known = Counter(counts[test].get(run.mode))
            known[run.outcomes.get(test, "absent")] += 1
            counts[test][run.mode] = dict(known)
    return counts


def is_difference(counts: Counts, mode: str) -> bool:
    """Whether a test differs for being measured in `mode`: it never comes out as it does plain, or
    comes out as it never does plain, not even on a busy machine."""
    plain, measured = set(counts["plain"]), set(counts[mode])
    ever_plain = plain | set(counts.get("plain" + BUSY, ()))
    ever_measured = measured | set(counts.get(mode + BUSY, ()))
    return not plain & measured or not ever_measured <= ever_plain


def run_again(
    runner: Runner, suite: catalog.Suite, modes: Sequence[str], tests: Sequence[str], times: int
) -> list[Run]:
    """`tests` alone, `times` times in each of `modes` as the machine is and as often while it is busy.
    All of the suite is collected each time, so that what it imports is there as in a whole run. One
    that is killed from outside says nothing: it is made anew once, then left out."""
    known = {mode.name: mode for mode in catalog.MODES}
    runs = []
    for mark, condition in (("", nullcontext()), (BUSY, busy())):
        with condition:
            for number in range(times):
                for name in measure.rotated(list(modes), number):
                    label = f"again{mark.replace(', ', '-')}-{number}"
                    run = runner.run(suite, known[name], number, only=tests, label=label)
                    if run.ending == KILLED:
                        run = runner.run(suite, known[name], number, only=tests, label=label)
                    run.mode += mark
                    runs += [run] if run.ending != KILLED else []
    return runs


@contextmanager
def busy() -> Iterator[None]:
    """Have every processor shared with other work. That ends with this process in any case."""
    command = [sys.executable, "-c", _WORK.format(parent=os.getpid())]
    crew = [subprocess.Popen(command) for _ in range(_CREW * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in crew:
            process.kill()
            process.wait()


def counts_text(counts: Mapping[str, int] | None) -> str:
    """'4 passed, 1 failed', the most frequent first."""
    ordered = sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{times} {outcome}" for outcome, times in ordered)
