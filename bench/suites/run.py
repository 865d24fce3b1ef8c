"""Run suites in several modes, in alternation, and print what differs and what it costs.

    python -m bench.suites                                     all suites, three rounds
    python -m bench.suites --suites sklearn.tree --rounds 5
    python -m bench.suites --modes plain,memray,peer-memray

A round runs every mode once; the order is turned in every round. Times are user + system seconds of
the whole pytest process and of the children it waited for. Mode "plain" runs at least twice: a test
that comes out differently there is named as unsteady and not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import bench.report
from bench import measure
from bench.environments import Environments, cache_folder
from bench.suites import catalog, report

_PROBE = Path(__file__).with_name("probe")


@dataclass
class Run:
    """One mode of one suite, once."""

    suite: str
    mode: str
    round: int
    seconds: float
    ending: str
    outcomes: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    log: str = ""


class Runner:
    """Runs suites in the prepared environments; keeps logs and results in one folder."""

    def __init__(
        self, environments: Environments, extra: tuple[str, ...] = (), patience: int = 3600
    ) -> None:
        self.environments = environments
        self.results = results = environments.folder / "results"
        self.extra = extra
        self.patience = patience
        results.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        suite: catalog.Suite,
        mode: catalog.Mode,
        number: int,
        only: Sequence[str] = (),
        label: str = "",
    ) -> Run:
        """One run, of all tests or of `only` some; its files are named by `label` or `number`. A suite
        that crashes or does not end is a result, not an error."""
        stem = f"{suite.name}-{mode.name}-{label or number}"
        out, log = self.results / f"{stem}.json", self.results / f"{stem}.log"
        out.unlink(missing_ok=True)
        variables = self._variables(suite, mode, out)
        if only:
            chosen = self.results / f"{suite.name}-only.json"
            chosen.write_text(json.dumps(list(only)))
            variables["SUITE_PROBE_ONLY"] = str(chosen)
        with tempfile.TemporaryDirectory() as empty:
            cwd = self.environments.sdist(suite.sdist) if suite.sdist else Path(empty)
            finished = measure.run(
                self._command(suite, mode),
                cwd=cwd,
                environment=variables,
                log=log,
                timeout=self.patience if mode.is_peer else 2 * suite.timeout,
            )
        result = Run(suite.name, mode.name, number, finished.seconds, finished.ending, log=str(log))
        if out.exists():
            said = json.loads(out.read_text())
            result.outcomes, result.why = said["outcomes"], said["why"]
            result.peaks = said["peaks"]
        if mode.name == "peaks":
            self._peaks_file(suite).write_text(json.dumps(result.peaks))
        return result

    def _command(self, suite: catalog.Suite, mode: catalog.Mode) -> list[str]:
        return [
            *(str(self.environments.for_plugin(mode.plugin)), "-m", "pytest", "-q"),
            *("-p", "no:cacheprovider", "-p", "suite_probe"),
            *(*mode.args, *self.extra, *suite.args),
        ]

    def _variables(self, suite: catalog.Suite, mode: catalog.Mode, out: Path) -> dict[str, str]:
        named = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "PYTHON", "CMEMRAY_"))
        }
        named |= {"PYTHONPATH": str(_PROBE), "SUITE_PROBE_OUT": str(out), "PYTHONHASHSEED": "0"}
        # Threads of a numeric library that spin while they wait would be timed as well.
        named |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **dict(mode.environment)}
        if mode.marker is not None:
            named["SUITE_PROBE_MARKER"], named["SUITE_PROBE_LIMIT"] = mode.marker
            if mode.marker[1] == "twice":
                named["SUITE_PROBE_PEAKS"] = str(self._peaks_file(suite))
        return named

    def _peaks_file(self, suite: catalog.Suite) -> Path:
        return self.results / f"{suite.name}-peaks.json"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.suites", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    suites = ",".join(suite.name for suite in catalog.SUITES)
    parser.add_argument("--suites", default=suites, help=f"comma separated, of: {suites}")
    known = ",".join(mode.name for mode in catalog.MODES)
    default = ",".join(catalog.DEFAULT_MODES)
    parser.add_argument("--modes", default=default, help=f"default {default}; all: {known}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", action="store_true", help="only the parts that make bench runs")
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--patience", type=int, default=3600, help="seconds for a run of a peer")
    parser.add_argument("--wheel", type=Path, help="test this wheel instead of building the tree")
    parser.add_argument("--prepare", action="store_true", help="only make the environments")
    parser.add_argument("pytest_args", nargs="*", help="after --: passed on to pytest")
    return parser.parse_args(argv)


def _chosen(names: str, known: dict[str, object], what: str) -> list[str]:
    chosen = [name for name in names.split(",") if name]
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"no {what} {', '.join(unknown)}; there are: {', '.join(known)}")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Status 0 when no test came out differently because it was measured by this plugin."""
    arguments = _arguments(argv)
    chosen = [suite.partly() if arguments.parts else suite for suite in catalog.SUITES]
    suites = {suite.name: suite for suite in chosen}
    modes = {mode.name: mode for mode in catalog.MODES}
    names = _chosen(arguments.suites, dict(suites), "suite")
    mode_names = _chosen(arguments.modes, dict(modes), "mode")
    if "plain" not in mode_names:
        mode_names.insert(0, "plain")
    environments = Environments(cache_folder("suites"), catalog.BASE)
    environments.prepare({modes[name].plugin for name in mode_names}, arguments.wheel)
    if arguments.prepare:
        return 0
    runner = Runner(environments, tuple(arguments.pytest_args), arguments.patience)
    runs: list[Run] = []
    for name in names:
        here = rounds_of(runner, suites[name], mode_names, arguments.rounds, arguments.peer_rounds)
        print(report.suite_text(name, here, mode_names), flush=True)
        runs += here
    (runner.results / "runs.json").write_text(json.dumps([asdict(run) for run in runs]))
    print(report.summary_text(runs, names, mode_names))
    ours = {mode.name for mode in catalog.MODES if mode.plugin == "ours"}
    return 1 if any(report.mistakes(runs, name, mode) for name in names for mode in ours) else 0


