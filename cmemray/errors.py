"""Exceptions of the library."""

from __future__ import annotations


class LimitExceeded(AssertionError):
    """A measured block reached its limit. The text says by how much, and who holds the memory."""


class MeasurementError(RuntimeError):
    """A limit cannot be checked, because the tracker missed something."""
