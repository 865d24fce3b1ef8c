"""All benchmarks in one go, one table at the end.

    python -m bench [--quick] [--only programs|suites|fixed|scale] [--rounds N]

Rows are programs and public packages' test suites; columns are this project's modes, those of memray
and pytest-memray, and tracemalloc; a cell is the ratio of processor time to plain. After the table:
own memory, fixed costs, growth at scale, and the bars of the design beside what was measured. All of
it is also written as JSON (the path is printed), of which `python -m bench.docs` makes the tables of
docs/performance.md.

--quick makes one round, with the quickest suites and without most of the peers' runs. The exit status
is 0 whatever was measured: a busy machine is no mistake. The parts by themselves, with more to choose:
python -m bench.run, bench.suites, bench.fixed, bench.scale.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import bars, fixed, report, results, run, scale, worker
from bench.environments import Environments, cache_folder
from bench.programs import PROGRAMS
from bench.suites import catalog
from bench.suites import run as suites

_PARTS = ("programs", "suites", "fixed", "scale")
#: Seconds after which a peer's run of a suite is cut off.
_PATIENCE = 240


def _chosen(modes: list[str], peers: set[str], which: str) -> list[str]:
    """Of `modes` those that `--peers` says; plain always."""
    if which == "with":
        return modes
    return [mode for mode in modes if mode == "plain" or (mode in peers) == (which == "only")]


def _suite_rows(
    quick: bool, names: Sequence[str], rounds: int, which: str, wheel: Path | None
) -> list[report.Row]:
    columns = [column for column in report.COLUMNS if column.suite]
    peers = {mode.name for mode in catalog.MODES if mode.is_peer}
    modes = ["plain", "memray", *(c.suite for c in columns if c.suite not in ("memray",))]
    modes = _chosen(modes, peers, which)
    chosen = [
        suite.partly()
        for suite in catalog.SUITES
        if (suite.quick or not quick) and (not names or suite.name in names)
    ]
    if quick:
        modes = [mode for mode in modes if mode not in peers or mode == "peer-memray"]
    environments = Environments(cache_folder("suites"), catalog.BASE)
    known = {mode.name: mode for mode in catalog.MODES}
    environments.prepare({known[name].plugin for name in modes}, wheel)
    runner = suites.Runner(environments, patience=_PATIENCE)
    rows = []
    for suite in chosen:
        runs = suites.rounds_of(runner, suite, modes, rounds, peer_rounds=1)
        rows.append(suites.row_of(suite.name, runs))
        print(f"bench: {suite.name}: {rows[-1].line(modes)}", file=sys.stderr, flush=True)
    return rows


def _program_rows(
    quick: bool, rounds: int, peer_rounds: int, which: str, wheel: Path | None
) -> list[report.Row]:
    modes = _chosen(list(worker.MODES), set(run.PEERS), which)
    if quick:
        modes = [mode for mode in modes if mode not in ("memray-python", "memray-leaks")]
    return run.measured(list(PROGRAMS), modes, rounds, peer_rounds, wheel)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=_PARTS)
    parser.add_argument("--rounds", type=int, help="default 5 of programs, 3 of suites; quick: 1")
    parser.add_argument(
        "--peer-rounds", type=int, default=2, help="of programs with the peers; suites have one"
    )
    parser.add_argument(
        "--peers",
        choices=("with", "without", "only"),
        default="with",
        help="they take most of the time; bench.docs joins what two runs found",
    )
    parser.add_argument("--suites", default="", help="only these, comma separated")
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else list(_PARTS)
    if arguments.quick and not arguments.only:
        parts.remove("scale")
    quick, wheel = arguments.quick, arguments.wheel
    rounds = arguments.rounds or (1 if quick else 5)
    found = results.Results.new(rounds)
    if "programs" in parts:
        found.rows += _program_rows(quick, rounds, arguments.peer_rounds, arguments.peers, wheel)
    if "suites" in parts:
        some = arguments.rounds or (1 if quick else 3)
        names = arguments.suites.split(",") if arguments.suites else ()
        found.rows += _suite_rows(quick, names, some, arguments.peers, wheel)
    texts = []
    if "fixed" in parts:
        environments = Environments(cache_folder("programs"), run.BASE)
        environments.prepare({"none", "ours", "peer"}, wheel)
        many = 0 if quick else 50_000
        tests = 1000 if quick else 5000
        found.fixed, text = fixed.measured(environments, min(rounds, 3), tests, many)
        texts.append(text)
    if "scale" in parts:
        found.curves = scale.measured(wheel, quick)
        texts.append(scale.text(found.curves))
    if found.rows:
        print(report.table(found.rows), end="\n\n")
    if any(row.peak for row in found.rows):
        print(report.memory_table(found.rows, list(worker.MODES)), end="\n\n")
    print("\n\n".join(texts), end="\n\n")
    judged = bars.judged(found.rows, found.fixed, scale.bars_of(found.curves))
    print("Bars", "", bars.text(judged), "", sep="\n")
    print(f"results: {found.save(cache_folder('results'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
