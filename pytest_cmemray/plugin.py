"""Memory limits and measurements for pytest: the hooks.

A run that measures nothing does not import the tracker, and has none of the hooks that only
measured tests need: those are registered when the first of them is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from pytest_cmemray import markers, options, transport
from pytest_cmemray.session import SESSION, Session, called_by_hook, measured, tidy

_Wrapper = Generator[None, Any, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options and ini keys."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Check the settings and make the markers known."""
    markers.register(config)
    session = Session(config, options.read_settings(config), Reports, Statuses)
    config.stash[SESSION] = session
    config.pluginmanager.register(Functions(session), "cmemray-functions")
    config.pluginmanager.register(End(session), "cmemray-end")
    if config.getoption("dist", "no") != "no":
        # Nothing runs in this process; what xdist's workers measure comes in their reports.
        session.register_reports()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what would otherwise surprise at the end."""
    lines = [options.old_pytest_note(), config.stash[SESSION].fail_on_increase_note()]
    return [line for line in lines if line]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find out what is asked of each test, and register the hooks that it takes."""
    ours = session.config.stash[SESSION]
    ours.look_at(session.items)
    manager = session.config.pluginmanager
    if ours.marker_errors:
        manager.register(BadMarkers(ours), "cmemray-bad-markers")
    if not all(map(called_by_hook, session.items)):
        manager.register(OtherItems(ours), "cmemray-other-items")


class Functions:
    """For test functions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # Innermost of all wrappers: what other plugins do around the call is not the test's memory.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> _Wrapper:
        """Measure a test function."""
        __tracebackhide__ = True
        plan = self._session.plan(pyfuncitem)
        if plan is None:
            return (yield)
        return (yield from measured(self._session, pyfuncitem, plan, sys._getframe(1)))


class OtherItems:
    """For tests that are not functions which pytest calls through the hook above."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> _Wrapper:
        """Measure a test of unittest, a doctest, or an item of another plugin."""
        __tracebackhide__ = True
        plan = None if called_by_hook(item) else self._session.plan(item)
        if plan is None:
            return (yield)
        return (yield from measured(self._session, item, plan, sys._getframe(1)))


class BadMarkers:
    """For runs with tests whose markers are not valid."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """An error of this test alone: before fixtures are made, but after skip markers."""
        if item.nodeid in self._session.marker_errors:
            raise markers.MarkerError(self._session.marker_errors[item.nodeid])


class Reports:
    """For runs that measure tests."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> _Wrapper:
        """Put numbers and sections on the report; show our own errors without a traceback."""
        report = yield
        if call.excinfo is not None:
            tidy(item, call.excinfo, report)
        if call.when == "call":
            self._session.complete(item, report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what was measured, before a worker sends the report and a terminal keeps it."""
        # Of a set-up that passed, say, there is nothing to know.
        if report.when == "call" or report.outcome != "passed":
            self._session.log(report)


class Statuses:
    """For runs in which a test failed on memory."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Letter M for a test that failed on memory."""
        data = transport.read(report)
        if data is not None and "problem" in data and report.when == "call" and report.failed:
            return "failed", "M", "MEMORY PROBLEMS"
        return None


class End:
    """For the end of the run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._uncut = False

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Write the MEMRAY REPORT and the notes."""
        if not self._session.has_output():
            return
        from pytest_cmemray import terminal

        terminal.write(terminalreporter, config, self._session)
        # A sentence that a log file cuts at 80 columns has lost what it was written for; pytest
        # prints the lines that follow in full when it takes its terminal for a CI job's.
        if self._session.results.has_failures and not (sys.stdout.isatty() or "CI" in os.environ):
            os.environ["CI"] = "true"
            self._uncut = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> _Wrapper:
        """Keep the peaks of this run; undo what the summary did to the environment."""
        # Before others: xdist's worker sends what it has to say, the terminal sums up.
        self._session.close()
        try:
            return (yield)
        finally:
            if self._uncut:
                os.environ.pop("CI", None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """xdist: a worker is done."""
        self._session.worker_is_done(getattr(node, "workeroutput", {}))
