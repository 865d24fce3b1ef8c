"""One pytest run: its settings, its plans, the measuring of each test, and what the end shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_cmemray import transport
from pytest_cmemray.baseline import Baseline
from pytest_cmemray.markers import MarkerError, Plan, Planner
from pytest_cmemray.options import Settings
from pytest_cmemray.outputs import junit
from pytest_cmemray.results import Largest, Results

if TYPE_CHECKING:
    from cmemray.explain import Paths
    from pytest_cmemray.measure import Outcome, Run
    from pytest_cmemray.sections import Problem

SESSION = pytest.StashKey["Session"]()
_GAPS = "cmemray_gaps"
_OUTCOME = pytest.StashKey["Outcome"]()
_UNMEASURED = "not measured: its plugin ran it past pytest's own hooks"


class Session:
    """State of a run, in the process that runs tests and in the one that reports them."""

    def __init__(
        self, config: pytest.Config, settings: Settings, reports: Callable[[Session], object]
    ) -> None:
        self.settings = settings
        self.results = Results(settings.most_allocations)
        #: What is wrong with the markers of a test, by its id.
        self.marker_errors: dict[str, str] = {}
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._reports: Callable[[Session], object] | None = reports
        self._planner = Planner(settings)
        self._expected: set[str] = set()
        self._baseline = Baseline(config, settings)
        # Where the memory was is only looked up for tests that the report may show.
        self._shown = Largest(settings.most_allocations)
        self._junit = junit.wanted(config)
        self._paths: dict[str, Paths] = {}
        self._sanitized: str | None = None
        self._own_gaps: list[str] = []

    # -- before the test

    def plan(self, item: pytest.Item) -> Plan | None:
        """What is asked of a test, None for nothing; raises MarkerError."""
        plan = self._planner.plan(item)
        if plan is None or self.settings.sanitizer == "track":
            return plan
        sanitizer = self._sanitizer()
        if not sanitizer:
            return plan
        if plan.has_limit:
            raise MarkerError(
                f"memory limits are not checked in a process with {sanitizer}, whose allocator "
                "they would measure; the ini key memray_sanitizer = track checks them anyway"
            )
        self._own_gaps.append(f"nothing was measured: the process runs with {sanitizer}")
        self.add_gap(self._own_gaps[-1])
        return None

    def look_at(self, items: list[pytest.Item]) -> None:
        """Find out what is asked of all tests that may run."""
        for item in items:
            try:
                if self.plan(item) is not None:
                    self._expected.add(item.nodeid)
            except MarkerError as error:
                self.marker_errors[item.nodeid] = str(error)
        if self._expected or self.marker_errors:
            self.register_reports()

    def register_reports(self) -> None:
        """Have the hooks called that bring measurements onto reports and collect them, once."""
        if self._reports is not None:
            self._config.pluginmanager.register(self._reports(self), "cmemray-reports")
            self._reports = None

    # -- the test

    def start(self, item: pytest.Item, plan: Plan, root: FrameType) -> Run:
        """Begin to measure."""
        from pytest_cmemray.measure import Run

        # The marker may have come from a fixture.
        self.register_reports()
        run = Run(item.nodeid, plan, self.settings)
        run.start(root)
        return run

    def finish(
        self, item: pytest.Item, plan: Plan, run: Run, failure: BaseException | None
    ) -> list[Problem]:
        """Stop; the problems to fail with, none for a test that `failure` ended."""
        run.stop()
        if run.in_child or isinstance(failure, (KeyboardInterrupt, pytest.exit.Exception)):
            run.release()
            return []
        from pytest_cmemray.measure import Outcome

        paths = self._paths_for(item)
        before = self._before(item.nodeid, plan)
        peak = run.numbers.peak
        shown = self.settings.memray and not self.settings.hide_summary and self._shown.takes(peak)
        outcome = Outcome(run.data(before, paths, with_sites=shown))
        if shown:
            self._shown.add(peak, None)
        item.stash[_OUTCOME] = outcome
        try:
            ended = _ended(item, failure)
            if ended == "passed":
                try:
                    problems = run.judge(before if self.settings.fail_on_increase else None, paths)
                except BaseException:
                    # A filter function failed; what is known of the peak is said all the same.
                    self._excuse(outcome, plan, run, paths, "failed")
                    raise
                if problems:
                    outcome.fail(problems)
                return problems
            self._excuse(outcome, plan, run, paths, ended)
            return []
        finally:
            run.release()

    def _excuse(self, outcome: Outcome, plan: Plan, run: Run, paths: Paths, ended: str) -> None:
        """Say, but do not enforce, what a test that ended by itself did with memory."""
        from pytest_cmemray import sections

        problems = run.excuse(paths)
        if ended == "skipped":
            said = [f"skipped, so not enforced: {problem.sentence}" for problem in problems]
            if plan.leaks is not None or plan.objects is not None:
                said.append("skipped, so what it left behind was not judged")
            if said:
                outcome.data.setdefault("notes", []).extend(said)
            return
        for problem in problems:
            text = f"{problem.sentence}\n{problem.section}"
            outcome.texts.append((problem.title, text))
        if not problems and plan.has_limit:
            text = sections.unjudged(plan, run.numbers, paths)
            outcome.texts.append((sections.MAX_MEMORY, text))

    # -- its report

    def complete(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put what was measured on the report of the call phase."""
        outcome = item.stash.get(_OUTCOME, None)
        if outcome is None:
            return
        del item.stash[_OUTCOME]
        report.sections.extend(outcome.texts)
        for note in outcome.data.get("notes", ()):
            if report.failed:
                report.sections.append(("memray-notes", note))
        transport.attach(report, outcome.data)
        if self._junit:
            properties = junit.add_properties(item, outcome.data)
            report.user_properties.extend(properties)

    def log(self, report: pytest.TestReport) -> None:
        """Take in a report: of a test that ran here, or on the controller of a worker's."""
        data = transport.read(report)
        if data is None:
            data = self._unmeasured(report)
        if data is None or self._is_worker:
            return
        if self._junit:
            junit.add_sections(report)
        if report.outcome in ("passed", "failed", "skipped"):
            self.results.add(report.nodeid, report.outcome, data)
            if report.passed and "judged" in data:
                self._baseline.passed(report.nodeid, data["judged"])
        if not report.failed:
            transport.drop(report)

    def _unmeasured(self, report: pytest.TestReport) -> transport.Data | None:
        """Data of a test that ran past our hook, so that it does not pass in silence."""
        # Reports of subtests have a context; their test has a report of its own.
        if report.when != "call" or report.nodeid not in self._expected:
            return None
        if hasattr(report, "context"):
            return None
        data: transport.Data = {"notes": [_UNMEASURED]}
        report.sections.append(("memray-notes", _UNMEASURED))
        transport.attach(report, data)
        return data

    # -- the end

    def close(self) -> None:
        """Remember the peaks of this run; of a worker, send what its process could not see."""
        if self._is_worker:
            self._config.workeroutput[_GAPS] = self.gaps()  # type: ignore[attr-defined]
        else:
            self._baseline.save()

    def gaps(self) -> list[str]:
        """What could not be seen of any test that this process measured."""
        own = list(dict.fromkeys(self._own_gaps))
        if "pytest_cmemray.measure" not in sys.modules:
            return own
        from cmemray import unseen

        return own + unseen()

    def worker_is_done(self, output: dict[str, Any]) -> None:
        """Take in what a worker's process could not see."""
        for gap in output.get(_GAPS, ()):
            self.add_gap(gap)

    def add_gap(self, gap: str) -> None:
        """Note a gap once, however many processes have it."""
        if gap not in self.results.notes:
            self.results.add_note(gap)

    def has_output(self) -> bool:
        """True when the end of the run has anything to show."""
        results = self.results
        return bool(results.measured or results.notes or results.has_failures or self.marker_errors)

    def fail_on_increase_note(self) -> str | None:
        """Why --fail-on-increase has no effect, else None."""
        if not self.settings.fail_on_increase or self._baseline.available:
            return None
        return "memray: fail-on-increase compares nothing, as pytest's cache is off"

    # -- helpers

    def _before(self, nodeid: str, plan: Plan) -> int | None:
        return self._baseline.before(nodeid) if plan.limit is not None else None

    def _paths_for(self, item: pytest.Item) -> Paths:
        from cmemray.explain import Paths

        root = str(self._config.rootpath)
        paths = self._paths.get("")
        if paths is None:
            paths = self._paths[""] = Paths(root)
        file = str(item.path)
        if paths.is_own(file):
            return paths
        # Tests of an installed package, or outside the root: their package is the user's code.
        folder = _package_folder(file)
        if folder not in self._paths:
            self._paths[folder] = Paths(root, also=[folder])
        return self._paths[folder]

    def _sanitizer(self) -> str:
        if self._sanitized is None:
            import ctypes

            process = ctypes.CDLL(None)
            names = {"__asan_init": "AddressSanitizer", "__tsan_init": "ThreadSanitizer"}
            found = [name for symbol, name in names.items() if hasattr(process, symbol)]
            self._sanitized = found[0] if found else ""
        return self._sanitized


