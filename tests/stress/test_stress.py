"""Every program of programs/ for a moment; `make stress` runs them for long."""

import native_extension
import pytest
import run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The extensions that the programs use."""
    if native_extension.compiler() is None:
        pytest.skip("no C compiler: the test extensions cannot be built")
    folder = tmp_path_factory.mktemp("stress")
    run.build_all(folder)
    return folder


@pytest.mark.parametrize("name", run.PROGRAMS)
def test_nothing_breaks_and_totals_hold(name, folder):
    # The seed says which kind of measurement comes first, too.
    seed = list(run.PROGRAMS).index(name)
    result, told = run.run_one(name, folder, seconds=0.4, events=20_000, seed=seed)
    if result == "skipped":
        pytest.skip(told)
    assert result == "fine", told
    assert told["events"] >= 20_000
    assert told["rounds"] >= 1


def test_a_program_that_hangs_or_fails_is_named(folder, monkeypatch, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "hanging.py").write_text("import time\ndef round(stress): time.sleep(1000)\n")
    (programs / "wrong.py").write_text(
        "def round(stress):\n"
        "    with stress.measured(collect=None) as m: stress.pound.pound(1, 1000, 1, 1)\n"
        "    m.expect(stress.take().count + 1, 0, more=10**9)\n"
    )
    (programs / "crashing.py").write_text("import os\ndef round(stress): os.abort()\n")
    (tmp_path / "harness.py").write_text((run.HERE / "harness.py").read_text())
    monkeypatch.setattr(run, "HERE", tmp_path)
    for name, word in (("hanging", "Timeout"), ("wrong", "AssertionError"), ("crashing", "Abort")):
        patience = 2 if name == "hanging" else 60
        result, told = run.run_one(name, folder, seconds=0, events=1, patience=patience)
        assert result == "FAILED"
        assert told.startswith(f"{name} ended with"), told
        assert word in told


def test_every_program_is_in_the_list():
    there = {path.stem for path in (run.HERE / "programs").glob("*.py")}
    assert there == set(run.PROGRAMS)
