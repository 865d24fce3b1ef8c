"""A scenario: a small pytest project, how it is run, and what is said of it to come out.

It is written once and played with this plugin by the tests of this folder, and with pytest-memray by
`make peer-check` (tools/peer_check.py), which compares what that one does with what is said here.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

#: Lines that every test file starts with; so the first line of its own is line 5.
PRELUDE = "import pytest\n\n_kept = []\n\n"
OURS, PEER = "pytest_cmemray.plugin", "pytest_memray.plugin"
_WORDS = ("PASSED", "FAILED", "MEMORY PROBLEMS", "XFAIL", "XPASS", "ERROR")
_LEFT_OUT = {"CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "COLUMNS", "PYTHONPATH", "PYTHONHASHSEED"}
#: Seconds; a run that takes longer hangs. Each measurement of a free-threaded build begins with a full
#: collection, and there are runs with thousands.
PATIENCE = 1200 if sysconfig.get_config_var("Py_GIL_DISABLED") else 240
#: How a run ended that never came to its end.
CRASHED, HUNG = "crashed", "did not end"


@dataclass(frozen=True)
class Said:
    """What a scenario comes out as. `outcomes` has pytest's word for each test of each run; what is
    not named is not compared. Patterns are fnmatch's, for whole lines of the output."""

    outcomes: Mapping[str, str] = field(default_factory=dict)
    #: Lines that are there.
    lines: tuple[str, ...] = ()
    #: Lines that would do harm, and are not there.
    never: tuple[str, ...] = ()
    #: What a reader of the output is shown, and what would help and is not there: in words, and as
    #: the pattern of its line. docs/peer.md has the words.
    shows: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    #: The exit status of the last run, CRASHED or HUNG; None is not compared.
    ending: int | str | None = None


@dataclass(frozen=True)
class Run:
    """One run of pytest: arguments, and what differs in files and environment from the first."""

    args: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What takes the place of `python -m pytest`.
    command: tuple[str, ...] = ("-m", "pytest")


@dataclass(frozen=True)
class Scenario:
    """`number` is that of defects.py. Of files, `test_*.py` get PRELUDE, and each `NAME.c` is built into
    the shared library `NAME.so`. `needs` are modules without which it cannot be played, and `plugins`
    are loaded beside the one under test. `peer` may name several ways to come out, each of them seen."""

    number: str
    title: str
    files: Mapping[str, str]
    ours: Said
    peer: tuple[Said, ...]
    runs: tuple[Run, ...] = (Run(),)
    plugins: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    ini: tuple[str, ...] = ()


@dataclass
class Result:
    """One finished run."""

    outlines: list[str]
    errlines: list[str]
    ending: int | str
    outcomes: dict[str, str]

    @property
    def stdout(self) -> pytest.LineMatcher:
        # Only here: tools/peer_check.py runs with an interpreter that has nothing installed.
        import pytest

        return pytest.LineMatcher(self.outlines)


class CannotBePlayed(Exception):
    """The machine or the interpreter lacks something; says what."""


def compiler() -> list[str] | None:
    """The C compiler as a command, or None."""
    for candidate in (sysconfig.get_config_var("CC") or "cc", "cc", "gcc", "clang"):
        words = shlex.split(candidate)
        if words and shutil.which(words[0]):
            return words
    return None


