"""lint.sh goes on after a failed check, names it at the end, and fails."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = "ninja python check-jsonschema shellcheck ruff mypy codespell".split()


@pytest.fixture
def lint(tmp_path):
    """Runs lint.sh with stand-ins for all its tools; each says what it was called with."""

    def run(failing: str | None = None) -> tuple[int, str]:
        for name in TOOLS:
            script = tmp_path / name
            script.write_text(f"#!/bin/sh\necho stand-in $@\n[ {name} != {failing} ]\n")
            script.chmod(0o755)
        environment = dict(os.environ, PATH=f"{tmp_path}:/usr/bin:/bin")
        result = subprocess.run(
            [str(ROOT / "tools/lint.sh")], env=environment, capture_output=True, text=True
        )
        return result.returncode, result.stdout

    return run


def test_all_fine(lint):
    status, output = lint()
    assert status == 0
    assert "FAILED" not in output


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_can_fail_it(lint, name):
    status, output = lint(failing=name)
    assert status == 1
    assert "stand-in" in output
    assert output.splitlines()[-1].startswith("lint: failed: ")
    # The ones after it ran all the same.
    assert re.search(r"^lint: spelling +(fine|FAILED)", output, re.M)
