"""Peaks of the last passing run of each test with a memory limit, kept in pytest's cache folder.

Without a cache (-p no:cacheprovider) nothing is remembered and nothing compared. A run may have very
many tests, so what is kept in memory is packed, and the file is read and written line by line:
the peak in bytes, a space, and the test's id as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_cmemray.options import Settings


class Peaks:
    """Peaks by the hash of a test's id; of equal ones the last counts. 16 bytes for each."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        keys, peaks = array("q"), array("Q")
        for peak, name in lines:
            keys.append(hash(name))
            peaks.append(peak)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = array("q", map(keys.__getitem__, order))
        self._peaks = array("Q", map(peaks.__getitem__, order))

    def get(self, name: str) -> int | None:
        """The peak of the test whose id is `name` as JSON, else None."""
        key = hash(name)
        at = bisect_right(self._keys, key) - 1
        return self._peaks[at] if at >= 0 and self._keys[at] == key else None


class Baseline:
    """Reads the peaks of earlier runs; collects those of this one, and saves them at its end."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._cache: Any = getattr(config, "cache", None)
        # Other settings and other interpreters measure other numbers.
        kind = [settings.basis, settings.threads, sys.implementation.cache_tag]
        if settings.trace_python_allocators:
            kind.insert(1, "traced")
        self._name = f"peaks-{'-'.join(map(str, kind))}.txt"
        self._before: Peaks | None = None
        self._tests: list[str] = []
        self._peaks = array("Q")

    @property
    def available(self) -> bool:
        """False when this run has no cache."""
        return self._cache is not None

    def before(self, nodeid: str) -> int | None:
        """Peak in bytes of the last passing run, None when there is none."""
        if self._before is None:
            self._before = Peaks(self._lines())
        return self._before.get(json.dumps(nodeid))

    def passed(self, nodeid: str, peak: int) -> None:
        """Remember the peak of a test that passed."""
        self._tests.append(nodeid)
        self._peaks.append(peak)

    def save(self) -> None:
        """Write what this run adds to the peaks of earlier ones."""
        if not self._tests or self._cache is None:
            return
        path = self._path()
        try:
            self._write(path)
        except OSError as error:
            warnings.warn(pytest.PytestWarning(f"cannot write {path}: {error}"), stacklevel=2)

    def _write(self, path: str) -> None:
        new = Peaks((0, json.dumps(test)) for test in self._tests)
        beside = f"{path}.{os.getpid()}"
        with open(beside, "w", encoding="ascii") as file:
            for peak, name in self._lines():
                if new.get(name) is None:
                    file.write(f"{peak} {name}\n")
            for peak, test in zip(self._peaks, self._tests, strict=True):
                file.write(f"{peak} {json.dumps(test)}\n")
        os.replace(beside, path)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """(peak, id as JSON) of earlier runs; lines that are not ours are passed over."""
        if self._cache is None:
            return
        try:
            with open(self._path(), encoding="ascii", errors="replace") as file:
                for line in file:
                    peak, _, name = line.rstrip("\n").partition(" ")
                    if name.startswith('"') and peak.isdecimal() and len(peak) < 19:
                        yield int(peak), name
        except OSError:
            pass

    def _path(self) -> str:
        return os.path.join(self._cache.mkdir("cmemray"), self._name)
