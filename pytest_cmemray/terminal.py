"""Writes the blocks at the end of a run through pytest's terminal reporter."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pytest_cmemray import report
from pytest_cmemray.outputs import github
from pytest_cmemray.session import Session


def write(reporter: Any, config: pytest.Config, session: Session) -> None:
    """All blocks that have something to say."""
    settings, results = session.settings, session.results
    if settings.memray and not settings.hide_summary and results.measured:
        reporter.write_sep("=", "MEMRAY REPORT")
        for line in report.report_lines(results, settings.basis):
            reporter.write_line(line)
    if results.notes:
        reporter.write_sep("=", "MEMRAY NOTES")
        most = None if settings.verbosity >= 2 else 20
        for line in report.note_lines(results.notes, most):
            reporter.write_line(line)
    if session.marker_errors and config.getoption("collectonly", False):
        reporter.write_sep("=", "MEMRAY MARKER ERRORS")
        for line in report.marker_error_lines(session.marker_errors):
            reporter.write_line(line)
    if github.wanted():
        root = os.environ.get("GITHUB_WORKSPACE", str(config.rootpath))
        for line in github.workflow_commands(results.problems, root):
            reporter.write_line(line)
