"""Drives the tracker around one test body, and turns what it measured into text and data.

Imported when the first test is measured: it loads the compiled core. What only few tests need is
imported when one does.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import cmemray
from pytest_cmemray.markers import Plan
from pytest_cmemray.options import Settings
from pytest_cmemray.transport import MOST_SITES, Data

if TYPE_CHECKING:
    from cmemray import explain
    from pytest_cmemray import sections, verdict


#: More than any peak.
_ENDLESS = 1 << 62


class MemoryProblem(cmemray.LimitExceeded):
    """A test did not keep what its memory markers ask for. The text is one sentence for each."""

    def __init__(self, problems: Sequence[sections.Problem]) -> None:
        super().__init__("\n".join(problem.sentence for problem in problems))
        self.problems = list(problems)


class Kit:
    """What measuring the tests of one plan takes, made once: checked measurements to copy."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan = plan
        self.settings = settings
        self.leaks = self._leak_template()
        self.peak = None if self._shares() else self._peak_template()
        #: Nothing but the numbers of one measurement decides whether the test kept its limits.
        self.is_plain = plan.objects is None and (self.leaks is None or self.peak is None)
        #: Limits of the peak and of what is left; None for none.
        self.limit = plan.limit
        #: The least peak that may have to be explained.
        self.locate_from = _ENDLESS if plan.limit is None else plan.limit
        self.leak_limit = plan.leaks.limit if plan.leaks is not None else None

    def run(self, nodeid: str, locate_from: int) -> Run:
        """For one test; lines are of interest for peaks from `locate_from` bytes only."""
        peak = leaks = None
        if self.leaks is not None:
            leaks = self.leaks.again(seed=nodeid)
        if self.peak is not None:
            peak = self.peak.again(seed=nodeid, locate_from=locate_from)
        return Run(self, peak or leaks, leaks)

    def _leak_template(self) -> Any:
        leaks = self.plan.leaks
        if leaks is None:
            return None
        # In basis system the peer counts Python's objects one by one for leaks, whatever is set.
        return cmemray.measure(
            limit=self.plan.limit if self._shares() else None,
            basis=self.settings.basis,
            attribution="exact",
            threads=leaks.threads,
            trace_python_allocators=self._leaks_trace(),
            collect=leaks.limit,
        )

    def _peak_template(self) -> Any:
        memory = self.plan.memory
        return cmemray.measure(
            limit=self.plan.limit,
            basis=self.settings.basis,
            attribution=memory.attribution if memory else self.settings.attribution,
            threads=memory.threads if memory else self.settings.threads,
            trace_python_allocators=self.settings.trace_python_allocators,
            # A test that is judged by its peak alone is not to wait for what others might leave.
            collect=None,
        )

    def _shares(self) -> bool:
        """True when leaks and peak are read from one measurement."""
        leaks, memory = self.plan.leaks, self.plan.memory
        if leaks is None:
            return False
        threads = memory.threads if memory else self.settings.threads
        trace = self.settings.trace_python_allocators
        return threads == leaks.threads and trace == self._leaks_trace()

    def _leaks_trace(self) -> bool:
        return self.settings.trace_python_allocators or self.settings.basis == "system"


