"""Fixtures of these tests are in tests/fixtures."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "fixtures"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from shared_fixtures import native, run_python, undisturbed  # noqa: E402, F401


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    """Exact numbers are not to have in them what a test runner's own thread allocates."""
    with undisturbed():
        yield
