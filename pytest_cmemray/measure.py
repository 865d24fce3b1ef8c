"""Drives the tracker around one test body, and turns what it measured into text and data.

Imported when the first test is measured: it loads the compiled core.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import cmemray
from cmemray import explain
from pytest_cmemray import leaked_objects, sections, verdict
from pytest_cmemray.markers import Plan
from pytest_cmemray.options import Settings
from pytest_cmemray.transport import MOST_SITES, Data


class MemoryProblem(cmemray.LimitExceeded):
    """A test did not keep what its memory markers ask for. The text is one sentence for each."""

    def __init__(self, problems: list[sections.Problem]) -> None:
        super().__init__("\n".join(problem.sentence for problem in problems))
        self.problems = problems


@dataclass
class Outcome:
    """What a measured test leaves behind for its report; no object of the test is kept."""

    data: Data
    problems: list[sections.Problem] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def fail(self, problems: list[sections.Problem]) -> None:
        """Note the problems that the test is about to fail with."""
        self.problems = problems
        self.texts = [(problem.title, problem.section) for problem in problems]
        first = problems[0]
        self.data["problem"] = first.sentence
        if first.path is not None:
            self.data["path"], self.data["line"] = first.path, first.line


class Run:
    """One measured test body. start() and stop() enclose it; then either judge() or excuse()."""

    def __init__(self, nodeid: str, plan: Plan, settings: Settings) -> None:
        self._plan = plan
        self._settings = settings
        self._seed = nodeid
        self._pid = os.getpid()
        self._tracer = cmemray.track_objects() if plan.objects else None
        self._survivors: list[Any] = []
        self._leaks = self._leak_region()
        self._peak = self._leaks if self._shares_region() else self._peak_region()

    @property
    def numbers(self) -> verdict.Measured:
        """What was measured for the peak."""
        measured: verdict.Measured = self._peak
        return measured

    @property
    def in_child(self) -> bool:
        """True in a child process that a measured test forked, and which runs on here."""
        return os.getpid() != self._pid

    def start(self, root: FrameType) -> None:
        """Begin; `root` is a frame that outlives the measurement: stacks end above it."""
        if self._tracer is not None:
            _collect()
            self._tracer.start(root)
        started: list[Any] = []
        try:
            for region in self._regions():
                region.root = root
                region.start()
                started.append(region)
        except BaseException:
            for region in started:
                region.stop()
            if self._tracer is not None:
                self._tracer.stop()
            raise

    def stop(self) -> None:
        """End. Objects that survive are found after a full collection."""
        # The region with the peak first: collecting for leaks is not the test's doing.
        for region in self._regions():
            region.stop()
        if self._tracer is not None:
            _collect()
            self._survivors = self._tracer.stop()

    def judge(self, before: int | None, paths: explain.Paths) -> list[sections.Problem]:
        """What is wrong with a test that passed otherwise; `before` is the peak not to exceed."""
        findings = [verdict.judge_memory(self._plan, self._peak, before)]
        if self._leaks is not None:
            findings.append(verdict.judge_leaks(self._plan, self._leaks, paths))
        style = sections.Style(self._settings.verbosity, self._settings.stacks)
        found = [finding for finding in findings if finding is not None]
        if len(found) == 2 and all(isinstance(one, verdict.Incomplete) for one in found):
            found.pop()
        problems = [sections.describe(finding, paths, style) for finding in found]
        if self._plan.objects is not None:
            survivors = leaked_objects.kept(self._survivors, self._plan.objects.filter_fn, paths)
            if survivors:
                problems.append(leaked_objects.describe(survivors, paths, style))
            del survivors
        return problems

    def excuse(self, paths: explain.Paths) -> list[sections.Problem]:
        """What is wrong with the peak of a test that failed or skipped by itself; not enforced.

        What it left behind is not judged: its exception keeps the variables of every frame alive.
        """
        finding = verdict.judge_memory(self._plan, self._peak, None)
        if finding is None:
            return []
        style = sections.Style(self._settings.verbosity, self._settings.stacks)
        return [sections.describe(finding, paths, style)]

    def data(self, before: int | None, paths: explain.Paths, with_sites: bool) -> Data:
        """The numbers that travel with the report."""
        numbers = self._peak
        data: Data = {"peak": numbers.peak, "total": numbers.total, "count": numbers.count}
        if self._plan.limit is not None:
            data["limit"] = self._plan.limit
            data["judged"] = verdict.judged_peak(numbers)
        if before is not None:
            data["was"] = before
        collected = round(numbers.collection_time * 1e6)
        if collected:
            data["gc"] = collected
        if with_sites:
            data["sites"] = _sites(numbers, paths)
        notes = verdict.notes(self._plan, numbers)
        if notes:
            data["notes"] = notes
        return data

    def release(self) -> None:
        """Let go of everything that belongs to the test."""
        self._survivors = []

    def _leak_region(self) -> Any:
        if self._plan.leaks is None:
            return None
        # In basis system the peer counts Python's objects one by one for leaks, whatever is set.
        return cmemray.measure(
            limit=self._plan.limit if self._shares_region() else None,
            basis=self._settings.basis,
            attribution="exact",
            threads=self._plan.leaks.threads,
            trace_python_allocators=self._leaks_trace(),
            seed=self._seed,
            collect=self._plan.leaks.limit,
        )

    def _peak_region(self) -> Any:
        memory = self._plan.memory
        return cmemray.measure(
            limit=self._plan.limit,
            basis=self._settings.basis,
            attribution=memory.attribution if memory else self._settings.attribution,
            threads=memory.threads if memory else self._settings.threads,
            trace_python_allocators=self._settings.trace_python_allocators,
            seed=self._seed,
        )

    def _shares_region(self) -> bool:
        """True when leaks and peak are read from one region."""
        leaks, memory = self._plan.leaks, self._plan.memory
        if leaks is None:
            return False
        threads = memory.threads if memory else self._settings.threads
        trace = self._settings.trace_python_allocators
        return threads == leaks.threads and trace == self._leaks_trace()

    def _leaks_trace(self) -> bool:
        return self._settings.trace_python_allocators or self._settings.basis == "system"

    def _regions(self) -> list[Any]:
        if self._leaks is None or self._leaks is self._peak:
            return [self._peak]
        return [self._peak, self._leaks]


def _sites(numbers: verdict.Measured, paths: explain.Paths) -> list[tuple[str, int, bool]]:
    sites: list[tuple[str, int, bool]] = []
    for line in explain.by_own_line(numbers.locations_at_peak(), paths)[:MOST_SITES]:
        if sites and line.size * 100 < numbers.peak:
            break
        if explain.is_machinery(line.largest.frames, paths):
            continue
        frame = line.frame
        where = explain.NO_FRAME
        if frame is not None:
            where = f"{frame.function}:{paths.shown(frame.filename)}:{frame.lineno}"
        sites.append((where, line.size, line.estimated))
    return sites


def _collect() -> None:
    gc.collect()
    clear: Callable[[], None] | None = getattr(sys, "_clear_internal_caches", None)
    if clear is not None:
        clear()
