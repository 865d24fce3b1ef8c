"""Does any test of other people's suites come out otherwise because it is measured?

    python -m bench.suites.outcomes                       all suites, with this interpreter
    python -m bench.suites.outcomes --suites numpy,anyio
    python -m bench.suites.outcomes --only-write          write docs/suites.md from docs/suites.json

Each suite is run twice plain and then once in every mode, and its tests are compared by their ids. Those
that do not come out the same each time are run again (again.py), and what is kept of them is how often
they came out how. Status 1 when a test differs because it is measured. `make suites-outcomes
PYTHONS="3.11 3.13"` does it with several CPythons.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.docs import markdown
from bench.environments import ROOT, Environments, cache_folder
from bench.suites import again, catalog, report
from bench.suites.run import Run, Runner, rounds_of

DATA = ROOT / "docs" / "suites.json"
DOCUMENT = ROOT / "docs" / "suites.md"
MODES = ("exact", "leaks")
SUITES = {suite.name: suite for suite in (*catalog.SUITES, *catalog.OUTCOMES_ONLY)}
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
BEGIN_COUNTS = "<!-- table of tests -->\n"

Row = dict[str, object]


def row_of(suite: str, runs: Sequence[Run], repeats: Sequence[Run] = ()) -> Row:
    """What is kept of the runs of one suite; `repeats` are those of its suspects alone."""
    plain = next(run for run in runs if run.mode == "plain")
    found = again.suspects(runs, suite, MODES)
    counts = again.counted([*runs, *repeats], found[: again.MOST])
    differing = set()
    differ: dict[str, int | str] = {}
    for mode in MODES:
        ending = next(run.ending for run in runs if run.mode == mode)
        here = {test for test in counts if again.is_difference(counts[test], mode)}
        # More than can be run again count as they came out.
        here |= {one.test for one in report.differences(runs, suite, mode)} - counts.keys()
        differing |= here
        # A run that did not come to its end has told of some tests only.
        ended = ending in ("exit 0", "exit 1")
        differ[mode] = len(here) if ended else ending
    return {
        "arguments": " ".join(SUITES[suite].args),
        "tests": len(plain.outcomes),
        "outcomes": dict(Counter(plain.outcomes.values()).most_common()),
        "unsteady": sorted(set(found) - differing),
        "differ": differ,
        "counts": counts,
    }


def table(data: Mapping[str, Mapping[str, Row]]) -> str:
    """Package x CPython x mode: how many tests, and how many come out otherwise."""
    head = ["suite", "CPython", "tests", "not passing when plain", "unsteady"]
    head += ["differ with `--memray`, exact", "differ with `limit_leaks`"]
    lines = []
    for suite in SUITES:
        for version, rows in sorted(data.items()):
            row = rows.get(suite)
            if row is None:
                continue
            outcomes, differ, wobbly = row["outcomes"], row["differ"], row["unsteady"]
            assert isinstance(outcomes, dict) and isinstance(differ, dict)
            assert isinstance(wobbly, list)
            others = [f"{n} {name}" for name, n in outcomes.items() if name != "passed"]
            cells = [suite, version, row["tests"], ", ".join(others) or "none", len(wobbly)]
            lines.append([str(cell) for cell in (*cells, *(differ[mode] for mode in MODES))])
    return markdown(head, lines, left=2)


def counts_table(data: Mapping[str, Mapping[str, Row]]) -> str:
    """Each test that did not come out the same each time: how often how, plain and measured."""
    names = {"plain": "plain", "exact": "exact", "leaks": "`limit_leaks`"}
    columns = [name + mark for mark in ("", again.BUSY) for name in names]
    head = ["suite", "CPython", "test"]
    head += [title + mark for mark in ("", again.BUSY) for title in names.values()]
    lines = []
    for suite in SUITES:
        for version, rows in sorted(data.items()):
            counts = rows.get(suite, {}).get("counts", {})
            assert isinstance(counts, dict)
            for test, mine in sorted(counts.items()):
                cells = [again.counts_text(mine.get(column)) for column in columns]
                lines.append([suite, version, f"`{test}`", *cells])
    return markdown(head, lines, left=3) if lines else "All tests came out the same each time.\n"


def written(document: str, data: Mapping[str, Mapping[str, Row]]) -> str:
    """The document with its tables anew."""
    for begin, text in ((BEGIN, table(data)), (BEGIN_COUNTS, counts_table(data))):
        before, _, rest = document.partition(begin)
        document = before + begin + "\n" + text + "\n" + END + rest.partition(END)[2]
    return document


def write() -> None:
    """Write the document from what is kept."""
    DOCUMENT.write_text(written(DOCUMENT.read_text(), json.loads(DATA.read_text())))


def keep(version: str, suite: str, row: Row) -> None:
    """Put a row into the data, where another CPython's run may be at work as well."""
    with DATA.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = DATA.read_text()
        data = json.loads(text) if text else {}
        data.setdefault(version, {})[suite] = row
        file.truncate(0)
        file.write(json.dumps(data, indent=1, sort_keys=True) + "\n")


def run_suite(runner: Runner, name: str, times: int) -> Row:
    """All runs of a suite, told on the way."""
    modes = ("plain", *MODES)
    runs = rounds_of(runner, SUITES[name], modes, rounds=1, peer_rounds=0)
    print(report.suite_text(name, runs, modes), flush=True)
    tests = again.suspects(runs, name, MODES)[: again.MOST]
    repeats = again.run_again(runner, SUITES[name], modes, tests, times) if tests else []
    row = row_of(name, runs, repeats)
    for test, counts in again.counted(repeats, tests).items():
        print(f"  again {test}")
        for mode, mine in counts.items():
            print(f"    {mode:<14}{again.counts_text(mine)}", flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.suites.outcomes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--suites", default=",".join(SUITES), help="comma separated")
    parser.add_argument("--wheel", type=Path, help="test this wheel instead of building the tree")
    parser.add_argument("--again", type=int, default=again.TIMES, help="times, of what differs")
    parser.add_argument("--only-write", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    if arguments.only_write:
        write()
        return 0
    version = platform.python_version()
    folder = cache_folder("outcomes") / version.rpartition(".")[0]
    environments = Environments(folder, catalog.OUTCOMES_BASE)
    environments.prepare({"none", "ours"}, arguments.wheel)
    runner = Runner(environments)
    rows = {}
    for name in arguments.suites.split(","):
        rows[name] = run_suite(runner, name, arguments.again)
        keep(version, name, rows[name])
    print("\n" + table({version: rows}) + "\n" + counts_table({version: rows}))
    return 1 if any(any(row["differ"].values()) for row in rows.values()) else 0  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
