"""Fixtures of these tests are in tests/fixtures."""

import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
if str(FIXTURES) not in sys.path:
    sys.path.insert(0, str(FIXTURES))

from faulty_worlds import World, compiler  # noqa: E402


@pytest.fixture
def world(project):
    """A project with known numbers in a folder of its own."""
    compiler()
    return World(project)
