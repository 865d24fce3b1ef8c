"""bootstrap.sh on a machine that lacks a compiler: apt where it may, exact words where it may not."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UTILITIES = (
    "basename bash cat cmp cp dirname env grep mktemp paste readlink rm sed sort tr true".split()
)


@pytest.fixture
def machine(tmp_path):
    """A folder to be the whole of PATH: the usual utilities, no compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in UTILITIES:
        (folder / name).symlink_to(shutil.which(name))

    def add(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(level: str = "build", python: str = sys.executable) -> tuple[int, str]:
        environment = {"PATH": str(folder), "PYTHON": python, "VENV": "build/none"}
        result = subprocess.run(
            [str(folder / "bash"), str(ROOT / "tools/bootstrap.sh"), level],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return result.returncode, result.stdout + result.stderr

    machine = type("Machine", (), {})()
    machine.add, machine.run = add, run
    return machine


def test_without_rights_it_names_the_packages(machine):
    machine.add("id", "echo 1000")
    machine.add("apt-get", "echo apt-get was called; exit 1")
    status, output = machine.run()
    assert status == 1
    assert "Run: sudo apt-get install gcc libc6-dev\n" in output
    assert "was called" not in output


def test_without_apt_it_names_the_packages(machine):
    machine.add("id", "echo 0")
    status, output = machine.run()
    assert status == 1
    assert "the equivalents of Debian's packages: gcc libc6-dev\n" in output


def test_as_root_it_installs_them(machine, tmp_path):
    machine.add("id", "echo 0")
    machine.add("apt-get", f'echo "$@" >>{tmp_path}/calls; [ "$1" = update ]')
    status, output = machine.run()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("update")
    assert calls[1].startswith("install") and calls[1].endswith(" gcc libc6-dev")
    # The stand-in for apt-get installs nothing and says so: no success is claimed.
    assert (status, "apt-get could not install: gcc libc6-dev" in output) == (1, True)


def test_with_sudo_that_asks_nothing(machine, tmp_path):
    machine.add("id", "echo 1000")
    machine.add("sudo", f'[ "$1" = -n ] || exit 1; echo "$@" >>{tmp_path}/calls; [ "$2" = true ]')
    machine.add("apt-get", "exit 1")
    machine.run()
    assert "apt-get install -y -qq --no-install-recommends gcc" in (tmp_path / "calls").read_text()


def test_lint_needs_clang_too(machine):
    machine.add("id", "echo 1000")
    machine.add("apt-get", "exit 1")
    assert " clang " in machine.run("lint")[1]


def test_old_python_is_refused(machine):
    machine.add("python-old", 'if [ "$1" = -c ]; then exit 1; else echo Python 3.10.1; fi')
    status, output = machine.run(python="python-old")
    assert (status, "Python 3.10.1 is too old: CPython 3.11" in output) == (1, True)


def test_absent_python_is_named(machine):
    status, output = machine.run(python="python-none")
    assert (status, "python-none not found" in output) == (1, True)


@pytest.fixture
def complete(machine):
    """The same machine with a compiler and its kin, where making an environment ends the run."""
    for name in ("cc", "gcc", "g++", "readelf"):
        machine.add(name, "exit 0")
    machine.add("python-here", f'[ "$2" != venv ] || exit 7; exec {sys.executable} "$@"')
    return machine


def test_the_system_alone_makes_no_environment(complete):
    complete.add("id", "echo 1000")
    complete.add("valgrind", "exit 0")
    # Making an environment would end with status 7.
    assert complete.run("system", python="python-here") == (0, "")


def test_valgrind_is_installed_where_that_may_be(complete, tmp_path):
    complete.add("id", "echo 0")
    complete.add("apt-get", f'echo "$@" >>{tmp_path}/calls')
    assert complete.run("test", python="python-here")[0] == 7
    assert (tmp_path / "calls").read_text().splitlines()[-1].endswith(" valgrind")


def test_without_valgrind_it_goes_on(complete):
    complete.add("id", "echo 0")
    complete.add("apt-get", "exit 1")
    status, output = complete.run("test", python="python-here")
    assert (status, "going on without valgrind" in output) == (7, True)
    complete.add("id", "echo 1000")
    status, output = complete.run("test", python="python-here")
    assert (status, "valgrind" in output) == (7, False)
