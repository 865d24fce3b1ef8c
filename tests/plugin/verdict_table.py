"""The verdict table: kind of test x marker x what it does x how it ends, stated once.

test_verdict_table.py runs all of it; docs/guide/verdicts.md shows it:

    python tests/plugin/verdict_table.py    # writes the tables there
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMORY = "MEMORY PROBLEMS"

#: Markers by a short name: source, and in words.
MARKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "none": ((), "none"),
    "wide": (('limit_memory("100 MB")',), '`limit_memory("100 MB")`'),
    "tight": (('limit_memory("1 MB")',), '`limit_memory("1 MB")`'),
    "leakswide": (('limit_leaks("50 MB")',), '`limit_leaks("50 MB")`'),
    "leaks": (('limit_leaks("10 KB")',), '`limit_leaks("10 KB")`'),
    "objects": (("limit_leaked_objects()",), "`limit_leaked_objects()`"),
    "several": (
        ('limit_memory("1 MB")', 'limit_leaks("10 KB")'),
        '`limit_memory("1 MB")` and `limit_leaks("10 KB")`',
    ),
}
#: What a test does: source, and in words.
BODIES = {
    "small": ("pass", "nothing"),
    "big": ("bytearray(4_000_000)", "allocates 4 MB for a moment"),
    "leak": ("KEPT.append(bytearray(100_000))", "keeps 100 kB"),
}
#: Marker and body that go over a limit.
OVER = {
    ("tight", "big"),
    ("leaks", "leak"),
    ("objects", "leak"),
    ("several", "big"),
    ("several", "leak"),
}


@dataclass(frozen=True)
class End:
    """How a test ends: what it does after its body, a marker, and pytest's words for it."""

    words: str
    within: str
    over: str
    source: str = ""
    marker: str = ""


ENDS = {
    "passes": End("passes", "PASSED", MEMORY),
    "fails": End("fails an assertion", "FAILED", "FAILED", "assert 1 == 2"),
    "raises": End("raises", "FAILED", "FAILED", "raise RuntimeError('by itself')"),
    "skips": End("skips itself", "SKIPPED", "SKIPPED", "pytest.skip('in the middle')"),
    "xfails": End("`xfail`, and fails", "XFAIL", "XFAIL", "assert 1 == 2", "xfail"),
    "xfail": End("`xfail`, and does not fail", "XPASS", "XFAIL", "", "xfail"),
    "strict": End(
        "`xfail(strict=True)`, and does not fail", "FAILED", "XFAIL", "", "xfail(strict=True)"
    ),
    "setuperror": End("error in set-up: it does not run", "ERROR", "ERROR"),
    "teardownerror": End("passes, error in teardown", "PASSED, ERROR", f"{MEMORY}, ERROR"),
}

#: Kinds of tests, in words; test_verdict_table.py knows how each is written.
KINDS = {
    "function": "function",
    "parametrized": "function with parameters",
    "method": "method of a class",
    "unittest": "method of `unittest.TestCase`",
    "unittest_async": "coroutine of `unittest.IsolatedAsyncioTestCase`",
    "subtests": "method of `unittest.TestCase` with subtests, all of them as one test",
    "subtests_fixture": "function with subtests of pytest's fixture, all of them as one test",
    "hypothesis": "function under hypothesis, all its examples as one test",
    "anyio": "coroutine under anyio",
    "asyncio": "coroutine under pytest-asyncio",
    "doctest": "doctest",
    "item": "item of another plugin, from a file that is no Python",
}


#: Kinds and markers that are over their limit whatever the test does, and why.
ALWAYS_OVER = {
    ("hypothesis", "objects"): "Only `limit_leaked_objects` fails every function under hypothesis, "
    "which\nmakes objects in the middle of the test to remember its examples by; "
    "`filter_fn` can leave them out.",
}


@dataclass(frozen=True)
class Case:
    """One cell of the table, and the name of its test."""

    marker: str
    body: str
    end: str

    @property
    def name(self) -> str:
        return f"test_{self.marker}_{self.body}_{self.end}"

    @property
    def markers(self) -> tuple[str, ...]:
        more = ENDS[self.end].marker
        return MARKERS[self.marker][0] + ((more,) if more else ())

    @property
    def source(self) -> str:
        """The body, as lines."""
        return f"{BODIES[self.body][0]}\n{ENDS[self.end].source}".strip()

    def word(self, objects: bool, kind: str) -> str:
        """pytest's word for it. `objects`: whether this interpreter can follow objects; where it
        cannot, a test that asks for that is an error before it runs."""
        if self.marker == "objects" and not objects:
            return "ERROR"
        end = ENDS[self.end]
        over = (self.marker, self.body) in OVER or (kind, self.marker) in ALWAYS_OVER
        return end.over if over else end.within


def cases() -> Iterator[Case]:
    """All cells."""
    for marker, body, end in itertools.product(MARKERS, BODIES, ENDS):
        yield Case(marker, body, end)


def _table(*lines: tuple[str, ...]) -> str:
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *rest))


def tables() -> str:
    """The tables of the guide."""
    over = _table(
        ("marker", *(words for _, words in BODIES.values())),
        *(
            (words, *("over" if (name, body) in OVER else "within" for body in BODIES))
            for name, (_, words) in MARKERS.items()
        ),
    )
    ends = _table(
        ("how the test ends by itself", "within its limits", "over a limit"),
        *((end.words, end.within, end.over) for end in ENDS.values()),
    )
    kinds = "\n".join(f"- {words}" for words in KINDS.values())
    but = "\n\n".join(ALWAYS_OVER.values())
    return f"{over}\n\n{ends}\n\nBoth hold for every kind of test:\n\n{kinds}\n\n{but}\n"


BEGIN, END = "<!-- tables -->\n\n", "\n<!-- end of tables -->"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "guide" / "verdicts.md"


def written(document: str) -> str:
    """The document with its tables anew."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + tables() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
