#!/usr/bin/env python3
"""Builds the wheel and runs the tests on other CPythons: `test_matrix.py [--suites A,B] [VERSION...]`.

A VERSION is one of tools/pythons.sh, with +jit for a second row with the JIT switched on; without any,
all that are known. Each version gets an interpreter (made when missing), a copy of the source under
build/matrix, a fresh virtual environment and the wheel; then every folder of tests/ that says anything
about an interpreter runs against that wheel, each in a process of its own. A version that fails does
not stop the others. Where the machine's own interpreter has no JIT, +jit takes Debian's, which has.
Ends with one table, also in build/matrix/table.txt; what each suite said is in build/matrix/VERSION/logs.

    --suites A,B       these alone
    --without A,B      all but these
    --built            with the copies and wheels of an earlier run, where there are any
    --write            no run: docs/matrix.md from docs/matrix.json and what runs here have found
    --list             the jobs of continuous integration: the same versions, a build a job
    --bench-threads    bench/threads.py instead of the tests

Exit status 1 when anything failed, a suite was skipped as a whole, or a version cannot be had here.
"""

import argparse
import ast
import collections
import dataclasses
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matrix_docs

ROOT = Path(__file__).resolve().parent.parent
MATRIX = ROOT / "build" / "matrix"
EVERYTHING = tuple("3.11 3.12 3.13 3.13@debian 3.13t 3.14 3.14+jit 3.15 3.15+jit".split())
#: What nobody has run, and why. These versions can be named all the same.
UNTESTED = dict.fromkeys(
    ("3.14t", "3.15t"),
    "no package in Debian or Ubuntu; tools/pythons.sh builds it from Debian's source package where that "
    "can be downloaded, which failed on the machine of this table. A weekly job tries it",
)
NOT_RUN = UNTESTED | {
    "AArch64": "continuous integration runs this list there, but no row of this table is of such a machine",
}
#: Suites that a version has nothing for ("SUITE on VERSION"), and why.
NOTHING_TO_RUN = {
    "numbers on 3.13t": "memray, to compare with, has no wheel for free-threaded builds, and runs differ by "
    "themselves there",
}
#: Suites about the source tree; `make test` runs them.
OF_THE_SOURCE = ("docs", "tools")
#: Suites without Python code: the JIT makes no difference.
WITHOUT_PYTHON = ("core",)
#: Those that take longest come last.
SLOW = ("integration", "bench", "faults")
#: Seconds after which a suite, or the making of an interpreter and a wheel, is cut off.
SUITE_PATIENCE = 45 * 60
BUILD_PATIENCE = 60 * 60
#: Exit status of pythons.sh: not to be had here.
NOT_HERE = 3


@dataclasses.dataclass
class Result:
    """One cell: how many tests of a suite had which outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    #: Why there are no numbers, or why they are not all.
    ending: str = ""
    #: How many tests skipped themselves with which words.
    skips: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0

    @property
    def fine(self) -> bool:
        """Every test that ran passed, and the run ended by itself."""
        return not self.failed and not self.ending

    def __str__(self) -> str:
        text = f"{self.passed}/{self.failed}/{self.skipped}"
        return f"{text} {self.ending}" if self.ending else text


@dataclasses.dataclass
class Row:
    """One version of the table."""

    version: str
    #: What the interpreter says it is, and its C library.
    full: str = ""
    libc: str = ""
    #: Of the copy of the source.
    commit: str = ""
    results: dict[str, Result] = dataclasses.field(default_factory=dict)
    #: Why nothing was tested; what was written while it was tried.
    trouble: str = ""
    log: Path | None = None
    seconds: float = 0
    cannot: bool = False

    @property
    def fine(self) -> bool:
        """All suites were run, and all are fine."""
        return not self.trouble and all(result.fine for result in self.results.values())


def suites_of(tests: Path, jit: bool) -> list[str]:
    """Names of the folders of TESTS that say something about an interpreter."""
    left_out = OF_THE_SOURCE + (WITHOUT_PYTHON if jit else ())
    return sorted(
        folder.name
        for folder in tests.iterdir()
        if folder.name not in left_out and any(folder.glob("test_*.py"))
    )


def git(*arguments: str) -> str:
    """What git says, "" if it refuses."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def commit_of_source() -> str:
    """The last commit of main in this tree, "+n" with n more on top, "*" with what is not committed."""
    head = git("rev-parse", "--short=7", "HEAD")
    base = git("merge-base", "HEAD", "main")
    more = git("rev-list", "--count", f"{base}..HEAD") if base else "0"
    text = git("rev-parse", "--short=7", base) + f"+{more}" if more not in ("", "0") else head
    changed = git("status", "--porcelain", "--", ".", ":!docs/matrix.md", ":!docs/matrix.json")
    return text + ("*" if changed else "")


