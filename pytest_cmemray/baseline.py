"""Peaks of the last passing run of each test with a memory limit, kept in pytest's cache.

Without a cache (-p no:cacheprovider) nothing is remembered and nothing compared.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pytest_cmemray.options import Settings


class Baseline:
    """Reads the peaks of earlier runs; collects those of this one, and saves them at its end."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._cache: Any = getattr(config, "cache", None)
        # Other settings and other interpreters measure other numbers.
        kind = [settings.basis, settings.threads, sys.implementation.cache_tag]
        if settings.trace_python_allocators:
            kind.insert(1, "traced")
        self._key = f"cmemray/peaks-{'-'.join(map(str, kind))}"
        self._before: dict[str, int] | None = None
        self._now: dict[str, int] = {}

    @property
    def available(self) -> bool:
        """False when this run has no cache."""
        return self._cache is not None

    def before(self, nodeid: str) -> int | None:
        """Peak in bytes of the last passing run, None when there is none."""
        if self._before is None:
            self._before = self._load()
        return self._before.get(nodeid)

    def passed(self, nodeid: str, peak: int) -> None:
        """Remember the peak of a test that passed."""
        self._now[nodeid] = peak

    def save(self) -> None:
        """Write what this run adds to the peaks of earlier ones."""
        if self._now and self._cache is not None:
            self._cache.set(self._key, {**self._load(), **self._now})

    def _load(self) -> dict[str, int]:
        known = self._cache.get(self._key, {}) if self._cache is not None else {}
        if not isinstance(known, dict):
            return {}
        return {test: peak for test, peak in known.items() if isinstance(peak, int)}
