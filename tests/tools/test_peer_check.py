"""peer_check.py tells what came out in words, one for each kind of finding, and keeps what it played."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "regression"))
    spec = importlib.util.spec_from_file_location("peer_check", ROOT / "tools/peer_check.py")
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "DATA", tmp_path / "peer.json")
    monkeypatch.setattr(tool, "DOCUMENT", tmp_path / "peer.md")
    tool.DOCUMENT.write_text(f"# Before\n{tool.BEGIN}old\n{tool.END}\nAfter\n")
    return tool


def result(tool, *lines: str, ending=0):
    from scenario import outcomes

    return tool.Result(list(lines), [], ending, outcomes(lines))


@pytest.mark.parametrize(
    ("lines", "ending", "text"),
    [
        (["PASSED a.py::b", "PASSED a.py::c", "MEMORY PROBLEMS a.py::d - x"], 1, "2 passed, 1 over limit"),
        (["SKIPPED [2] a.py:3: x", "FAILED a.py::d - x"], 1, "1 failed, 2 skipped"),
        (["PASSED a.py::b", "ERROR a.py::b - x"], 1, "1 passed, 1 error"),
        (["XFAIL a.py::b - x", "XPASS a.py::c"], 0, "1 xfailed, 1 xpassed"),
        (["INTERNALERROR> x"], 3, "internal error, the run ends"),
        (["=== 3 passed in 1.23s (0:00:01) ==="], 0, "3 passed"),
        (["=== no tests ran in 0.1s ==="], 5, "no tests ran"),
        ([], 7, "status 7"),
        ([], "did not end", "did not end"),
        ([], "crashed", "crashed"),
    ],
)  # fmt: skip
def test_a_run_is_told_by_its_outcomes(tool, lines, ending, text):
    assert tool.cell(tool.Said(), [result(tool, *lines, ending=ending)]) == text


def test_what_is_shown_lacking_and_harmless_are_told_apart(tool):
    said = tool.Said(never=("*Segmentation*",), shows={"a line": "x"}, lacks={"b": "y", "c": "z"})
    passed = result(tool, "PASSED a.py::b")
    assert tool.cell(said, [passed]) == "1 passed; with a line; without b and c"


def test_runs_are_told_in_order(tool):
    passed, over = result(tool, "PASSED a.py::b"), result(tool, "MEMORY PROBLEMS a.py::b - x")
    assert tool.cell(tool.Said(), [passed, passed, over]) == "1 passed (2 runs), then 1 over limit"


def test_a_cell_names_the_versions_where_they_differ(tool):
    assert tool.merged({"3.11.7": "a", "3.13.0": "a"}) == "a"
    assert tool.merged({"3.11.7": "a", "3.13.0": "b"}) == "3.11: a; 3.13: b"


def test_rows_of_other_scenarios_and_versions_are_kept(tool):
    first, second = (tool.key(scenario) for scenario in tool.scenarios.SCENARIOS[:2])
    tool.write("3.11.7", "peer 1", {first: {"ours": "a", "peer": "b"}, "0 gone": {}})
    tool.write("3.11.7", "peer 1", {second: {"ours": "a", "peer": "a"}})
    tool.write("3.13.0", "peer 1", {first: {"ours": "a", "peer": "c"}})
    assert json.loads(tool.DATA.read_text()).keys() == {"3.11.7", "3.13.0"}
    lines = tool.DOCUMENT.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("# Before", "After")
    assert "Played with peer 1 on CPython 3.11.7, and with peer 1 on CPython 3.13.0." in lines
    rows = [line.split(" | ")[2:] for line in lines if line.startswith("| ")][2:]
    assert rows == [["a", "3.11: b; 3.13: c", "differs |"], ["a", "a", " |"]]
