"""Runs inside each suite (`-p suite_probe`): puts a marker on every test, keeps what came out.

Told by the environment: SUITE_PROBE_OUT, a JSON file to write; SUITE_PROBE_MARKER and
SUITE_PROBE_LIMIT, a limit marker for every test; SUITE_PROBE_PEAKS, a JSON file of bytes by test
id, when each test's limit is twice its own peak; SUITE_PROBE_ONLY, a JSON file of the ids of those
tests that are to run, when not all are. Works with every pytest since 7.2 and imports nothing that a
suite might not have loaded.
"""

import json
import os

import pytest

_OUT = os.environ.get("SUITE_PROBE_OUT", "")
_MARKER = os.environ.get("SUITE_PROBE_MARKER", "")
_LIMIT = os.environ.get("SUITE_PROBE_LIMIT", "")
_PEAKS = os.environ.get("SUITE_PROBE_PEAKS", "")
_ONLY = os.environ.get("SUITE_PROBE_ONLY", "")
#: Below this a limit would judge noise: a warning filter, a cache that grows by one entry.
_LEAST_LIMIT = 16 * 1024

_RANK = {"passed": 0, "xfailed": 1, "xpassed": 1, "skipped": 1, "failed": 2, "error": 3}
_outcomes: dict[str, str] = {}
_why: dict[str, str] = {}
_peaks: dict[str, int] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Choose tests, and mark every one before any plugin looks at the markers."""
    if _ONLY:
        with open(_ONLY, encoding="utf-8") as file:
            only = set(json.load(file))
        items[:] = [item for item in items if item.nodeid in only]
    if not _MARKER:
        return
    peaks = {}
    if _PEAKS:
        with open(_PEAKS, encoding="utf-8") as file:
            peaks = json.load(file)
    for item in items:
        limit = _LIMIT
        if _PEAKS:
            if item.nodeid not in peaks:
                continue
            limit = f"{max(2 * peaks[item.nodeid], _LEAST_LIMIT)} B"
        item.add_marker(getattr(pytest.mark, _MARKER)(limit))


def _text(report):
    text = str(report.longrepr).strip()
    # Our own verdicts are one line; of a traceback the end says most.
    return text if len(text) < 1500 else text[-1500:]


def _category(report):
    if hasattr(report, "wasxfail"):
        return "xpassed" if report.passed else "xfailed"
    if report.failed and report.when != "call":
        return "error"
    return report.outcome


class _Keeper:
    """Registered late, so that it sees a report before any plugin that tidies it up."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        """Keep the worst outcome of a test's phases, and the peak when it was measured."""
        category = _category(report)
        known = _outcomes.get(report.nodeid)
        if known is None or _RANK[category] > _RANK[known]:
            _outcomes[report.nodeid] = category
            if report.failed:
                _why[report.nodeid] = _text(report)
        measured = getattr(report, "cmemray", None)
        if measured and "peak" in measured:
            _peaks[report.nodeid] = measured["peak"]


def pytest_configure(config):
    """Look at reports."""
    config.pluginmanager.register(_Keeper(), "suite_probe_keeper")


def pytest_collectreport(report):
    """A file that cannot be collected is an outcome too."""
    if report.failed:
        _outcomes[f"collect {report.nodeid}"] = "error"
        _why[f"collect {report.nodeid}"] = str(report.longrepr).strip()[-1500:]


def pytest_unconfigure():
    """Write all of it."""
    if _OUT:
        with open(_OUT, "w", encoding="utf-8") as file:
            json.dump({"outcomes": _outcomes, "why": _why, "peaks": _peaks}, file)
