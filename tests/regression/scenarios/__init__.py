"""All scenarios, in the order of their numbers."""

from __future__ import annotations

import re

from scenario import Scenario

from scenarios import code, processes, runs, threads, verdicts


def key(number: str) -> tuple[int, str]:
    """Sorts "52a" behind "52"."""
    found = re.fullmatch(r"(\d+)([a-z]?)", number)
    assert found is not None, number
    return int(found[1]), found[2]


SCENARIOS: tuple[Scenario, ...] = tuple(
    sorted(
        (one for part in (verdicts, runs, threads, processes, code) for one in part.SCENARIOS),
        key=lambda scenario: key(scenario.number),
    )
)


def find(number: str, title: str) -> Scenario:
    """The one scenario of that number and title."""
    [found] = [one for one in SCENARIOS if (one.number, one.title) == (number, title)]
    return found
