"""What the test matrix found, kept in docs/matrix.json, and the document docs/matrix.md made of it.

A cell is one suite on one CPython. Cells are replaced one by one, each with its commit and date, so that
a suite that was mended can be run again alone, and the document says which commit it ran on.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "docs" / "matrix.json"
DOCUMENT = ROOT / "docs" / "matrix.md"

HEAD = """# What was run on which CPython

`make test-matrix` makes each of these interpreters where it is missing, builds the wheel for it, and runs
every suite (a folder of `tests`) against that wheel, each in a process of its own. Continuous integration
runs the same list, a build a job. `docs`, `tools` and the linters are about the source tree, and are run by
`make test` only. `+jit` is the same build with its JIT switched on, which makes no difference to the C
tests of `core`; `@debian` is Debian's own build, where the other one is of another origin.

A cell says how many tests passed, and in brackets how many were skipped; none may fail, and a suite that is
skipped as a whole counts as failed unless the reason is known beforehand.

"""
SKIPPED = """
## What is skipped, and why

How many tests of the row's suites, by CPython. The words are those with which the tests skip themselves.

"""
NOT_RUN = """
## What nobody has run

"""
REASONS = """
## Suites that are skipped as a whole

"""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the document is about, whether it was run or not."""

    versions: Sequence[str]
    suites: Sequence[str]
    #: Suites that may be skipped as a whole ("SUITE on VERSION"), and why.
    excused: Mapping[str, str]
    #: What nobody has run, and why.
    not_run: Mapping[str, str]


def load(path: Path) -> dict[str, Any]:
    """Rows by version, none where there is no such file."""
    if not path.exists():
        return {}
    rows: dict[str, Any] = json.loads(path.read_text())
    return rows


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """A row with NEW's cells in the places of OLD's."""
    cells = {**(old or {"cells": {}})["cells"], **new["cells"]}
    return {**new, "cells": dict(sorted(cells.items()))}


def keep(path: Path, version: str, row: Mapping[str, Any]) -> None:
    """Take a row into the file PATH, unless nothing was run."""
    rows = load(path)
    if row["cells"]:
        rows[version] = merged(rows.get(version), row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")


def markdown(head: list[str], body: list[list[str]]) -> str:
    """A table, the first column to the left, the others to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body]) + "\n"


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """Passed, skipped, and what went wrong."""
    if cell is None:
        return "not run"
    text = str(cell["passed"])
    if cell["skipped"]:
        text += f" ({cell['skipped']})"
    if cell["failed"]:
        text += f" **{cell['failed']} failed**"
    if cell["ending"]:
        text += f" **{cell['ending']}**"
    return text


def commits_text(cells: Mapping[str, Any]) -> str:
    """The commit most cells ran on, and which suites ran on others."""
    by_commit: dict[str, list[str]] = {}
    for suite, cell in cells.items():
        by_commit.setdefault(cell["commit"], []).append(suite)
    ordered = sorted(by_commit.items(), key=lambda item: -len(item[1]))
    texts = [ordered[0][0]]
    texts += [f"{commit}: {', '.join(suites)}" for commit, suites in ordered[1:]]
    return "; ".join(texts)


def results_table(rows: Mapping[str, Any], suites: Sequence[str]) -> str:
    """Suites down, versions across, below it what the interpreters are and when that was."""
    body = []
    for suite in suites:
        cells = []
        for row in rows.values():
            cell = row["cells"].get(suite)
            left_out = cell is None and suite in row["left_out"]
            cells.append("-" if left_out else cell_text(cell))
        body.append([suite, *cells])
    facts = {
        "CPython": lambda row: row["is"],
        "C library": lambda row: row["libc"],
        "commit": lambda row: commits_text(row["cells"]),
        "last run": lambda row: max(cell["date"] for cell in row["cells"].values()),
        "minutes": lambda row: f"{sum(c['seconds'] for c in row['cells'].values()) / 60:.0f}",
    }
    body += [[name, *(of(row) for row in rows.values())] for name, of in facts.items()]
    return markdown(["suite", *rows], body)


def skips_table(rows: Mapping[str, Any]) -> str:
    """Reasons down, versions across."""
    counts: dict[str, Counter[str]] = {}
    suites: dict[str, set[str]] = {}
    for version, row in rows.items():
        for suite, cell in row["cells"].items():
            for reason, times in cell["skips"].items():
                counts.setdefault(reason, Counter())[version] += times
                suites.setdefault(reason, set()).add(suite)
    body = []
    for reason in sorted(counts, key=lambda reason: (-counts[reason].total(), reason)):
        cells = [str(counts[reason][version] or "-") for version in rows]
        body.append([reason.replace("|", "\\|"), ", ".join(sorted(suites[reason])), *cells])
    return markdown(["reason", "suites", *rows], body)


def document(rows: Mapping[str, Any], layout: Layout) -> str:
    """docs/matrix.md."""
    cells = [cell for row in rows.values() for cell in row["cells"].values()]
    machines = sorted({row["machine"] for row in rows.values()})
    passed = sum(cell["passed"] for cell in cells)
    failed = sum(cell["failed"] for cell in cells)
    ended = sum(bool(cell["ending"]) for cell in cells)
    told = f"{passed:,} tests passed, {failed:,} failed"
    told += f", {ended} suites did not come to their end" if ended else ""
    text = (
        f"{HEAD}{told}. The machine: {'; '.join(machines)}.\n\n{results_table(rows, layout.suites)}"
    )
    text += (
        "\nA commit is the last one of `main` in the tree that was tested; `+n`: with n more on top;"
        " `*`: with changes that were not committed. Minutes are of the suites alone, on a machine that"
        " had other work, too.\n"
    )
    text += SKIPPED + skips_table(rows)
    if layout.excused:
        text += REASONS + "".join(f"- {name}: {why}\n" for name, why in layout.excused.items())
    not_run = {version: "not yet" for version in layout.versions if version not in rows}
    not_run |= layout.not_run
    return text + NOT_RUN + "".join(f"- {name}: {why}\n" for name, why in not_run.items())


def write(results: Path, layout: Layout) -> None:
    """Take the rows of the file RESULTS into the data, and write the document anew."""
    kept, found = load(DATA), load(results)
    rows = {}
    for version in layout.versions:
        if version in found:
            rows[version] = merged(kept.get(version), found[version])
        elif version in kept:
            rows[version] = kept[version]
    DATA.write_text(json.dumps(rows, indent=1) + "\n")
    DOCUMENT.write_text(document(rows, layout))
