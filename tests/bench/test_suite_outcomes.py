"""The tables of docs/suites.md are those of its data, and rows tell what differs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.suites import again, outcomes
from bench.suites.run import Run

PROBE = Path(again.__file__).with_name("probe")
PLAIN = {"a": "passed", "b": "passed", "c": "failed"}


def test_the_document_has_its_data() -> None:
    text = outcomes.DOCUMENT.read_text()
    assert outcomes.written(text, json.loads(outcomes.DATA.read_text())) == text


def run(mode: str, number: int = 0, ending: str = "exit 1", **came_out: str) -> Run:
    return Run("numpy", mode, number, 1.0, ending, came_out)


def whole(exact: dict[str, str], leaks: dict[str, str] = PLAIN, **second: str) -> list[Run]:
    plain = [run("plain", **PLAIN), run("plain", 1, **{**PLAIN, **second})]
    return [*plain, run("exact", **{**PLAIN, **exact}), run("leaks", **leaks)]


def test_a_row_counts_what_differs_but_not_what_is_unsteady() -> None:
    runs = whole({"a": "failed", "b": "failed"}, b="failed")
    runs[-1].ending = "signal 11"
    row = outcomes.row_of("numpy", runs)
    assert row["differ"] == {"exact": 1, "leaks": "signal 11"}
    assert row["unsteady"] == ["b"]
    assert row["tests"] == 3
    assert "| numpy | 3.11.7 | 3 | 1 failed | 1 | 1 | signal 11 |" in outcomes.table(
        {"3.11.7": {"numpy": row}}
    )


@pytest.mark.parametrize(
    ("plain", "exact", "busy_plain", "busy_exact", "differs"),
    [
        # Plain as well, now and then.
        ("passed failed", "failed passed", "passed", "passed", 0),
        # Both of them, but only when the machine is busy.
        ("passed passed", "passed passed", "passed failed", "failed failed", 0),
        # Measured only, be it seldom.
        ("passed passed", "passed failed", "passed passed", "passed passed", 1),
        ("passed passed", "passed passed", "passed passed", "passed failed", 1),
        # Never as it should.
        ("passed passed", "failed failed", "passed failed", "failed failed", 1),
    ],
)
def test_what_comes_out_differently_is_run_again(
    plain: str, exact: str, busy_plain: str, busy_exact: str, differs: int
) -> None:
    """In the whole runs test "a" failed when it was measured."""
    modes = {"plain": plain, "exact": exact, "leaks": "passed passed"}
    modes |= {"plain, busy": busy_plain, "exact, busy": busy_exact, "leaks, busy": "passed passed"}
    repeats = [
        run(mode, number, a=outcome)
        for mode, said in modes.items()
        for number, outcome in enumerate(said.split())
    ]
    row = outcomes.row_of("numpy", whole({"a": "failed"}), repeats)
    assert row["differ"] == {"exact": differs, "leaks": 0}
    assert row["unsteady"] == ([] if differs else ["a"])
    counts = row["counts"]
    assert isinstance(counts, dict)
    assert list(counts) == ["a"]
    assert sum(counts["a"]["plain"].values()) == 4
    assert sum(counts["a"]["exact"].values()) == 3
    line = outcomes.counts_table({"3.11.7": {"numpy": row}}).splitlines()[-1]
    assert line.startswith("| numpy | 3.11.7 | `a` | ")
    assert line.endswith("| 2 passed |")


def test_steady_tests_are_not_run_again() -> None:
    assert again.suspects(whole({}), "numpy", outcomes.MODES) == []
    assert again.suspects(whole({"a": "failed"}, c="passed"), "numpy", outcomes.MODES) == ["c", "a"]


def test_more_than_can_be_run_again_differ_as_they_came_out(monkeypatch) -> None:
    monkeypatch.setattr(again, "MOST", 1)
    row = outcomes.row_of("numpy", whole({"a": "failed", "b": "failed"}))
    assert row["differ"] == {"exact": 2, "leaks": 0}


def test_other_work_ends_with_its_reason(monkeypatch) -> None:
    monkeypatch.setattr(again.os, "cpu_count", lambda: 1)
    started = []
    begin = subprocess.Popen
    monkeypatch.setattr(
        again.subprocess, "Popen", lambda *args: started.append(begin(*args)) or started[-1]
    )
    with pytest.raises(KeyError), again.busy():
        assert len(started) == 4
        assert [process.poll() for process in started] == [None] * 4
        raise KeyError
    assert all(process.returncode for process in started)


class FakeRunner:
    """Runs of which some are killed; `labels` has those that were asked for."""

    def __init__(self, *endings: str) -> None:
        self.endings = list(endings)
        self.labels: list[str] = []

    def run(self, suite, mode, number, only, label) -> Run:
        self.labels.append(label)
        return run(mode.name, number, self.endings.pop(0) if self.endings else "exit 1")


@pytest.mark.parametrize(("times_killed", "runs_left"), [(0, 4), (1, 4), (2, 3)])
def test_a_run_that_is_killed_from_outside_says_nothing(
    monkeypatch, times_killed: int, runs_left: int
) -> None:
    monkeypatch.setattr(again, "busy", again.nullcontext)
    runner = FakeRunner(*[again.KILLED] * times_killed)
    suite = outcomes.SUITES["numpy"]
    runs = again.run_again(runner, suite, ("plain", "exact"), ["a"], times=1)  # type: ignore[arg-type]
    assert len(runs) == runs_left
    assert {one.ending for one in runs} == {"exit 1"}
    assert [one.mode for one in runs[-2:]] == ["plain, busy", "exact, busy"]
    assert runner.labels[-2:] == ["again-busy-0"] * 2


def test_only_some_tests_of_a_suite(tmp_path) -> None:
    (tmp_path / "test_it.py").write_text("".join(f"def test_{n}(): pass\n" for n in "abc"))
    only, out = tmp_path / "only.json", tmp_path / "out.json"
    only.write_text(json.dumps(["test_it.py::test_b", "test_it.py::test_gone"]))
    environment = {"PYTHONPATH": str(PROBE), "SUITE_PROBE_OUT": str(out)}
    command = [sys.executable, "-m", "pytest", "-q", "-psuite_probe", "-pno:memray"]
    environment |= {"SUITE_PROBE_ONLY": str(only), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads(out.read_text())["outcomes"] == {"test_it.py::test_b": "passed"}