def _ended(item: pytest.Item, failure: BaseException | None) -> str:
    """How the test itself ended."""
    if failure is None:
        # unittest's results are not raised: pytest keeps them on the item until its report.
        kept = getattr(item, "_excinfo", None)
        if not kept:
            return "passed"
        failure = kept[0].value
    import unittest

    skips = (pytest.skip.Exception, unittest.SkipTest)
    return "skipped" if isinstance(failure, skips) else "failed"


def _package_folder(file: str) -> str:
    folder = os.path.dirname(file)
    while os.path.exists(os.path.join(folder, "__init__.py")):
        parent = os.path.dirname(folder)
        if not os.path.exists(os.path.join(parent, "__init__.py")):
            break
        folder = parent
    return folder


def called_by_hook(item: pytest.Item) -> bool:
    """True for a test that pytest runs through pytest_pyfunc_call: a function, but unittest's."""
    # Only unittest's items have an attribute of that name.
    return isinstance(item, pytest.Function) and not hasattr(item, "_excinfo")


def measured(item: pytest.Item, caller: FrameType) -> Generator[None, Any, Any]:
    """Around the call of a test: measure it, and fail it when it does not keep its limits.

    Fails inside the call phase, as the test itself would. `caller` is the frame that runs the
    wrapper, and calls the test as well.
    """
    __tracebackhide__ = True
    session = item.config.stash[SESSION]
    plan = session.plan(item)
    if plan is None:
        return (yield)
    run = session.start(item, plan, caller.f_back or caller)
    try:
        result = yield
    except BaseException as error:
        session.finish(item, plan, run, error)
        # pytest keeps the traceback, and with it this frame: what was measured must not live on,
        # or the tracker could never forget the stacks of tests that are over.
        del run
        raise
    problems = session.finish(item, plan, run, None)
    del run
    if problems:
        from pytest_cmemray.measure import MemoryProblem

        raise MemoryProblem(problems)
    return result


def tidy(item: pytest.Item, excinfo: pytest.ExceptionInfo[Any], report: Any) -> None:
    """Show an exception of ours as its message alone, at a place in the user's code."""
    error = excinfo.value
    path, line, _ = item.location
    line = (line or 0) + 1
    if isinstance(error, MarkerError):
        # A mistake in a marker is not what an xfail marker expects.
        report.outcome = "failed"
        report.__dict__.pop("wasxfail", None)
        transport.attach(report, {"error": str(error)})
    elif report.failed and type(error).__module__ == "pytest_cmemray.measure":
        first = error.problems[0]
        path, line = (first.path, first.line) if first.path else (path, line)
    else:
        return
    # pytest has no public name for these; without a crash record neither the short summary nor
    # a JUnit file would have the message.
    from _pytest._code.code import ExceptionChainRepr, ReprFileLocation

    text = excinfo.getrepr(style="value", tbfilter=False).reprtraceback
    crash = ReprFileLocation(path, line, str(error))
    report.longrepr = ExceptionChainRepr([(text, crash, None)])
