"""Runs a script of tools/ the way the Makefile does, on files of the test's own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RunTool = Callable[..., tuple[int, str]]


@pytest.fixture
def run_tool(tmp_path: Path) -> RunTool:
    def run(name: str, *arguments: str | Path) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return result.returncode, result.stdout + result.stderr

    return run
