"""pytest's JUnit XML: numbers as properties of the test, and lists of allocations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_cmemray.transport import Data

_PROPERTIES = (
    ("memray_peak_bytes", "peak"),
    ("memray_limit_bytes", "limit"),
    ("memray_total_bytes", "total"),
    ("memray_allocations", "count"),
)
#: What was not measured, or has to be known about a number.
_NOTE = "memray_note"


def wanted(config: pytest.Config) -> bool:
    """True when this run writes a JUnit file; other runs are spared the memory."""
    return bool(config.getoption("xmlpath", None))


def add_properties(item: pytest.Item, data: Data) -> list[tuple[str, object]]:
    """Put the numbers on the item's own properties, replacing those of an earlier run of it."""
    names = {_NOTE, *(name for name, _ in _PROPERTIES)}
    kept = [pair for pair in item.user_properties if pair[0] not in names]
    new: list[tuple[str, object]] = [
        (name, data[key])  # type: ignore[literal-required]
        for name, key in _PROPERTIES
        if key in data
    ]
    new += [(_NOTE, note) for note in data.get("notes", ())]
    item.user_properties[:] = kept + new
    return new


def add_notes(config: pytest.Config, notes: Iterable[str]) -> None:
    """Put what concerns all tests on the test suite."""
    for plugin in config.pluginmanager.get_plugins():
        # pytest's writer, which has no public name, or one that stands in for it.
        add = getattr(plugin, "add_global_property", None)
        if add is not None:
            for note in notes:
                add(_NOTE, note)


def add_sections(report: Any) -> None:
    """Have the memory sections of a failed test written below its message.

    pytest writes only the failure itself, which in a terminal the sections follow.
    """
    texts = [f"{title}:\n{text}" for title, text in report.sections if title.startswith("memray-")]
    if texts and report.failed and hasattr(report.longrepr, "toterminal"):
        report.longrepr = _WithSections(report.longrepr, texts)


class _WithSections:
    """A failure that looks as it did, except as text."""

    def __init__(self, failure: Any, texts: list[str]) -> None:
        self._failure = failure
        self._texts = texts

    def __getattr__(self, name: str) -> Any:
        # toterminal and reprcrash, when the failure has them.
        return getattr(self._failure, name)

    def __str__(self) -> str:
        return "\n\n".join([str(self._failure), *self._texts])
