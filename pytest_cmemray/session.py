"""One pytest run: its settings, its plans, the measuring of each test, and what the end shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pytest_cmemray import transport
from pytest_cmemray.baseline import Baseline
from pytest_cmemray.markers import MarkerError, Plan, Planner
from pytest_cmemray.options import Settings
from pytest_cmemray.outputs import junit
from pytest_cmemray.results import Results

if TYPE_CHECKING:
    from cmemray.explain import Paths
    from pytest_cmemray.measure import Kit, Run
    from pytest_cmemray.sections import Problem

SESSION = pytest.StashKey["Session"]()
_GAPS = "cmemray_gaps"
_JUDGED = ("passed", "failed", "skipped")
_UNMEASURED = "not measured: its plugin ran it past pytest's own hooks"


class Session:
    """State of a run, in the process that runs tests and in the one that reports them."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        reports: Callable[[Session], object],
        statuses: Callable[[], object],
    ) -> None:
        self.settings = settings
        self.results = Results(settings.most_allocations)
        #: What is wrong with the markers of a test, by its id.
        self.marker_errors: dict[str, str] = {}
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._reports: Callable[[Session], object] | None = reports
        self._statuses: Callable[[], object] | None = statuses
        self._planner = Planner(settings)
        self._expected: set[str] = set()
        self._baseline = Baseline(config, settings)
        self._kits: dict[int, Kit] = {}
        # What measured tests leave behind for their reports, by the id of the item.
        self._outcomes: dict[int, Outcome] = {}
        self._reporting = settings.memray and not settings.hide_summary
        self._junit = junit.wanted(config)
        self._paths: dict[str, Paths] = {}
        self._sanitized: str | None = None
        self._own_gaps: list[str] = []

    # -- before the test

    def plan(self, item: pytest.Item) -> Plan | None:
        """What is asked of a test, None for nothing; raises MarkerError."""
        plan = self._planner.plan(item)
        if plan is None:
            return None
        sanitizer = self._sanitized
        if sanitizer is None:
            sanitizer = self._sanitized = self._sanitizer()
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
        kit = self._kits.get(id(plan)) or self._make_kit(plan)
        # Lines are shown of a peak that reaches its limit, that has grown, or that the report lists.
        locate_from = kit.locate_from
        if self._reporting:
            locate_from = min(locate_from, self.results.largest.least())
        if self.settings.fail_on_increase:
            before = self._before(item, kit)
            locate_from = locate_from if before is None else min(locate_from, before)
        run = kit.run(item.nodeid, locate_from)
        run.start(root)
        return run

    def _make_kit(self, plan: Plan) -> Kit:
        from pytest_cmemray.measure import Kit

        # The marker may have come from a fixture.
        self.register_reports()
        # The planner keeps the plan, so that its id stays its own.
        kit = self._kits[id(plan)] = Kit(plan, self.settings)
        return kit

    def not_started(
        self, item: pytest.Item, plan: Plan, error: Exception, failure: BaseException | None
    ) -> Sequence[Problem]:
        """Say that a test was not measured, by `error`; the problems to fail with, as in finish()."""
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        texts: list[tuple[str, str]] = []
        outcome = self._outcomes[id(item)] = Outcome(item, {}, texts)
        judged = plan.has_limit and _ended(item, failure) == "passed"
        if isinstance(error, ImportError):
            # As it will be for all others.
            self._own_gaps.append(f"nothing was measured: {reason}")
            self.add_gap(self._own_gaps[-1])
        elif not judged:
            outcome.data["notes"] = [f"not measured: {reason}"]
        if not judged:
            return []
        from pytest_cmemray import sections

        problem = sections.refused(reason)
        texts.append((problem.title, problem.section))
        _say(outcome.data, problem)
        return [problem]

    def finish(
        self, item: pytest.Item, plan: Plan, run: Run, failure: BaseException | None
    ) -> Sequence[Problem]:
        """Stop; the problems to fail with, none for a test that `failure` ended."""
        run.stop()
        if failure is None and run.kept_its_limits() and not getattr(item, "_excinfo", None):
            before = self._before(item, run.kit) if self.settings.fail_on_increase else None
            if before is None or run.figures[0] <= before:
                self._outcomes[id(item)] = Outcome(item, self._data(item, run), ())
                return ()
        return self._judge(item, plan, run, failure)

    def _judge(
        self, item: pytest.Item, plan: Plan, run: Run, failure: BaseException | None
    ) -> list[Problem]:
        """What finish() does with a test that there is more to say about."""
        if run.in_child or isinstance(failure, (KeyboardInterrupt, pytest.exit.Exception)):
            run.release()
            return []
        texts: list[tuple[str, str]] = []
        outcome = Outcome(item, self._data(item, run), texts)
        notes = run.notes()
        if notes:
            outcome.data["notes"] = notes
        self._outcomes[id(item)] = outcome
        paths = self._paths_for(item)
        try:
            ended = _ended(item, failure)
            if ended == "passed":
                before = self._before(item, run.kit) if self.settings.fail_on_increase else None
                try:
                    problems = run.judge(before, paths)
                except BaseException:
                    # A filter function failed; what is known of the peak is said all the same.
                    self._excuse(outcome, plan, run, paths, "failed")
                    raise
                if problems:
                    run.add_numbers(outcome.data)
                    texts += [(problem.title, problem.section) for problem in problems]
                    _say(outcome.data, problems[0])
                return problems
            self._excuse(outcome, plan, run, paths, ended)
            return []
        finally:
            run.release()

    def _data(self, item: pytest.Item, run: Run) -> transport.Data:
        """The numbers that somebody will read: very many tests have next to nothing to send."""
        data: transport.Data = {}
        if self._reporting:
            peak = data["peak"] = run.figures[0]
            if self.results.largest.takes(peak):
                run.add_numbers(data)
                before = self._before(item, run.kit)
                if before is not None:
                    data["was"] = before
                data["sites"] = run.sites(self._paths_for(item))
                return data
        if self._junit:
            run.add_numbers(data)
        elif run.kit.limit is not None:
            if self._reporting:
                data["limit"] = run.kit.limit
            if self._baseline.available:
                data["judged"] = run.judged()
        return data

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
        texts = [(problem.title, f"{problem.sentence}\n{problem.section}") for problem in problems]
        if not problems and plan.has_limit:
            texts = [(sections.MAX_MEMORY, sections.unjudged(plan, run.numbers, paths))]
        outcome.texts.extend(texts)

    # -- its report

    def complete(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Put what was measured on the report of the call phase."""
        outcome = self._outcomes.pop(id(item), None)
        if outcome is None or outcome.item is not item:
            return
        data = outcome.data
        if outcome.texts:
            report.sections.extend(outcome.texts)
        if report.failed:
            report.sections.extend(("memray-notes", note) for note in data.get("notes", ()))
        transport.attach(report, data)
        if self._junit:
            report.user_properties.extend(junit.add_properties(item, data))

    def log(self, report: pytest.TestReport) -> None:
        """Take in a report: of a test that ran here, or on the controller of a worker's."""
        data = transport.read(report)
        if data is None:
            if report.when != "call":
                return
            data = self._unmeasured(report)
            if data is None:
                return
        judged = report.outcome in _JUDGED
        if self._is_worker:
            if judged and "peak" in data:
                self.results.count(report.nodeid, report.outcome, data)
            return
        if self._junit:
            junit.add_sections(report)
        if self._statuses is not None and "problem" in data:
            self._config.pluginmanager.register(self._statuses(), "cmemray-statuses")
            self._statuses = None
        if judged and data:
            self.results.add(report.nodeid, report.outcome, data)
            if report.outcome == "passed" and "judged" in data:
                self._baseline.passed(report.nodeid, data["judged"])
        if report.outcome != "failed":
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
        """Remember the peaks of this run, and say or send what its process could not see."""
        if self._is_worker:
            self._config.workeroutput[_GAPS] = self.gaps()  # type: ignore[attr-defined]
            return
        self._baseline.save()
        for gap in self.gaps():
            self.add_gap(gap)
        if self._junit:
            junit.add_notes(self._config, self.results.of_process)

    def gaps(self) -> list[str]:
        """What could not be seen of any test that this process measured."""
        own = list(dict.fromkeys(self._own_gaps))
        if "pytest_cmemray.measure" not in sys.modules:
            return own
        from cmemray import unseen

        try:
            return own + unseen()
        except ImportError:  # of the core: that nothing was measured was said of it
            return own

    def worker_is_done(self, output: dict[str, Any]) -> None:
        """Take in what a worker's process could not see."""
        for gap in output.get(_GAPS, ()):
            self.add_gap(gap)

    def add_gap(self, gap: str) -> None:
        """Note a gap once, however many processes have it."""
        if gap not in self.results.of_process:
            self.results.of_process.append(gap)
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

    def _before(self, item: pytest.Item, kit: Kit) -> int | None:
        return self._baseline.before(item.nodeid) if kit.limit is not None else None

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
        """The sanitizer that this process runs with and is not to be measured in, else ""."""
        if self.settings.sanitizer == "track":
            return ""
        import ctypes

        process = ctypes.CDLL(None)
        names = {"__asan_init": "AddressSanitizer", "__tsan_init": "ThreadSanitizer"}
        found = [name for symbol, name in names.items() if hasattr(process, symbol)]
        return found[0] if found else ""


class Outcome(NamedTuple):
    """What a measured test leaves behind for its report; no object of the test is kept."""

    item: pytest.Item
    data: transport.Data
    texts: Any  # list of (title, text), or an empty tuple when there will be none


def _say(data: transport.Data, problem: Problem) -> None:
    data["problem"] = problem.sentence
    if problem.path is not None:
        data["path"], data["line"] = problem.path, problem.line


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


def measured(
    session: Session, item: pytest.Item, plan: Plan, caller: FrameType
) -> Generator[None, Any, Any]:
    """Around the call of a test: measure it, and fail it when it does not keep its limits.

    Fails inside the call phase, as the test itself would. `caller` is the frame that runs the
    wrapper, and calls the test as well.
    """
    __tracebackhide__ = True
    refusal: Exception | None = None
    try:
        run = session.start(item, plan, caller.f_back or caller)
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        refusal = error.with_traceback(None)
    if refusal is not None:
        return (yield from _unmeasured(session, item, plan, refusal))
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


def _unmeasured(
    session: Session, item: pytest.Item, plan: Plan, error: Exception
) -> Generator[None, Any, Any]:
    """Around the call of a test that cannot be measured: it runs as ever, but keeps no limit."""
    __tracebackhide__ = True
    try:
        result = yield
    except BaseException as failure:
        session.not_started(item, plan, error, failure)
        raise
    problems = session.not_started(item, plan, error, None)
    if problems:
        from pytest_cmemray.measure import MemoryProblem

        raise MemoryProblem(problems) from None
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