def write(scenario: Scenario, files: Mapping[str, str], folder: Path) -> None:
    """Write `files`, and build the libraries among them."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRELUDE + text if path.name.startswith("test_") else text)
        if path.suffix == ".c":
            command = compiler()
            if command is None:
                raise CannotBePlayed("no C compiler")
            # A first line `// ...` has more arguments for the compiler.
            first = text.partition("\n")[0]
            more = shlex.split(first.removeprefix("//")) if first.startswith("//") else []
            built = [*command, "-O1", "-g", "-fPIC", "-shared", "-pthread", "-fno-builtin"]
            built += ["-D_GNU_SOURCE", name, "-o", str(path.with_suffix(".so")), *more]
            subprocess.run(built, check=True, cwd=folder)
    (folder / "pytest.ini").write_text("\n".join(["[pytest]", *scenario.ini, ""]))


def play(
    scenario: Scenario,
    folder: Path,
    plugin: str = OURS,
    python: str = sys.executable,
    patience: int = PATIENCE,
) -> list[Result]:
    """Play all runs of `scenario` in the empty folder `folder`; without any plugin if it is ""."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _LEFT_OUT and not name.startswith(("PYTEST_", "COV_", "CMEMRAY_"))
    }
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # In make asan-python the whole process has a sanitizer, and is measured all the same.
    sanitized = plugin == OURS and bool(os.environ.get("CMEMRAY_TEST_SANITIZED"))
    results = []
    write(scenario, scenario.files, folder)
    for run in scenario.runs:
        write(scenario, run.files, folder)
        loaded = [f"-p{name}" for name in (plugin, *scenario.plugins) if name]
        loaded += ["-o", "memray_sanitizer=track"] if sanitized else []
        try:
            done = subprocess.run(
                [python, *run.command, *loaded, "-rA", *run.args],
                cwd=folder,
                env={**environment, **run.environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=3 * patience if sanitized else patience,
                check=False,
            )
        except subprocess.TimeoutExpired:
            results.append(Result([], [], HUNG, {}))
            continue
        out = done.stdout.splitlines()
        ending = CRASHED if done.returncode < 0 else done.returncode
        results.append(Result(out, done.stderr.splitlines(), ending, outcomes(out)))
    return results


def outcomes(lines: Sequence[str]) -> dict[str, str]:
    """pytest's word for each test, from the lines of a run with -rA."""
    found: dict[str, str] = {}
    for line in lines:
        for word in _WORDS:
            if line.startswith(word + " ") and "::" in line:
                name = line.partition("::")[2].partition(" - ")[0].strip()
                # An error of a test that passed or failed comes beside that.
                found[name] = f"{found[name]}, {word}" if name in found else word
        if skips := re.match(r"SKIPPED \[(\d+)\]", line):
            found["skipped"] = str(int(found.get("skipped", "0")) + int(skips[1]))
    if any(line.startswith("INTERNALERROR>") for line in lines):
        found["the run"] = "INTERNALERROR"
    return found


def together(results: Sequence[Result]) -> dict[str, str]:
    """The outcomes of all runs; of several, with the number of the run before each name."""
    if len(results) == 1:
        return results[0].outcomes
    return {
        f"{number} {name}": word
        for number, result in enumerate(results, 1)
        for name, word in result.outcomes.items()
    }


def _has(lines: Sequence[str], pattern: str) -> bool:
    # Brackets stand for themselves.
    escaped = pattern.replace("[", "[[]")
    return any(fnmatch.fnmatchcase(line, escaped) for line in lines)


def differences(said: Said, results: Sequence[Result]) -> list[str]:
    """What came out otherwise than `said`, as lines to read."""
    found = together(results)
    text = [
        f"{name}: {found.get(name, 'no outcome')}, not {word}"
        for name, word in said.outcomes.items()
        if found.get(name) != word
    ]
    lines = [line for result in results for line in (*result.outlines, *result.errlines)]
    there, absent = (*said.lines, *said.shows.values()), (*said.never, *said.lacks.values())
    text += [f"not said: {pattern}" for pattern in there if not _has(lines, pattern)]
    text += [f"said: {pattern}" for pattern in absent if _has(lines, pattern)]
    if said.ending is not None and results[-1].ending != said.ending:
        text.append(f"ended with {results[-1].ending}, not {said.ending}")
    return text


def missing(scenario: Scenario, python: str = sys.executable) -> str:
    """The first module that `scenario` needs and `python` does not have, or ''."""
    for name in (*scenario.needs, *scenario.plugins):
        top = name.partition(".")[0]
        source = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({top!r}) is None)"
        if subprocess.run([python, "-c", source], check=False).returncode:
            return top
    return ""