def rounds_of(
    runner: Runner, suite: catalog.Suite, modes: Sequence[str], rounds: int, peer_rounds: int
) -> list[Run]:
    """All rounds of one suite: each mode once in each, plain at least twice; peers in the first
    rounds only. The peaks that "twice" needs are measured before all."""
    known = {mode.name: mode for mode in catalog.MODES}
    runs = []
    if "twice" in modes:
        _one(runner, suite, known["peaks"], 0)
    for number in range(rounds):
        for name in measure.rotated(list(modes), number):
            if not known[name].is_peer or number < peer_rounds:
                runs.append(_one(runner, suite, known[name], number))
    if rounds == 1:
        runs.append(_one(runner, suite, known["plain"], 1))
    return runs


def row_of(suite: str, runs: Sequence[Run]) -> bench.report.Row:
    """The suite as a line of the table. Failing tests are no failure of a run that fails them in plain
    as well; a test that comes out differently is counted apart."""
    row = bench.report.Row(suite, bench.report.SUITES)
    for run in runs:
        ended = run.ending in ("exit 0", "exit 1") and bool(run.outcomes)
        row.add(
            run.mode, run.round, run.seconds if ended else None, None, "" if ended else run.ending
        )
        row.tests = max(row.tests, len(run.outcomes))
    for mode in catalog.MODES:
        if mode.plugin == "ours" and mode.name in row.seconds:
            row.differ[mode.name] = len(report.mistakes(runs, suite, mode.name))
    return row


def _one(runner: Runner, suite: catalog.Suite, mode: catalog.Mode, number: int) -> Run:
    run = runner.run(suite, mode, number)
    text = f"suites: {suite.name} {mode.name} {number}: {run.seconds:.1f} s, {run.ending}"
    print(text, file=sys.stderr, flush=True)
    return run
