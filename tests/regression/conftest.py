"""The scenarios of this folder, by their titles."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "fixtures"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import scenarios  # noqa: E402
from scenario import CannotBePlayed, Result, differences, missing, play  # noqa: E402
from shared_fixtures import native, run_python  # noqa: E402, F401


@pytest.fixture
def played(tmp_path: Path) -> Callable[..., list[Result]]:
    """Plays the scenario of a number and title; what is said of it must hold. Returns its runs."""

    def run(number: str, title: str) -> list[Result]:
        scenario = scenarios.find(number, title)
        if lacking := missing(scenario):
            pytest.skip(f"{lacking} is not installed here")
        try:
            results = play(scenario, tmp_path)
        except CannotBePlayed as error:
            pytest.skip(str(error))
        found = differences(scenario.ours, results)
        assert found == [], "\n".join(
            line for result in results for line in result.outlines + result.errlines
        )
        return results

    return run
