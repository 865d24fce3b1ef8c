"""test_matrix.py counts what a JUnit report says, and pythons.sh refuses what it cannot make."""

import importlib.util
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_counts_of_a_report(tmp_path):
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/test_matrix.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>'
        "</testsuites>"
    )
    assert tool.counts_of(report) == (4, 3, 3)


def test_unknown_version_is_refused(tmp_path):
    result = subprocess.run(
        [str(ROOT / "tools/pythons.sh"), "run", "2.99", "true"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CMEMRAY_PYTHONS": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
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
