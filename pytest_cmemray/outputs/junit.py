"""Numbers as properties of the test in pytest's JUnit XML."""

from __future__ import annotations

import pytest

from pytest_cmemray.transport import Data

_PROPERTIES = (
    ("memray_peak_bytes", "peak"),
    ("memray_limit_bytes", "limit"),
    ("memray_total_bytes", "total"),
    ("memray_allocations", "count"),
)


def wanted(config: pytest.Config) -> bool:
    """True when this run writes a JUnit file; other runs are spared the memory."""
    return bool(config.getoption("xmlpath", None))


def add_properties(item: pytest.Item, data: Data) -> list[tuple[str, object]]:
    """Put the numbers on the item's own properties, replacing those of an earlier run of it."""
    names = {name for name, _ in _PROPERTIES}
    kept = [pair for pair in item.user_properties if pair[0] not in names]
    new: list[tuple[str, object]] = [
        (name, data[key])  # type: ignore[literal-required]
        for name, key in _PROPERTIES
        if key in data
    ]
    item.user_properties[:] = kept + new
    return new
