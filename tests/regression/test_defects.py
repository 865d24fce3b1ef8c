"""No number is forgotten: each is tested here, or waits for a feature."""

import ast
import re
from pathlib import Path

import scenarios
from defects import DEFECTS, PARTLY, WAITING
from scenario import Result, Said, differences, outcomes

HERE = Path(__file__).resolve().parent


def numbers() -> set[str]:
    """Numbers that the names of test functions in this folder have."""
    found = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            if number := re.match(r"test_(\d+[a-z]?)_", name):
                found.add(number[1].lstrip("0"))
    return found


def test_numbers_are_a_row() -> None:
    assert list(DEFECTS) == [*map(str, range(1, 53)), "52a"]


def test_each_number_is_tested_or_waits() -> None:
    assert numbers() | WAITING.keys() == DEFECTS.keys()
    assert numbers() & WAITING.keys() == set()
    assert PARTLY.keys() <= numbers()


def test_each_tested_number_has_a_scenario_for_the_peer() -> None:
    assert {scenario.number for scenario in scenarios.SCENARIOS} == numbers()


def test_each_scenario_is_played_by_a_test() -> None:
    text = "\n".join(path.read_text() for path in HERE.glob("test_*.py"))
    # Titles that a test puts together of two parts.
    parts = ("pytest-rerunfailures", "flaky", "anyio", "asyncio", "ctrace", "pytrace", "sysmon")
    parts += ("10 MB", "7 MB", "among the threads of the test", "counted")
    for scenario in scenarios.SCENARIOS:
        part = next((one for one in parts if one in scenario.title.split(": ")[-1]), "")
        assert f'"{scenario.title}"' in text or f'"{part}"' in text, scenario.title


def test_titles_are_unique() -> None:
    titles = [(scenario.number, scenario.title) for scenario in scenarios.SCENARIOS]
    assert len(set(titles)) == len(titles)


LINES = [
    "PASSED test_it.py::test_a",
    "MEMORY PROBLEMS test_it.py::test_b[1] - Test was limited",
    "ERROR test_it.py::test_a - at teardown",
    "SKIPPED [2] test_it.py:3: later",
]


def test_outcomes_are_read() -> None:
    assert outcomes(LINES) == {
        "test_a": "PASSED, ERROR",
        "test_b[1]": "MEMORY PROBLEMS",
        "skipped": "2",
    }


def test_what_comes_out_otherwise_is_found() -> None:
    result = Result(LINES, [], 1, outcomes(LINES))
    assert (
        differences(Said({"test_b[1]": "MEMORY PROBLEMS"}, ("*limited",), ending=1), [result]) == []
    )
    said = Said(
        {"test_a": "PASSED", "test_c": "FAILED"}, ("no such line",), ("SKIPPED*",), ending=0
    )
    assert differences(said, [result]) == [
        "test_a: PASSED, ERROR, not PASSED",
        "test_c: no outcome, not FAILED",
        "not said: no such line",
        "said: SKIPPED*",
        "ended with 1, not 0",
    ]
