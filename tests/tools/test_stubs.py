"""The stub of the extension says what the extension is."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy", reason="comes with the packages of make lint")


def stubtest(*arguments, folder):
    command = [sys.executable, "-P", "-m", "mypy.stubtest", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_core_matches_its_stub(tmp_path):
    result = stubtest("cmemray._core", folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_comparison_can_fail(tmp_path):
    (tmp_path / "sample.py").write_text("def f(a): ...\n")
    (tmp_path / "sample.pyi").write_text("def g(a: int) -> None: ...\n")
    command = [sys.executable, "-m", "mypy.stubtest", "sample"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "sample.g is not present at runtime" in result.stdout
