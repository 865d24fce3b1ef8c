"""test_matrix.py counts what a JUnit report says, and pythons.sh refuses what it cannot make."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/test_matrix.py")
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tool", tool)  # dataclasses looks there
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "MATRIX", tmp_path / "matrix")
    return tool


def test_counts_of_a_report(tool, tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>'
        "</testsuites>"
    )
    assert tool.counts_of(report) == (4, 3, 3)


#: (version, step) -> exit status; a step that is not named ends well.
ENDINGS = {
    ("3.11", "build"): 1,
    ("3.12", "build"): 3,
    ("3.14", "jit"): 1,
    ("3.15", "plugin"): 1,
    ("3.15", "library"): -9,
}


@pytest.fixture
def steps(tool, monkeypatch):
    """Stands in for building and testing; the steps that were asked for."""
    asked = []

    def run_step(version, log, patience, *step, jit=False):
        asked.append((version, *step[:2], jit))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("pythons: not to be had\n")
        name = step[1] if step[0] == "suite" else step[0]
        status = ENDINGS.get((version, name), 0)
        if step[0] == "build":
            (tool.MATRIX / version / "version.txt").write_text(f"{version}.9\n")
        if step[0] == "suite" and status != -9:
            log.with_suffix(".xml").write_text(
                f'<testsuite tests="8" skipped="2" errors="0" failures="{status}"/>'
            )
        return status

    monkeypatch.setattr(tool, "run_step", run_step)
    monkeypatch.setattr(tool, "suites_of", lambda tests, jit: ["library", "plugin"])
    monkeypatch.setattr(tool, "copy_source", lambda target: target.mkdir(parents=True))
    return asked


def test_a_version_that_fails_does_not_stop_the_others(tool, steps, capsys):
    assert tool.main(["3.11", "3.12", "3.14", "3.14+jit", "3.15"]) == 1
    table = (tool.MATRIX / "table.txt").read_text()
    rows = {line.split()[0]: line.split()[1:-1] for line in table.splitlines() if line}
    assert rows["3.11"] == ["-", "-", "-"] and rows["3.12"] == ["-", "-", "-"]
    assert rows["3.14"] == ["3.14.9", "6/0/2", "6/0/2"]
    assert rows["3.15"] == ["3.15.9", "0/0/0", "hung", "5/1/2"]
    for note in (
        "3.11: could not be built",
        "3.12: untested: not to be had",
        "3.14+jit: untested: this build has no JIT",
        "3.15: see build/matrix/3.15/logs",
        "3.14t: untested: ",
        "3.15t: untested: ",
    ):
        assert f"\n{note}" in table
    assert "3.14: " not in table
    assert table in capsys.readouterr().out


def test_a_version_is_built_once_for_its_jit(tool, steps):
    assert tool.main(["3.13", "3.13+jit"]) == 0
    assert [step[1:] for step in steps if step[1] == "build"] == [("build", False)]
    assert ("3.13", "suite", "plugin", True) in steps


def test_what_cannot_be_had_fails_only_if_it_was_named(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "EVERYTHING", ("3.12", "3.14"))
    assert tool.main([]) == 0
    monkeypatch.setattr(tool, "copy_source", lambda target: None)
    assert tool.main(["3.12", "3.14"]) == 1


def test_suites_of_the_source_tree_are_left_out(tool):
    every = tool.suites_of(ROOT / "tests", jit=False)
    assert {"binding", "core", "library", "plugin"} < set(every)
    assert not {"docs", "tools", "fixtures"} & set(every)
    assert set(every) - set(tool.suites_of(ROOT / "tests", jit=True)) == {"core"}


def test_unknown_version_is_refused(tmp_path):
    result = subprocess.run(
        [str(ROOT / "tools/pythons.sh"), "run", "2.99", "true"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CMEMRAY_PYTHONS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3
    assert "2.99: not on this machine, and Debian has no package" in result.stderr


def test_list_names_every_version(tmp_path):
    result = subprocess.run(
        [str(ROOT / "tools/pythons.sh"), "list"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CMEMRAY_PYTHONS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        *("3.11", "3.12", "3.13", "3.13@debian", "3.13t", "3.14", "3.15")
    ]
