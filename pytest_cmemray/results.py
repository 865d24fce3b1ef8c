"""What the controller keeps of all measured tests: only what the end of the run will show."""

from __future__ import annotations

import heapq
import itertools
from typing import NamedTuple

from pytest_cmemray.transport import Data

#: Tests named under one note.
_MOST_NAMED = 3
#: Tests in the table of those closest to their limits.
MOST_TIGHT = 5


class Entry(NamedTuple):
    """One measured test of the report."""

    nodeid: str
    outcome: str
    data: Data

    @property
    def judged(self) -> int:
        """The peak that limits are compared with, bytes: without what older threads hold."""
        peak: int = self.data.get("judged", self.data["peak"])
        return peak


class Note:
    """One note and the tests that it was made on."""

    def __init__(self) -> None:
        self.count = 0
        self.tests: list[str] = []


class Largest:
    """The `most` highest values seen, each with an entry; 0 keeps all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Entry]] = []
        # Entries do not compare; the first of equals stays.
        self._order = itertools.count(0, -1)

    def takes(self, value: float) -> bool:
        """True when a test with this value would be kept."""
        return not self._most or len(self._heap) < self._most or value > self._heap[0][0]

    def least(self) -> int:
        """What a value must exceed to be kept, rounded down; 0 while every one is."""
        full = self._most and len(self._heap) >= self._most
        return int(self._heap[0][0]) if full else 0

    def add(self, value: float, entry: Entry) -> None:
        """Keep `entry` if its value is among the highest."""
        if not self._most or len(self._heap) < self._most:
            heapq.heappush(self._heap, (value, next(self._order), entry))
        elif value > self._heap[0][0]:
            heapq.heapreplace(self._heap, (value, next(self._order), entry))

    def entries(self) -> list[Entry]:
        """Highest first."""
        return [entry for _, _, entry in sorted(self._heap, reverse=True)]


class Results:
    """Collects the data of reports as they come in, of this process or of xdist workers."""

    def __init__(self, most: int) -> None:
        self.measured = 0
        self.problems: list[Entry] = []
        self.has_failures = False
        self.notes: dict[str, Note] = {}
        #: The notes that concern all tests of a process.
        self.of_process: list[str] = []
        self.largest = Largest(most)
        self._tightest = Largest(MOST_TIGHT)

    def add(self, nodeid: str, outcome: str, data: Data) -> None:
        """Take in one measured test, or one whose markers are not valid."""
        # A problem that an xfail marker expected is none.
        failed = outcome == "failed"
        self.has_failures |= ("problem" in data and failed) or "error" in data
        for text in data.get("notes", ()):
            self.add_note(text, nodeid)
        if "peak" in data:
            self.count(nodeid, outcome, data)
            if "problem" in data and failed:
                self.problems.append(Entry(nodeid, outcome, data))

    def count(self, nodeid: str, outcome: str, data: Data) -> None:
        """Take in the numbers of a test alone."""
        self.measured += 1
        peak = data["peak"]
        if self.largest.takes(peak):
            self.largest.add(peak, Entry(nodeid, outcome, data))
        limit = data.get("limit")
        if limit and outcome == "passed":
            used = data.get("judged", peak) / limit
            if self._tightest.takes(used):
                self._tightest.add(used, Entry(nodeid, outcome, data))

    def add_note(self, text: str, nodeid: str | None = None) -> None:
        """Keep a note; the same one on many tests is kept once."""
        note = self.notes.setdefault(text, Note())
        note.count += 1
        if nodeid is not None and len(note.tests) < _MOST_NAMED:
            note.tests.append(nodeid)

    def highest(self) -> list[Entry]:
        """The tests with the highest peaks."""
        return self.largest.entries()

    def tightest(self) -> list[Entry]:
        """The passing tests that come closest to their limits."""
        return self._tightest.entries()
