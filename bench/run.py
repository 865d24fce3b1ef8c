"""Programs in every mode of this project and of its peers, in alternation, as ratios to plain.

    python -m bench.run                      all programs and modes, five rounds
    python -m bench.run --programs json,rows --modes plain,budgeted,exact --rounds 9

Every measurement is a fresh process (bench/worker.py) that times the program alone. A round runs
every mode of a program once, turned by one in every round; a ratio is that of one round, and what
is printed is the median with the extremes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import measure, worker
from bench.environments import Environments, cache_folder
from bench.programs import ALLOCATING, CALLING, EXTREME, PROGRAMS

BASE = ("pytest==9.2.0", "numpy==2.4.6")
_WORKER = Path(__file__).with_name("worker.py")
#: Processor seconds that one timed stretch of a program takes, about.
_STRETCH = 0.25


class Bench:
    """Runs workers and keeps what they say: program -> mode -> one number per round."""

    def __init__(self, environments: Environments) -> None:
        self.environments = environments
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.grown: dict[str, dict[str, list[int]]] = {}
        self.peaks: dict[str, int] = {}

    def run(self, programs: Sequence[str], modes: Sequence[str], rounds: int) -> None:
        """All rounds; a line on stderr for each program and round."""
        calls = {name: self._calls(name) for name in programs}
        for number in range(rounds):
            for name in programs:
                seconds = self.seconds.setdefault(name, {})
                grown = self.grown.setdefault(name, {})
                for mode in measure.rotated(list(modes), number):
                    said = self._worker(name, mode, calls[name])
                    seconds.setdefault(mode, []).append(said["seconds"])
                    grown.setdefault(mode, []).append(int(said["grown"]))
                    if mode == "budgeted":
                        self.peaks[name] = int(said["peak"])
                print(f"bench: {name}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)

    def _calls(self, program: str) -> int:
        return max(1, round(_STRETCH / max(self._worker(program, "plain", 1)["seconds"], 1e-4)))

    def _worker(self, program: str, mode: str, calls: int) -> dict[str, float]:
        python = self.environments.for_plugin(worker.PLUGIN.get(mode, "none"))
        command = [str(python), str(_WORKER), program, mode, str(calls), "3"]
        # Threads of a numeric library that spin while they wait would be timed as well.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(
            command, text=True, stdout=subprocess.PIPE, check=False, env=environment
        )
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}")
        said: dict[str, float] = json.loads(done.stdout)
        return said


def table(seconds: dict[str, dict[str, list[float]]], modes: Sequence[str]) -> str:
    """One line per program, then the geometric mean of each kind of program."""
    text = ["CPU time, ratio to plain: median [lowest-highest of the rounds]", ""]
    text.append(f"  {'program':<12}{'plain s':>8}" + "".join(f"  {mode:<17}" for mode in modes[1:]))
    for kind, known in (("allocating", ALLOCATING), ("calling", CALLING), ("extreme", EXTREME)):
        here = [name for name in seconds if name in known]
        ratios: dict[str, list[float]] = {mode: [] for mode in modes}
        for name in here:
            plain = seconds[name]["plain"]
            line = f"  {name:<12}{statistics.median(plain):8.3f}"
            for mode in modes[1:]:
                one = measure.ratio(seconds[name][mode], plain)
                ratios[mode].append(one.median)
                line += f"  {one!s:<17}"
            text.append(line.rstrip())
        if len(here) > 1 and kind != "extreme":
            line = f"  {kind + ', mean':<20}"
            for mode in modes[1:]:
                mean = math.exp(statistics.fmean(map(math.log, ratios[mode])))
                line += f"  {f'{mean:5.2f}':<17}"
            text += [line.rstrip(), ""]
    return "\n".join(text)


def memory_table(bench: Bench, modes: Sequence[str]) -> str:
    """Own memory of each mode: resident growth above plain's, and as a share of the program's peak."""
    text = ["Own memory, MiB (share of the program's peak in requested bytes)", ""]
    text.append(
        f"  {'program':<12}{'peak MiB':>9}" + "".join(f"  {mode:>15}" for mode in modes[1:])
    )
    for name, peak in bench.peaks.items():
        if peak < 2**20:
            continue  # a share of next to nothing
        plain = statistics.median(bench.grown[name]["plain"])
        line = f"  {name:<12}{peak / 2**20:9.1f}"
        for mode in modes[1:]:
            own = max(statistics.median(bench.grown[name][mode]) - plain, 0)
            line += f"  {f'{own / 2**20:.1f} ({own / peak:.0%})':>15}"
        text.append(line)
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--modes", default=",".join(worker.MODES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args(argv)
    programs, modes = arguments.programs.split(","), arguments.modes.split(",")
    for name, known in [(p, PROGRAMS) for p in programs] + [(m, worker.MODES) for m in modes]:
        if name not in known:
            parser.error(f"{name} is none of {', '.join(known)}")
    modes = ["plain", *(mode for mode in modes if mode != "plain")]
    environments = Environments(cache_folder("programs"), BASE)
    plugins = {"none"} | {worker.PLUGIN.get(mode, "none") for mode in modes}
    environments.prepare(plugins, arguments.wheel)
    bench = Bench(environments)
    bench.run(programs, modes, arguments.rounds)
    print(table(bench.seconds, modes))
    if bench.peaks:
        print()
        print(memory_table(bench, modes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
