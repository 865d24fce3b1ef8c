"""docs/stress.md has every CPython and situation, says how each ended, and is that of its data."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("3.11", "3.12", "3.13", "3.13t", "3.14", "3.14+jit", "3.15", "3.15+jit")


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("stress_tool", ROOT / "tools/stress.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    yield tool
    sys.modules.pop("test_matrix", None)


@pytest.fixture
def told(tool):
    return json.loads(tool.RESULTS.read_text())


def minor(version):
    """3.14.8+jit is 3.14+jit, 3.13.15t is 3.13t."""
    head, plus, option = version.partition("+")
    return ".".join(head.split(".")[:2]) + ("t" if head.endswith("t") else "") + plus + option


def test_the_document_has_its_data(tool, told):
    assert tool.DOCUMENT.read_text() == tool.document(told)


def test_every_situation_ran_everywhere_or_says_why_not(told):
    assert [minor(result["version"]) for result in told["results"]] == list(COLUMNS)
    situations = {path.stem for path in (ROOT / "tests/stress/programs").glob("*.py")}
    for result in told["results"]:
        assert {row["program"] for row in result["rows"]} == situations, result["version"]
        for row in result["rows"]:
            said = (result["version"], row)
            if row["result"] == "skipped":
                assert row["no_wheel"] and "pip: " in row["why"], said
            else:
                assert row["result"] == "fine" and row["events"] >= 1_000_000, said
            assert row["commit"] and not row["commit"].endswith("changed"), said
    events = sum(row.get("events", 0) for result in told["results"] for row in result["rows"])
    assert events >= 1_000_000_000


def test_the_command_can_be_run_again(told):
    assert f'PYTHONS="{" ".join(COLUMNS)}"' in told["command"]


FAILED = """garbage ended with 1:
Traceback (most recent call last):
  File "/somewhere/tests/stress/harness.py", line 280, in main
    program.round(stress)
AssertionError: (0, 600, 599) in /somewhere/else/file.py

"""


def row(result, **more):
    told = {"program": "garbage", "situation": "gc", "result": result, "commit": "abc"}
    return {**told, "events": 5, "rounds": 1, "seconds": 1, **more}


def test_reasons_are_said_with_the_last_line_and_without_folders(tool):
    reason = "garbage ended with 1: AssertionError: (0, 600, 599) in file.py"
    assert tool.reason(FAILED) == reason
    results = [{"version": "3.11.2", "rows": [row("FAILED", why=FAILED)]}]
    text = tool.table(results)
    assert "| gc | FAILED |" in text
    assert f"- 3.11.2, gc: FAILED: {reason}" in text
    crashed = (
        'garbage ended with -6:\nFatal Python error: Aborted\n\n  File "/a/b.py", line 1 in c\n'
    )
    assert tool.reason(crashed) == "garbage ended with -6: Fatal Python error: Aborted"


def test_a_skip_is_excused_by_pip_alone(tool):
    why = "garbage needs gevent: No module named 'gevent'"
    excused = tool.explained(row("skipped", why=why), ["gevent: pip: none found"])
    assert tool.fine(excused) and excused["why"] == f"{why} (pip: none found)"
    assert not tool.fine(tool.explained(row("skipped", why=why), ["greenlet: pip: none found"]))
    assert not tool.fine(row("FAILED"))


def test_a_cell_says_when_the_lock_was_on_after_all(tool):
    assert tool.cell("3.13.5t", row("fine", gil=True)) == "5 (1) with the GIL"
    assert tool.cell("3.13.5t", row("fine", gil=False)) == "5 (1)"
    for version in ("3.13.5", "3.14.2+jit"):
        assert tool.cell(version, row("fine", gil=True)) == "5 (1)"
    assert tool.cell("3.13.5", None) == "not run"


def test_of_several_runs_the_last_row_counts(tool):
    runs = [
        {"version": "3.14.8+jit", "rows": [row("fine")]},
        {"version": "3.14.8", "rows": [row("FAILED", why="x")]},
        {"version": "3.9.1", "rows": [row("fine")]},
        {"version": "3.14.8", "rows": [row("fine")]},
    ]
    merged = tool.merged(runs)
    assert [result["version"] for result in merged] == ["3.9.1", "3.14.8", "3.14.8+jit"]
    assert [result["rows"][0]["result"] for result in merged] == ["fine"] * 3
