"""Memory limits and measurements for pytest: the hooks.

Nothing here imports the tracker: a run that measures nothing does not load it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from pytest_cmemray import markers, options, transport
from pytest_cmemray.session import SESSION, Session, called_by_hook, measured, session_of, tidy

_Wrapper = Generator[None, Any, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options and ini keys."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the settings and make the markers known."""
    markers.register(config)
    session = Session(config, options.read_settings(config))
    config.stash[SESSION] = session
    config.pluginmanager.register(Reports(config, session), "cmemray-reports")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what would otherwise surprise at the end."""
    lines = [options.old_pytest_note(), session_of(config).fail_on_increase_note()]
    return [line for line in lines if line]


def pytest_collection_finish(session: pytest.Session) -> None:
    """With --collect-only no test is set up, which is where a bad marker is an error."""
    if session.config.getoption("collectonly", False):
        session_of(session.config).check_all(session.items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> _Wrapper:
    """Know which test the next reports are of."""
    session_of(item.config).begin(item)
    return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A bad marker is an error of its test, before fixtures are made and after skip markers."""
    session_of(item.config).plan(item)


# Innermost of all wrappers: what other plugins do around the call is not the test's memory.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> _Wrapper:
    """Measure the test, unless it is a function that pytest will call by the hook below."""
    __tracebackhide__ = True
    if not called_by_hook(item):
        # Our caller's frame calls the test as well, so it is below the whole measurement.
        return (yield from measured(item, sys._getframe(1)))
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> _Wrapper:
    """Measure a test function: nearer to its body than the hook above, so less of pytest counts."""
    __tracebackhide__ = True
    if called_by_hook(pyfuncitem):
        return (yield from measured(pyfuncitem, sys._getframe(1)))
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> _Wrapper:
    """Put numbers and sections on the report; show our own errors without a traceback."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    path, line, _ = item.location
    if isinstance(error, markers.MarkerError):
        tidy(report, call.excinfo, path, (line or 0) + 1)
        # A mistake in a marker is not what an xfail marker expects.
        report.outcome = "failed"
        report.__dict__.pop("wasxfail", None)
        transport.attach(report, {"error": str(error)})
    if call.when == "call":
        problems = getattr(error, "problems", None)
        if problems and report.failed and type(error).__name__ == "MemoryProblem":
            place = problems[0].path, problems[0].line
            tidy(report, call.excinfo, *(place if place[0] else (path, (line or 0) + 1)))
        session_of(item.config).complete(item, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Letter M for a test that failed on memory."""
    data = transport.read(report)
    if data is not None and "problem" in data and report.when == "call" and report.failed:
        return "failed", "M", "MEMORY PROBLEMS"
    return None


class Reports:
    """Hooks that pytest calls without a config, or that need a state of their own."""

    def __init__(self, config: pytest.Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._uncut = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what was measured, before a worker sends the report and a terminal keeps it."""
        self._session.log(report)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Write the MEMRAY REPORT and the notes."""
        if not self._session.has_output():
            return
        from pytest_cmemray import terminal

        terminal.write(terminalreporter, self._config, self._session)
        # A sentence that a log file cuts at 80 columns has lost what it was written for; pytest
        # prints the lines that follow in full when it takes its terminal for a CI job's.
        if self._session.results.has_failures and not (sys.stdout.isatty() or "CI" in os.environ):
            os.environ["CI"] = "true"
            self._uncut = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> _Wrapper:
        """Keep the peaks of this run; undo what the summary did to the environment."""
        try:
            return (yield)
        finally:
            if self._uncut:
                os.environ.pop("CI", None)
            self._session.save()