def jobs() -> list[dict[str, str]]:
    """What continuous integration runs: one job a build, "python" is what it installs for that."""
    builds: dict[str, list[str]] = {}
    for name in EVERYTHING:
        builds.setdefault(name.partition("+")[0], []).append(name)
    return [
        {"python": version.removesuffix("@debian"), "pythons": " ".join(names)}
        for version, names in builds.items()
    ]


def copy_source(target: Path) -> None:
    """Make TARGET a repository of every file git knows here, committed or not."""
    shutil.rmtree(target, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    # A test makes the source distribution of the last commit.
    git = ["git", "-c", "user.name=matrix", "-c", "user.email=matrix@localhost"]
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "matrix: copy"]):
        subprocess.run([*git, *step], cwd=target, check=True)


def counts_of(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit report."""
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def skips_of(report: Path) -> dict[str, int]:
    """How many tests of a JUnit report were skipped with which words."""
    found: collections.Counter[str] = collections.Counter()
    for skipped in ElementTree.parse(report).getroot().iter("skipped"):
        words = skipped.get("message", "")
        if (
            words == "collection skipped"
        ):  # a whole file: ('/folder/test_it.py', 3, 'Skipped: words')
            words = str(ast.literal_eval(skipped.text or "'', 0, ''")[2]).removeprefix("Skipped: ")
        found[(words.splitlines() or ["no reason"])[0]] += 1
    return dict(sorted(found.items()))


def run_inside(
    version: str, log: Path, patience: float, *command: str, work: Path | None, jit: bool = False
) -> int:
    """Exit status of COMMAND with VERSION, which sees the folder WORK; its output goes to LOG."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, CMEMRAY_BIND=str(work or ""), CMEMRAY_PASS="PYTHON_JIT")
    environment["PYTHON_JIT"] = "1" if jit else "0"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(ROOT / "tools" / "pythons.sh"), "run", version, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            output.write(f"\nmatrix: cut off after {patience:.0f} s\n")
            return -9


def run_step(version: str, log: Path, patience: float, *step: str, jit: bool = False) -> int:
    """Exit status of a step of matrix_steps.sh in VERSION's copy; its output goes to LOG."""
    work = MATRIX / version
    name, *arguments = step
    steps = [str(work / "tools" / "matrix_steps.sh"), name, str(work), *arguments]
    return run_inside(version, log, patience, *steps, work=work, jit=jit)


def has_jit(version: str) -> bool:
    """Was this interpreter built with a JIT?"""
    asks = 'exec "$PYTHON" -c "import sys; sys.exit(not sys._jit.is_available())"'
    log = MATRIX / f"jit-{version}.log"
    return run_inside(version, log, BUILD_PATIENCE, "bash", "-c", asks, work=None) == 0


def run_suite(version: str, row: str, suite: str, jit: bool) -> Result:
    """One cell of the table."""
    logs = MATRIX / version / "logs" / row
    report = logs / f"{suite}.xml"
    started = time.monotonic()
    status = run_step(version, logs / f"{suite}.log", SUITE_PATIENCE, "suite", suite, row, jit=jit)
    seconds = round(time.monotonic() - started, 1)
    if not report.exists():
        return Result(ending="hung" if status == -9 else f"died ({status})", seconds=seconds)
    result = Result(*counts_of(report), skips=skips_of(report), seconds=seconds)
    if status not in (0, 1, 5):  # 5: nothing was collected, as when a whole file is skipped
        result.ending = f"status {status}"
    elif not result.passed + result.failed and f"{suite} on {row}" not in NOTHING_TO_RUN:
        result.ending = "nothing ran"
    return result


def build(version: str, row: Row) -> None:
    """Interpreter, copy, wheel; what goes wrong is in ROW."""
    work = MATRIX / version
    commit = commit_of_source()
    copy_source(work)
    row.log = work / "logs" / "build.log"
    status = run_step(version, row.log, BUILD_PATIENCE, "build")
    said = row.log.read_text(errors="replace").splitlines()
    if status == NOT_HERE:
        row.cannot = True
        row.trouble = (said or ["not to be had here"])[-1].removeprefix("pythons: ")
    elif status != 0:
        row.trouble = "could not be built"
        print("\n".join(said[-15:]), flush=True)
    else:
        with (work / "version.txt").open("a") as file:
            file.write(f"{commit}\n")


def prepare(version: str, row: Row, built: bool = False) -> None:
    """Make VERSION ready for its suites, unless it was BUILT already and may stay so."""
    ready = MATRIX / version / "version.txt"
    if not (built and ready.exists()):
        build(version, row)
    if not row.trouble:
        row.full, row.libc, row.commit = ready.read_text().splitlines()


def run_row(name: str, prepared: dict[str, Row], chosen: list[str], built: bool) -> Row:
    """Test what NAME says with those of the CHOSEN suites that there are; PREPARED has the versions of
    this run, and BUILT says whether those of an earlier one will do."""
    version, _, option = name.partition("+")
    jit = option == "jit"
    started = time.monotonic()
    if jit and "@" not in version and not has_jit(version):
        version += "@debian"
    if version not in prepared:
        prepared[version] = Row(version)
        prepare(version, prepared[version], built)
    row = dataclasses.replace(prepared[version], version=name, results={})
    if not row.trouble and jit:
        log = MATRIX / version / "logs" / "jit.log"
        if run_step(version, log, BUILD_PATIENCE, "jit", jit=True) != 0:
            row.cannot, row.trouble, row.log = True, "this build has no JIT", log
    if not row.trouble:
        here = [suite for suite in suites_of(ROOT / "tests", jit) if suite in chosen]
        for suite in sorted(here, key=lambda suite: suite in SLOW):
            row.results[suite] = run_suite(version, name, suite, jit)
            print(f"test_matrix: {name}: {suite}: {row.results[suite]}", flush=True)
            # At once: a run that is broken off has found something, too.
            matrix_docs.keep(MATRIX / "results.json", name, told(row))
    row.seconds = time.monotonic() - started
    return row


def run_bench(versions: list[str]) -> int:
    """What threads cost on each version (bench/threads.py), printed."""
    failed = 0
    for version in versions:
        row = Row(version)
        prepare(version, row)
        log = MATRIX / version / "logs" / "threads.log"
        if row.trouble or run_step(version, log, BUILD_PATIENCE, "threads") != 0:
            failed = 1
        text = f"{version}: {row.trouble}" if row.trouble else log.read_text()
        print(text, flush=True)
    return failed


def table(rows: Iterable[Row], columns: list[str]) -> str:
    """Versions down, suites across; below it what was not tested, and why."""
    rows = list(rows)
    lines = [["CPython", "is", *columns, "minutes"]]
    notes = []
    for row in rows:
        cells = [str(row.results.get(suite, "-")) for suite in columns]
        lines.append([row.version, row.full or "-", *cells, f"{row.seconds / 60:.1f}"])
        if row.trouble:
            notes.append(f"{row.version}: {'untested: ' if row.cannot else ''}{row.trouble}")
        if not row.fine and not row.cannot:
            where = row.log if row.trouble else f"build/matrix/{row.version.partition('+')[0]}/logs"
            notes.append(f"{row.version}: see {where}")
    notes += [f"{version}: untested: {why}" for version, why in NOT_RUN.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    head = "passed/failed/skipped of every suite (folder of tests/)"
    return "\n".join([head, "", *text, "", *notes])


def told(row: Row) -> dict[str, Any]:
    """A row as docs/matrix.json has it."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    when = {"commit": row.commit, "date": today}
    jit = row.version.endswith("+jit")
    return {
        "is": row.full,
        "libc": row.libc,
        "machine": f"{platform.system()} {platform.release().split('-')[0]}, "
        f"{platform.machine()}, {os.cpu_count()} processors",
        "left_out": [*WITHOUT_PYTHON] if jit else [],
        "cells": {suite: dataclasses.asdict(cell) | when for suite, cell in row.results.items()},
    }


def layout() -> matrix_docs.Layout:
    """What docs/matrix.md has a place for."""
    suites = suites_of(ROOT / "tests", jit=False)
    return matrix_docs.Layout(EVERYTHING, suites, NOTHING_TO_RUN, NOT_RUN)


def say_jobs() -> None:
    """Print `name=JSON` lines, as GitHub's runner takes them for a job's outputs."""
    print(f"jobs={json.dumps(jobs())}")
    print(f"versions={json.dumps([n for n in EVERYTHING if '+' not in n and '@' not in n])}")
    print(f"untested={json.dumps([*UNTESTED])}")


def main(arguments: list[str]) -> int:
    """Test every version named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="test_matrix", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--bench-threads", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--suites", default="", help="folders of tests/, comma separated")
    parser.add_argument("--without", default="", help="folders of tests/, comma separated")
    parser.add_argument("versions", nargs="*")
    options = parser.parse_args(arguments)
    if options.list:
        say_jobs()
        return 0
    if options.write:
        matrix_docs.write(MATRIX / "results.json", layout())
        return 0
    if options.bench_threads:
        return run_bench(options.versions or ["3.13t", "3.13"])
    wanted, unwanted = options.suites.split(","), options.without.split(",")
    chosen = [
        suite
        for suite in suites_of(ROOT / "tests", jit=False)
        if (not options.suites or suite in wanted) and suite not in unwanted
    ]
    if not chosen:
        parser.error("no suite of that name")
    rows: list[Row] = []
    prepared: dict[str, Row] = {}
    for name in options.versions or EVERYTHING:
        print(f"test_matrix: {name}", flush=True)
        rows.append(run_row(name, prepared, chosen, options.built))
    text = table(rows, chosen)
    (MATRIX / "table.txt").write_text(text + "\n")
    print(f"\n{text}")
    return 0 if all(row.fine for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
