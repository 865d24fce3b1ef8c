"""Writes the tables of docs/performance.md from results, so that no figure there is typed by hand.

    python -m bench.docs                     of the latest results of python -m bench
    python -m bench.docs --from a.json b.json

What the results have is taken into docs/performance.json (parts that they do not have stay), and each
stretch of the document between `<!-- table: NAME -->` and `<!-- end of table -->` is written anew from
it. A test compares the two files.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import bars, fixed, report, scale, worker
from bench.environments import cache_folder
from bench.instructions import table as instructions
from bench.report import COLUMNS, SUITES, Row
from bench.results import LATEST, Results

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
DATA = ROOT / "docs" / "performance.json"
_STRETCH = re.compile(r"(<!-- table: (?P<name>[\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def markdown(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; the first `left` columns to the left, the others to the right."""
    rule = [*("---" for _ in head[:left]), *("---:" for _ in head[left:])]
    lines = [head, rule, *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ratios(rows: Sequence[Row], suites: bool) -> str:
    """Rows of programs or of suites in their columns."""
    here = [row for row in rows if (row.group == SUITES) == suites]
    columns = [column for column in COLUMNS if column.mode(SUITES if suites else "")]
    body = []
    for _, lines in report.lines(here, columns):
        for line in lines:
            summary = ", geometric mean" in line[0] or ", worst" in line[0]
            body.append([f"**{cell}**" if cell and summary else cell for cell in line])
    return markdown(["", "plain s", *(column.title for column in columns)], body)


def memory(rows: Sequence[Row]) -> str:
    """Own memory of the programs whose peak is a MiB or more."""
    modes = [mode for mode in worker.MODES if mode != "plain"]
    return markdown(["program", "peak MiB", *modes], report.memory_lines(rows, modes))


def fixed_costs(found: Mapping[str, float]) -> str:
    """What each measurement, each test and each process costs."""

    def figure(name: str, form: str) -> str:
        return format(found[name], form) if name in found else "-"

    objects = [
        (f"start and stop, {n} more objects loaded, us", f"{n} objects") for n in fixed.OBJECTS
    ]
    body = [
        [what, figure(f"ours, {name}", ".1f"), figure(f"peer, {name}", ".1f")]
        for what, name in (
            *objects,
            (f"collection of {fixed.YOUNG} young objects before it, us", "collection"),
            ("the first one, import included, ms", "first"),
        )
    ]
    for what, name in (
        ("per trivial test above plain, `--memray`, ms", "memray"),
        ("per trivial test above plain, each with a limit, ms", "limit"),
    ):
        both = (f"per test ms, {name}", f"per test ms, peer-{name}")
        body.append([what, *(figure(one, ".3f") for one in both)])
    for what, name, form in (
        ("per trivial test above plain, nothing measured, ms", "per test ms, installed", ".3f"),
        ("resident bytes per passing test above plain, `--memray`", "bytes per test", ".0f"),
        ("the same of a process that hands tests out", "controller bytes per test", ".0f"),
        ("bytes of a passing test's reports above plain, as JSON", "report bytes", ".0f"),
    ):
        body.append([what, figure(name, form), ""])
    return markdown(["", "this plugin", "pytest-memray"], body)


def growth(results: Results) -> str:
    """The curves."""
    return markdown(scale.HEAD, scale.lines(results.curves))


def threads(found: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """What several threads cost that allocate at once, on builds with and without the GIL."""
    head = ["CPython", "threads", "limit", "limit, wall", "exact", "exact, wall"]
    body = [
        [build if count == next(iter(table)) else "", count, *cells]
        for build, table in found.items()
        for count, cells in table.items()
    ]
    return markdown(head, body)


def judged(results: Results) -> str:
    """The bars."""
    found = bars.judged(results.rows, results.fixed, list(scale.bars_of(results.curves)))
    body = [[*one.cells()[:3], one.verdict.lower()] for one in found]
    return markdown(["bar", "allowed", "measured", ""], body)


def counted(table: instructions.Table) -> str:
    """Instructions per event, a column for each build."""
    events = list(dict.fromkeys(event for counts in table.values() for event in counts))
    body = [
        [event, *(f"{counts[event]:.0f}" if event in counts else "" for counts in table.values())]
        for event in events
    ]
    return markdown(["event", *table], body)


def made(results: Results) -> str:
    """Where and when."""
    said = results.made
    machine = f"{said['python']}, {said['libc']}, {said['machine']}"
    return f"Measured on {said['date']} with {machine}; up to {results.rounds} rounds.\n"


def written(document: str, results: Results, table: instructions.Table) -> str:
    """The document with every stretch anew. An unknown name is an error."""
    stretches = {
        "machine": lambda: made(results),
        "programs": lambda: ratios(results.rows, suites=False),
        "suites": lambda: ratios(results.rows, suites=True),
        "memory": lambda: memory(results.rows),
        "fixed": lambda: fixed_costs(results.fixed),
        "growth": lambda: growth(results),
        "threads": lambda: threads(results.threads),
        "bars": lambda: judged(results),
        "instructions": lambda: counted(table),
    }
    return _STRETCH.sub(
        lambda found: found[1] + "\n" + stretches[found["name"]]() + "\n" + found[3], document
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.docs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    latest = cache_folder("results") / LATEST
    parser.add_argument("--from", dest="files", nargs="+", type=Path, default=[latest])
    parser.add_argument("--only-write", action="store_true", help="take no results, only write")
    parser.add_argument("--threads", nargs="+", type=Path, help="take these and no others")
    arguments = parser.parse_args()
    results = Results.load(DATA) if DATA.exists() else Results.new(0)
    for path in () if arguments.only_write or arguments.threads else arguments.files:
        results = Results.load(path).merged(results)
    for path in arguments.threads or ():
        results.threads |= json.loads(path.read_text())
    results.save_as(DATA)
    text = written(DOCUMENT.read_text(), Results.load(DATA), instructions.load())
    DOCUMENT.write_text(text)
    print(f"written: {DOCUMENT}, {DATA}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
