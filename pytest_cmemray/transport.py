"""How the numbers of a test travel: on pytest's own report objects.

pytest-xdist sends a report's attributes from worker to controller as long as they are made of plain
values, so no file and no channel of our own is needed. Texts are cut so that a report stays small.
"""

from __future__ import annotations

from typing import Any, TypedDict

ATTRIBUTE = "cmemray"
#: Characters of a note, and of a place in the code.
_LONGEST_NOTE = 240
_LONGEST_SITE = 140
_MOST_NOTES = 4
MOST_SITES = 5


class Data(TypedDict, total=False):
    """What is sent for one measured test. Sizes are bytes."""

    peak: int  # when the report of the run needs it; the others only for a test that is shown
    total: int
    count: int
    limit: int  # of limit_memory, when there is one
    was: int  # peak of the last passing run, when it is known
    judged: int  # the peak that is kept as the next run's `was`
    gc: int  # microseconds spent in garbage collections
    sites: list[tuple[str, int, bool]]  # own line, bytes at the peak, estimated
    notes: list[str]
    problem: str  # the sentence, when the test failed on memory
    path: str  # where the problem lies: file
    line: int  # and line
    error: str  # of a marker, instead of all others: the test was not run


def attach(report: Any, data: Data) -> None:
    """Put `data` on a report, texts cut to what is sensible to send for every test."""
    if "sites" in data:
        sites = data["sites"][:MOST_SITES]
        data["sites"] = [(_cut(site, _LONGEST_SITE), size, est) for site, size, est in sites]
    if "notes" in data:
        data["notes"] = [_cut(note, _LONGEST_NOTE) for note in data["notes"][:_MOST_NOTES]]
    setattr(report, ATTRIBUTE, data)


def read(report: Any) -> Data | None:
    """The data of a report, None when its test was not measured."""
    return getattr(report, ATTRIBUTE, None)


def drop(report: Any) -> None:
    """Take the data off a report that pytest keeps until the end of the run."""
    if hasattr(report, ATTRIBUTE):
        delattr(report, ATTRIBUTE)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    # The end of a place is its line number.
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
