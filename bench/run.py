"""Programs in every mode of this project and of its peers, in alternation.

    python -m bench.run                      all programs and modes, five rounds
    python -m bench.run --programs json,rows --modes plain,budgeted,exact --rounds 9

Every measurement is a fresh process (bench/worker.py) that times the program alone. A round runs
every mode of a program once, turned by one in every round; a ratio is that of one round. The peers
take longest and are no bar: they run in the first rounds only (--peer-rounds).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import measure, report, worker
from bench.environments import Environments, cache_folder
from bench.programs import GROUPS, PROGRAMS

BASE = ("pytest==9.2.0", "pytest-xdist==3.8.0", "numpy==2.4.6")
_WORKER = Path(__file__).with_name("worker.py")
#: Processor seconds that the timed stretch of a program takes, about.
_STRETCH = 0.2
#: Seconds after which a run is cut off.
_PATIENCE = 60
PEERS = ("memray", "memray-python", "memray-leaks", "tracemalloc")


class Bench:
    """Runs workers and keeps what they say in `rows`."""

    def __init__(self, environments: Environments) -> None:
        self.environments = environments
        self.rows: list[report.Row] = []

    def run(
        self, programs: Sequence[str], modes: Sequence[str], rounds: int, peer_rounds: int
    ) -> None:
        """All rounds; a line on stderr for each program. A mode that did not end well is not tried again."""
        group_of = {name: group for group, known in GROUPS.items() for name in known}
        for name in programs:
            row = report.Row(name, group_of[name])
            calls = self._calls(name)
            for number in range(rounds):
                for mode in measure.rotated(list(modes), number):
                    if (mode in PEERS and number >= peer_rounds) or mode in row.endings:
                        continue
                    said, ending = self._worker(name, mode, calls)
                    row.add(mode, number, said.get("seconds"), said.get("grown"), ending)
                    if mode == "budgeted" and said:
                        row.peak = int(said["peak"])
            self.rows.append(row)
            print(f"bench: {name}: {row.line(modes)}", file=sys.stderr, flush=True)

    def _calls(self, program: str) -> int:
        said, ending = self._worker(program, "plain", 1)
        if not said:
            raise SystemExit(f"bench: {program} does not run: {ending}")
        return max(1, round(_STRETCH / max(said["seconds"], 1e-4)))

    def _worker(self, program: str, mode: str, calls: int) -> tuple[dict[str, float], str]:
        """What the worker said, or nothing and how it ended."""
        python = self.environments.for_plugin(worker.PLUGIN.get(mode, "none"))
        command = [str(python), str(_WORKER), program, mode, str(calls)]
        # Threads of a numeric library that spin while they wait would be timed as well.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        try:
            done = subprocess.run(
                command,
                text=True,
                capture_output=True,
                check=False,
                env=environment,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return {}, "cut off"
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            return {}, measure.ending_of(done.returncode)
        said: dict[str, float] = json.loads(done.stdout)
        return said, ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--modes", default=",".join(worker.MODES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args(argv)
    programs, modes = arguments.programs.split(","), arguments.modes.split(",")
    for name, known in [(p, PROGRAMS) for p in programs] + [(m, worker.MODES) for m in modes]:
        if name not in known:
            parser.error(f"{name} is none of {', '.join(known)}")
    modes = ["plain", *(mode for mode in modes if mode != "plain")]
    rows = measured(programs, modes, arguments.rounds, arguments.peer_rounds, arguments.wheel)
    print(report.table(rows, [column for column in report.COLUMNS if column.program in modes]))
    if any(row.peak for row in rows):
        print()
        print(report.memory_table(rows, modes))
    return 0


def measured(
    programs: Sequence[str], modes: Sequence[str], rounds: int, peer_rounds: int, wheel: Path | None
) -> list[report.Row]:
    """The rows of the programs; makes environments first."""
    environments = Environments(cache_folder("programs"), BASE)
    plugins = {"none"} | {worker.PLUGIN.get(mode, "none") for mode in modes}
    environments.prepare(plugins, wheel)
    bench = Bench(environments)
    bench.run(programs, modes, rounds, peer_rounds)
    return bench.rows


if __name__ == "__main__":
    sys.exit(main())
