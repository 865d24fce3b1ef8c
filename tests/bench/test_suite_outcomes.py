"""The table of docs/suites.md is that of its data, and rows tell what differs."""

import json

from bench.suites import outcomes
from bench.suites.run import Run


def test_the_document_has_its_data() -> None:
    text = outcomes.DOCUMENT.read_text()
    assert outcomes.written(text, json.loads(outcomes.DATA.read_text())) == text


def run(mode: str, number: int = 0, ending: str = "exit 1", **came_out: str) -> Run:
    return Run("numpy", mode, number, 1.0, ending, came_out)


def test_a_row_counts_what_differs_but_not_what_is_unsteady() -> None:
    plain = {"a": "passed", "b": "passed", "c": "failed"}
    runs = [
        run("plain", **plain),
        run("plain", 1, **{**plain, "b": "failed"}),
        run("exact", **{**plain, "a": "failed", "b": "failed"}),
        run("leaks", ending="signal 11", **plain),
    ]
    row = outcomes.row_of("numpy", runs)
    assert row["differ"] == {"exact": 1, "leaks": "signal 11"}
    assert row["unsteady"] == ["b"]
    assert row["tests"] == 3
    assert "| numpy | 3.11.7 | 3 | 1 failed | 1 | 1 | signal 11 |" in outcomes.table(
        {"3.11.7": {"numpy": row}}
    )
