"""Does any test of other people's suites come out otherwise because it is measured?

    python -m bench.suites.outcomes                       all suites, with this interpreter
    python -m bench.suites.outcomes --suites numpy,anyio
    python -m bench.suites.outcomes --only-write          write docs/suites.md from docs/suites.json

Each suite is run twice plain and then once in every mode. A test whose outcome differs between the
plain runs is unsteady by itself, and is not compared; any other must come out as it does plain, by its
id. Status 1 when one does not. `make suites-outcomes PYTHONS="3.11 3.13"` does it with several CPythons.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.docs import markdown
from bench.environments import ROOT, Environments, cache_folder
from bench.suites import catalog, report
from bench.suites.run import Run, Runner, rounds_of

DATA = ROOT / "docs" / "suites.json"
DOCUMENT = ROOT / "docs" / "suites.md"
MODES = ("exact", "leaks")
SUITES = {suite.name: suite for suite in (*catalog.SUITES, *catalog.OUTCOMES_ONLY)}
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"

Row = dict[str, object]


def row_of(suite: str, runs: list[Run]) -> Row:
    """What is kept of the runs of one suite."""
    plain = next(run for run in runs if run.mode == "plain")
    unsteady = report.unsteady(runs, suite)
    differ = {}
    for mode in MODES:
        found = report.differences(runs, suite, mode)
        ending = next(run.ending for run in runs if run.mode == mode)
        # A run that did not come to its end has told of some tests only.
        ended = ending in ("exit 0", "exit 1")
        differ[mode] = len(found) if ended else ending
    return {
        "arguments": " ".join(SUITES[suite].args),
        "tests": len(plain.outcomes),
        "outcomes": dict(Counter(plain.outcomes.values()).most_common()),
        "unsteady": sorted(unsteady),
        "differ": differ,
    }


def table(data: Mapping[str, Mapping[str, Row]]) -> str:
    """Package x CPython x mode: how many tests, and how many come out otherwise."""
    head = ["suite", "CPython", "tests", "not passing when plain", "unsteady when plain"]
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


def written(document: str, data: Mapping[str, Mapping[str, Row]]) -> str:
    """The document with its table anew."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + "\n" + table(data) + "\n" + END + rest.partition(END)[2]


def write() -> None:
    """Write the document from what is kept."""
    DOCUMENT.write_text(written(DOCUMENT.read_text(), json.loads(DATA.read_text())))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.suites.outcomes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--suites", default=",".join(SUITES), help="comma separated")
    parser.add_argument("--wheel", type=Path, help="test this wheel instead of building the tree")
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
    kept = json.loads(DATA.read_text()) if DATA.exists() else {}
    differ = 0
    for name in arguments.suites.split(","):
        runs = rounds_of(runner, SUITES[name], ("plain", *MODES), rounds=1, peer_rounds=0)
        print(report.suite_text(name, runs, ("plain", *MODES)), flush=True)
        row = row_of(name, runs)
        kept.setdefault(version, {})[name] = row
        differ += any(row["differ"].values())  # type: ignore[attr-defined]
        DATA.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    print("\n" + table({version: kept[version]}))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