class Run:
    """One measured test body. start() and stop() enclose it; then either judge() or excuse()."""

    __slots__ = ("_leaks", "_survivors", "_tracer", "figures", "kit", "numbers")

    def __init__(self, kit: Kit, peak: Any, leaks: Any) -> None:
        self.kit = kit
        #: What was measured for the peak.
        self.numbers = peak
        self._leaks = leaks
        self._tracer = None if kit.plan.objects is None else cmemray.track_objects()
        self._survivors: list[Any] = []
        #: Of the peak's measurement, after stop(): see `cmemray.measure`.
        self.figures: tuple[int, int, int, int, int, bool] = (0, 0, 0, 0, 0, False)

    @property
    def in_child(self) -> bool:
        """True in a child process that a measured test forked, and which runs on here."""
        return bool(self.numbers.is_forked)

    def start(self, root: FrameType) -> None:
        """Begin; `root` is a frame that outlives the measurement: stacks end above it."""
        if self.kit.is_plain:
            self.numbers.root = root
            self.numbers.start()
            return
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
        self.numbers.stop()
        if not self.kit.is_plain:
            if self._leaks is not None:
                self._leaks.stop()
            if self._tracer is not None:
                _collect()
                self._survivors = self._tracer.stop()
        self.figures = self.numbers.figures

    def kept_its_limits(self) -> bool:
        """True when the numbers alone say that there is nothing to say; else judge() decides."""
        kit = self.kit
        peak, _, _, left, _, more = self.figures
        return (
            kit.is_plain
            and not more
            and (kit.limit is None or peak < kit.limit)
            and (kit.leak_limit is None or left < kit.leak_limit)
        )

    def judge(self, before: int | None, paths: explain.Paths) -> list[sections.Problem]:
        """What is wrong with a test that passed otherwise; `before` is the peak not to exceed."""
        from pytest_cmemray import sections, verdict

        plan, style = self.kit.plan, self._style()
        findings = [verdict.judge_memory(plan, self.numbers, before)]
        if self._leaks is not None:
            findings.append(verdict.judge_leaks(plan, self._leaks, paths))
        found = [finding for finding in findings if finding is not None]
        if len(found) == 2 and all(isinstance(one, verdict.Incomplete) for one in found):
            found.pop()
        problems = [sections.describe(finding, paths, style) for finding in found]
        if plan.objects is not None:
            from pytest_cmemray import leaked_objects

            survivors = leaked_objects.kept(self._survivors, plan.objects.filter_fn, paths)
            if survivors:
                problems.append(leaked_objects.describe(survivors, paths, style))
            del survivors
        return problems

    def excuse(self, paths: explain.Paths) -> list[sections.Problem]:
        """What is wrong with the peak of a test that failed or skipped by itself; not enforced.

        What it left behind is not judged: its exception keeps the variables of every frame alive.
        """
        from pytest_cmemray import sections, verdict

        finding = verdict.judge_memory(self.kit.plan, self.numbers, None)
        return [] if finding is None else [sections.describe(finding, paths, self._style())]

    def notes(self) -> list[str]:
        """What has to be said besides the verdict."""
        if not self.figures[5]:
            return []
        from pytest_cmemray import verdict

        return verdict.notes(self.kit.plan, self.numbers)

    def judged(self) -> int:
        """The peak that limits are compared with."""
        if not self.figures[5]:
            return self.figures[0]
        from pytest_cmemray import verdict

        return verdict.judged_peak(self.numbers)

    def add_numbers(self, data: Data) -> None:
        """The numbers that travel with the report of a test that is shown."""
        data["peak"], data["total"], data["count"], _, collecting, _ = self.figures
        if self.kit.limit is not None:
            data["limit"] = self.kit.limit
            data["judged"] = self.judged()
        if collecting:
            data["gc"] = collecting

    def sites(self, paths: explain.Paths) -> list[tuple[str, int, bool]]:
        """The lines that held the peak."""
        return _sites(self.numbers, paths)

    def release(self) -> None:
        """Let go of everything that belongs to the test."""
        self._survivors = []

    def _style(self) -> sections.Style:
        from pytest_cmemray import sections

        return sections.Style(self.kit.settings.verbosity, self.kit.settings.stacks)

    def _regions(self) -> list[Any]:
        if self._leaks is None or self._leaks is self.numbers:
            return [self.numbers]
        return [self.numbers, self._leaks]


def _sites(numbers: verdict.Measured, paths: explain.Paths) -> list[tuple[str, int, bool]]:
    from cmemray import explain
    from pytest_cmemray import verdict

    sites: list[tuple[str, int, bool]] = []
    for line in explain.by_own_line(verdict.at_peak(numbers) or [], paths)[:MOST_SITES]:
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
