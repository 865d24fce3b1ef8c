#!/usr/bin/env python3
"""Builds the wheel and runs the tests on other CPythons: `test_matrix.py [--suites A,B] [VERSION...]`.

A VERSION is one of tools/pythons.sh, with +jit for a second row with the JIT switched on; without any,
all that are known. Each version gets an interpreter (made when missing), a copy of the source under
build/matrix, a fresh virtual environment and the wheel; then every folder of tests/ that says anything
about an interpreter runs against that wheel, each in a process of its own. A version that fails does
not stop the others. Ends with one table, also in build/matrix/table.txt; what each suite said is in
build/matrix/VERSION/logs. With --bench-threads, bench/threads.py runs instead.

Exit status 1 when anything failed, or when a version that was named cannot be had here.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MATRIX = ROOT / "build" / "matrix"
EVERYTHING = tuple("3.11 3.12 3.13 3.13@debian 3.13t 3.14 3.14+jit 3.15 3.15+jit".split())
#: Versions of which nobody can say anything here, and why.
UNTESTED = {
    "3.14t": "neither a package nor a source of the free-threaded build in Debian or Ubuntu",
    "3.15t": "neither a package nor a source of the free-threaded build in Debian or Ubuntu",
}
#: Suites about the source tree; `make test` runs them.
OF_THE_SOURCE = ("docs", "tools")
#: Suites without Python code: the JIT makes no difference.
WITHOUT_PYTHON = ("core",)
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

    @property
    def fine(self) -> bool:
        """Every test that ran passed, and the run ended by itself."""
        return not self.failed and not self.ending and self.passed + self.skipped > 0

    def __str__(self) -> str:
        text = f"{self.passed}/{self.failed}/{self.skipped}"
        return f"{text} {self.ending}" if self.ending else text


@dataclasses.dataclass
class Row:
    """One version of the table."""

    version: str
    #: What the interpreter says it is.
    full: str = ""
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


def run_step(version: str, log: Path, patience: float, *step: str, jit: bool = False) -> int:
    """Exit status of a step of matrix_steps.sh in VERSION's copy; its output goes to LOG."""
    work = MATRIX / version
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, CMEMRAY_BIND=str(work), CMEMRAY_PASS="PYTHON_JIT")
    environment["PYTHON_JIT"] = "1" if jit else "0"
    name, *arguments = step
    steps = [str(work / "tools" / "matrix_steps.sh"), name, str(work), *arguments]
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(ROOT / "tools" / "pythons.sh"), "run", version, *steps],
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


def run_suite(version: str, row: str, suite: str, jit: bool) -> Result:
    """One cell of the table."""
    logs = MATRIX / version / "logs" / row
    report = logs / f"{suite}.xml"
    status = run_step(version, logs / f"{suite}.log", SUITE_PATIENCE, "suite", suite, row, jit=jit)
    if not report.exists():
        return Result(ending="hung" if status == -9 else f"died ({status})")
    result = Result(*counts_of(report))
    if status not in (0, 1, 5):  # 5: nothing was collected, as when a whole file is skipped
        result.ending = f"status {status}"
    return result


def prepare(version: str, row: Row) -> None:
    """Interpreter, copy, wheel; what goes wrong is in ROW."""
    work = MATRIX / version
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
        row.full = (work / "version.txt").read_text().split("\n")[0]


def run_row(name: str, prepared: dict[str, Row], chosen: list[str]) -> Row:
    """Test what NAME says with the CHOSEN suites, none: all; PREPARED has the versions that were built
    already."""
    version, _, option = name.partition("+")
    jit = option == "jit"
    started = time.monotonic()
    if version not in prepared:
        prepared[version] = Row(version)
        prepare(version, prepared[version])
    row = dataclasses.replace(prepared[version], version=name, results={})
    if not row.trouble and jit:
        log = MATRIX / version / "logs" / "jit.log"
        if run_step(version, log, BUILD_PATIENCE, "jit", jit=True) != 0:
            row.cannot, row.trouble, row.log = True, "this build has no JIT", log
    if not row.trouble:
        for suite in suites_of(ROOT / "tests", jit):
            if chosen and suite not in chosen:
                continue
            row.results[suite] = run_suite(version, name, suite, jit)
            print(f"test_matrix: {name}: {suite}: {row.results[suite]}", flush=True)
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
    notes += [f"{version}: untested: {why}" for version, why in UNTESTED.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    head = "passed/failed/skipped of every suite (folder of tests/)"
    return "\n".join([head, "", *text, "", *notes])


def main(arguments: list[str]) -> int:
    """Test every version named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="test_matrix", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--bench-threads", action="store_true")
    parser.add_argument("--suites", default="", help="folders of tests/, comma separated")
    parser.add_argument("versions", nargs="*")
    options = parser.parse_args(arguments)
    names = options.versions
    if options.bench_threads:
        return run_bench(names or ["3.13t", "3.13"])
    chosen = [name for name in options.suites.split(",") if name]
    rows: list[Row] = []
    prepared: dict[str, Row] = {}
    for name in names or EVERYTHING:
        print(f"test_matrix: {name}", flush=True)
        rows.append(run_row(name, prepared, chosen))
    columns = [
        name for name in suites_of(ROOT / "tests", jit=False) if not chosen or name in chosen
    ]
    text = table(rows, columns)
    MATRIX.mkdir(parents=True, exist_ok=True)
    (MATRIX / "table.txt").write_text(text + "\n")
    print(f"\n{text}")
    wanted = [row for row in rows if names or not row.cannot]
    return 0 if wanted and all(row.fine for row in wanted) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
