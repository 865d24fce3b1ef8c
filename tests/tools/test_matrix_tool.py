"""test_matrix.py counts what a JUnit report says, keeps it in docs/matrix.md, and says what it could not
have; pythons.sh refuses what it cannot make."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/test_matrix.py")
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tool", tool)  # dataclasses looks there
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "MATRIX", tmp_path / "matrix")
    monkeypatch.setattr(tool.matrix_docs, "DATA", tmp_path / "matrix.json")
    monkeypatch.setattr(tool.matrix_docs, "DOCUMENT", tmp_path / "matrix.md")
    return tool


def test_counts_of_a_report(tool, tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>'
        "</testsuites>"
    )
    assert tool.counts_of(report) == (4, 3, 3)


def test_reasons_of_a_report_of_pytest(tool, pytester):
    pytester.makepyfile(
        test_one="import pytest\n@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_it(n): pytest.skip('not\\ntoday')\ndef test_fine(): pass\n"
        "@pytest.mark.skipif(True, reason='never')\ndef test_never(): pass",
        test_all="import pytest\npytest.importorskip('no_such_module', reason=\"it isn't here\")",
    )
    pytester.runpytest_subprocess("-p", "no:memray", "--junitxml=report.xml")
    report = pytester.path / "report.xml"
    assert tool.skips_of(report) == {"it isn't here": 1, "never": 1, "not": 2}
    assert tool.counts_of(report) == (1, 0, 4)


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
            text = f"{version.partition('@')[0]}.9\nglibc 2.99\n"
            (tool.MATRIX / version / "version.txt").write_text(text)
        if step[0] == "suite" and status != -9:
            skipped = "".join(f'<skipped message="{why}"/>' for why in ("dark", "late"))
            tests = 2 if (version, name) == ("3.13", "numbers") else 8
            log.with_suffix(".xml").write_text(
                f'<testsuite tests="{tests}" skipped="2" errors="0" failures="{status}">'
                f"{skipped}</testsuite>"
            )
        return status

    monkeypatch.setattr(tool, "run_step", run_step)
    monkeypatch.setattr(tool, "has_jit", lambda version: version in ("3.13", "3.14"))
    monkeypatch.setattr(tool, "suites_of", lambda tests, jit: ["library", "plugin"])
    monkeypatch.setattr(
        tool, "copy_source", lambda target: target.mkdir(parents=True, exist_ok=True)
    )
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


def test_an_earlier_build_will_do_if_that_is_asked_for(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "commit_of_source", lambda: "1111111")
    tool.main(["3.14"])
    monkeypatch.setattr(tool, "commit_of_source", lambda: "2222222")
    tool.main(["--built", "3.13", "3.14"])
    assert [step[0] for step in steps if step[1] == "build"] == ["3.14", "3.13"]
    kept = json.loads((tool.MATRIX / "results.json").read_text())
    assert kept["3.14"]["cells"]["plugin"]["commit"] == "1111111"
    assert kept["3.13"]["cells"]["plugin"]["commit"] == "2222222"


def test_what_cannot_be_had_is_not_silent(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "EVERYTHING", ("3.14",))
    assert tool.main([]) == 0
    monkeypatch.setattr(tool, "EVERYTHING", ("3.12", "3.14"))
    assert tool.main([]) == 1
    assert "\n3.12: untested: not to be had" in (tool.MATRIX / "table.txt").read_text()


def test_where_the_own_interpreter_has_no_jit_debians_is_taken(tool, steps):
    tool.main(["3.15", "3.15+jit"])
    assert ("3.15", "suite", "plugin", False) in steps
    assert ("3.15@debian", "suite", "plugin", True) in steps
    assert not any(step[0] == "3.15" and step[-1] for step in steps)


def test_a_suite_that_is_skipped_as_a_whole_fails_unless_that_is_known(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "suites_of", lambda tests, jit: ["numbers", "plugin"])
    assert tool.main(["3.13"]) == 1
    assert "0/0/2 nothing ran" in (tool.MATRIX / "table.txt").read_text()
    monkeypatch.setattr(tool, "NOTHING_TO_RUN", {"numbers on 3.13": "no wheels"})
    assert tool.main(["3.13"]) == 0
    with pytest.raises(SystemExit):
        tool.main(["3.13", "--suites", "no-such"])


def test_what_is_kept_is_what_was_found(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "EVERYTHING", ("3.13", "3.14", "3.15"))
    monkeypatch.setattr(tool, "commit_of_source", lambda: "1111111")
    tool.main(["3.15", "3.14"])
    monkeypatch.setattr(tool, "commit_of_source", lambda: "2222222+1")
    monkeypatch.setitem(ENDINGS, ("3.15", "library"), 0)
    tool.main(["--suites", "library", "3.15"])
    tool.main(["--write"])
    kept = json.loads(tool.matrix_docs.DATA.read_text())
    assert list(kept) == ["3.14", "3.15"]
    cells = kept["3.15"]["cells"]
    assert (cells["library"]["passed"], cells["library"]["commit"]) == (6, "2222222+1")
    assert (cells["plugin"]["failed"], cells["plugin"]["commit"]) == (1, "1111111")
    text = tool.matrix_docs.DOCUMENT.read_text()
    for line in (
        "23 tests passed, 1 failed",
        "| library | 6 (2) | 6 (2) |",
        "| plugin | 6 (2) | 5 (2) **1 failed** |",
        "| commit | 1111111 | 2222222+1; 1111111: plugin |",
        "| C library | glibc 2.99 | glibc 2.99 |",
        "| dark | library, plugin | 2 | 2 |",
        "- 3.15t: ",
    ):
        assert line in text


def test_the_document_has_the_figures_of_its_data(tool):
    docs = tool.matrix_docs
    rows = json.loads((ROOT / "docs/matrix.json").read_text())
    text = (ROOT / "docs/matrix.md").read_text()
    assert docs.document(rows, tool.layout()) == text
    assert list(rows) == [version for version in tool.EVERYTHING if version in rows]
    for name in tool.NOTHING_TO_RUN:
        suite, _, version = name.partition(" on ")
        assert suite in tool.suites_of(ROOT / "tests", jit=False)
        assert version in tool.EVERYTHING


def test_what_was_not_run_is_in_the_document(tool, steps, monkeypatch):
    monkeypatch.setattr(tool, "EVERYTHING", ("3.13", "3.14"))
    monkeypatch.setattr(tool, "suites_of", lambda tests, jit: ["core", "plugin"])
    tool.main(["--suites", "plugin", "3.13"])
    tool.main(["--write"])
    text = tool.matrix_docs.DOCUMENT.read_text()
    assert "| suite | 3.13 |" in text and "| core | not run |" in text
    assert "\n- 3.14: not yet\n" in text and "\n- AArch64: " in text


def test_continuous_integration_runs_the_same_list(tool, capsys):
    tool.main(["--list"])
    lines = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    jobs = json.loads(lines["jobs"])
    assert [name for job in jobs for name in job["pythons"].split()] == list(tool.EVERYTHING)
    assert all(set(job) == {"python", "pythons"} for job in jobs)
    assert set(json.loads(lines["versions"])) == {job["python"] for job in jobs}
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    assert "fromJSON(needs.versions.outputs.jobs)" in workflow
    assert 'make test-matrix PYTHONS="${{ matrix.build.pythons }}"' in workflow


def test_suites_of_the_source_tree_are_left_out(tool):
    every = tool.suites_of(ROOT / "tests", jit=False)
    assert {"binding", "core", "library", "plugin"} < set(every)
    assert not {"docs", "tools", "fixtures"} & set(every)
    assert set(every) - set(tool.suites_of(ROOT / "tests", jit=True)) == {"core"}


def test_wheels_and_classifiers_are_of_versions_that_are_tested(tool):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    builds = project["tool"]["cibuildwheel"]["build"]
    wheels = {re.sub(r"cp3(\d+)(t?)-\*", r"3.\1\2", build) for build in builds}
    classifiers = project["project"]["classifiers"]
    named = {match[1] for name in classifiers if (match := re.search(r":: (3\.\d+)$", name))}
    tested = {name for name in tool.EVERYTHING if re.fullmatch(r"3\.\d+", name)}
    assert wheels == named == tested


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
        *("3.11", "3.12", "3.13", "3.13@debian", "3.13t", "3.14", "3.14t", "3.15", "3.15t")
    ]
