"""What measuring costs whatever the test does: start and stop, the first start, the plugin per test.

Times, and for the plugin also memory per test and the size of what a test's reports say to a controlling
process.

    python -m bench.fixed                    three rounds
    python -m bench.fixed --tests 5000 --rounds 5

Start and stop are timed with 0, 50 and 200 more shared objects loaded, since tools that look at
every object each time pay for each; apart from that, the collection of young objects before a start,
with 600 of them, which are fewer than the interpreter itself would collect; the first start, which
imports and patches, in fresh processes. The plugin is timed on a folder of trivial tests: plain (plugin
blocked), installed but nothing measured, --memray, and every test under a limit; with the peer too.
Processor time throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import measure
from bench.environments import Environments, cache_folder
from bench.run import BASE

OBJECTS = (0, 50, 200)
#: Young objects that a start finds: 700 is when the interpreter of 3.11 collects them by itself.
YOUNG = 600
#: Name -> (environment, further pytest arguments, limit_memory on every test).
PLUGIN_MODES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "plain": ("none", (), ""),
    "installed": ("ours", (), ""),
    "memray": ("ours", ("--memray",), ""),
    "limit": ("ours", (), "100 MB"),
    "peer-memray": ("peer", ("--memray",), ""),
    "peer-limit": ("peer", (), "100 MB"),
}

_START_STOP = """
import ctypes, gc, json, sys, time
for path in json.loads(sys.argv[2]):
    ctypes.CDLL(path)
young, times = [], []
if sys.argv[1] == "ours":
    import cmemray
    for _ in range(int(sys.argv[3])):
        gc.collect()
        young = [[] for _ in range(int(sys.argv[4]))]
        start = time.process_time_ns()
        m = cmemray.measure()
        m.start()
        m.stop()
        times.append(time.process_time_ns() - start)
else:
    import memray
    for _ in range(int(sys.argv[3])):
        start = time.process_time_ns()
        with memray.Tracker("/dev/null"):
            pass
        times.append(time.process_time_ns() - start)
times = times[1:]
times.sort()
print(json.dumps(times[len(times) // 2] / 1e3))
"""

_FIRST = """
import json, sys, time
import numpy
start = time.process_time_ns()
if sys.argv[1] == "ours":
    import cmemray
    m = cmemray.measure()
    m.start()
    m.stop()
else:
    import memray
    with memray.Tracker("/dev/null"):
        pass
print(json.dumps((time.process_time_ns() - start) / 1e6))
"""

_CONFTEST = """
import json, os
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    limit = os.environ.get("BENCH_LIMIT")
    for item in items if limit else ():
        item.add_marker(pytest.mark.limit_memory(limit))

if os.environ.get("BENCH_RESIDENT") and "PYTEST_XDIST_WORKER" not in os.environ:
    def pytest_unconfigure():
        with open("/proc/self/status") as status, open(os.environ["BENCH_RESIDENT"], "w") as file:
            [line] = [line for line in status if line.startswith("VmHWM:")]
            file.write(line.split()[1])

if os.environ.get("BENCH_REPORTS"):
    sizes = []

    def pytest_sessionstart(session):
        config = session.config
        class Keeper:
            # Before any plugin that tidies a report up.
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_logreport(self, report):
                data = config.hook.pytest_report_to_serializable(config=config, report=report)
                sizes.append(len(json.dumps(data, default=str)))

        config.pluginmanager.register(Keeper())

    def pytest_unconfigure():
        with open(os.environ["BENCH_REPORTS"], "w") as file:
            json.dump(sizes, file)
"""


def clean_environment() -> dict[str, str]:
    """The caller's, without what changes Python: with PYTHONDONTWRITEBYTECODE, say, pytest
    compiles every plugin anew in each run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONHASHSEED": "0"}


def _python(python: Path, code: str, *arguments: str) -> float:
    command = [str(python), "-P", "-c", code, *arguments]
    environment = clean_environment()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}")
    return float(json.loads(done.stdout))


def _copies(folder: Path, n: int) -> list[str]:
    """`n` shared objects that the loader takes for different ones."""
    modules = Path(sysconfig.get_config_var("DESTSHARED"))
    source = min(modules.glob("*.so"), key=lambda path: path.stat().st_size)
    paths = [folder / f"object_{i}.so" for i in range(n)]
    for path in paths:
        shutil.copyfile(source, path)
    return [str(path) for path in paths]


def start_and_stop(environments: Environments, rounds: int) -> dict[str, dict[str, float]]:
    """Plugin -> "N objects": microseconds per start and stop with so many more objects loaded, least
    of the rounds; "collection": what YOUNG young objects add; "first": milliseconds of the first, median."""
    found: dict[str, dict[str, float]] = {"ours": {}, "peer": {}}
    with tempfile.TemporaryDirectory() as folder:
        paths = _copies(Path(folder), max(OBJECTS))
        for plugin, times in (("ours", "300"), ("peer", "30")):
            python = environments.for_plugin(plugin)
            for n in OBJECTS:
                given = (plugin, json.dumps(paths[:n]), times, "0")
                took = min(_python(python, _START_STOP, *given) for _ in range(rounds))
                found[plugin][f"{n} objects"] = took
            if plugin == "ours":
                given = (plugin, "[]", times, str(YOUNG))
                took = min(_python(python, _START_STOP, *given) for _ in range(rounds))
                found[plugin]["collection"] = max(took - found[plugin]["0 objects"], 0.0)
            _python(python, _FIRST, plugin)  # writes bytecode
            first = [_python(python, _FIRST, plugin) for _ in range(3 * rounds)]
            found[plugin]["first"] = statistics.median(first)
    return found


def start_text(found: dict[str, dict[str, float]]) -> str:
    text = ["Start and stop of one measurement, microseconds (median of many; rounds' lowest)", ""]
    text.append("  " + f"{'more objects':<14}" + "".join(f"{n:>10}" for n in OBJECTS))
    for plugin, times in found.items():
        text.append(f"  {plugin:<14}" + "".join(f"{times[f'{n} objects']:10.1f}" for n in OBJECTS))
    text.append(f"  {YOUNG} young objects add {found['ours']['collection']:.1f}")
    text += ["", "The first one, import included, numpy loaded before, milliseconds (median)", ""]
    text += [f"  {plugin:<14}{times['first']:10.1f}" for plugin, times in found.items()]
    return "\n".join(text)


def _write_tests(folder: Path, n: int) -> None:
    files = max(n // 500, 1)
    for number in range(files):
        tests = (f"def test_{i}():\n    assert len([{i}]) == 1\n" for i in range(n // files))
        (folder / f"test_trivial_{number}.py").write_text("\n\n".join(tests))
    (folder / "conftest.py").write_text(_CONFTEST)


class PluginCost:
    """Runs of pytest over trivial tests: mode -> seconds and largest resident bytes of each round."""

    def __init__(self, environments: Environments, tests: int, modes: list[str]) -> None:
        self.environments = environments
        self.tests = tests
        self.seconds: dict[str, list[float]] = {mode: [] for mode in modes}
        self.resident: dict[str, list[int]] = {mode: [] for mode in modes}

    def run(self, rounds: int, peer_rounds: int | None = None) -> None:
        """All modes in every round, those of the peer in the first `peer_rounds` (None: all) only."""
        with tempfile.TemporaryDirectory() as name:
            _write_tests(Path(name), self.tests)
            run_tests(self.environments, Path(name), "plain")  # writes bytecode
            for number in range(rounds):
                for mode in measure.rotated(list(self.seconds), number):
                    if peer_rounds is not None and number >= peer_rounds and "peer" in mode:
                        continue
                    done = run_tests(self.environments, Path(name), mode)
                    self.seconds[mode].append(done.seconds)
                    self.resident[mode].append(done.resident)

    def ratio(self, mode: str) -> measure.Ratio | None:
        return measure.ratio(self.seconds[mode], self.seconds["plain"])

    def per_test(self, mode: str) -> float:
        """Milliseconds above plain of the same round, median."""
        pairs = zip(self.seconds[mode], self.seconds["plain"], strict=False)
        return statistics.median(a - b for a, b in pairs) / self.tests * 1000

    def bytes_above_plain(self, mode: str) -> float:
        """Of the whole process."""
        return statistics.median(self.resident[mode]) - statistics.median(self.resident["plain"])

    def text(self) -> str:
        """One line per mode."""
        rounds = len(self.seconds["plain"])
        text = [f"{self.tests} trivial tests, CPU time (median of {rounds} rounds)", ""]
        head = f"{'seconds':>9}  {'ratio to plain':<18}{'ms per test above plain':>24}"
        text.append(f"  {'mode':<13}{head}{'bytes per test above plain':>28}")
        for mode in self.seconds:
            memory = self.bytes_above_plain(mode) / self.tests
            line = f"  {mode:<13}{statistics.median(self.seconds[mode]):9.2f}"
            line += f"  {self.ratio(mode)!s:<18}{self.per_test(mode):24.3f}{memory:28.0f}"
            text.append(line)
        return "\n".join(text)


def run_tests(
    environments: Environments,
    folder: Path,
    mode: str,
    further: Sequence[str] = (),
    keep: Mapping[str, str] | None = None,
) -> measure.Finished:
    """One run over the tests of `folder`, with `further` options; `keep`: see conftest.py there."""
    plugin, options, limit = PLUGIN_MODES[mode]
    python = str(environments.for_plugin(plugin))
    fixed = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header")
    done = measure.run(
        [python, *fixed, *options, *(further or ("-p", "no:xdist"))],
        cwd=folder,
        environment={**clean_environment(), "BENCH_LIMIT": limit, **(keep or {})},
        log=folder / "log.txt",
        timeout=900,
    )
    if done.ending != "exit 0":
        print((folder / "log.txt").read_text()[-2000:], file=sys.stderr)
        raise SystemExit(f"bench: trivial tests, {mode}: {done.ending}")
    return done


def bytes_per_test(environments: Environments, few: int, many: int, mode: str = "memray") -> float:
    """Resident bytes that one more passing test takes, above plain's: the difference between MANY and
    FEW tests, without what the plugin takes once."""
    above = []
    for tests in (few, many):
        cost = PluginCost(environments, tests, ["plain", mode])
        cost.run(1)
        above.append(cost.bytes_above_plain(mode))
    return (above[1] - above[0]) / (many - few)


def controller_bytes_per_test(
    environments: Environments, few: int, many: int, mode: str = "memray"
) -> float:
    """The same of the process that hands tests out to two workers."""
    above = []
    for tests in (few, many):
        resident = {}
        with tempfile.TemporaryDirectory() as name:
            _write_tests(Path(name), tests)
            keep = {"BENCH_RESIDENT": str(Path(name, "resident"))}
            for one in ("plain", mode):
                run_tests(environments, Path(name), one, ("-n", "2"), keep)
                resident[one] = int(Path(name, "resident").read_text()) * 1024
        above.append(resident[mode] - resident["plain"])
    return (above[1] - above[0]) / (many - few)


def report_bytes(environments: Environments, mode: str) -> float:
    """Bytes of JSON that all reports of one passing test take."""
    tests = 500
    with tempfile.TemporaryDirectory() as name:
        _write_tests(Path(name), tests)
        keep = {"BENCH_REPORTS": str(Path(name, "sizes.json"))}
        run_tests(environments, Path(name), mode, keep=keep)
        sizes: list[int] = json.loads(Path(name, "sizes.json").read_text())
    return sum(sizes) / tests


def measured(
    environments: Environments, rounds: int, tests: int, many: int
) -> tuple[dict[str, float], str]:
    """What the bars are about, by name, and the text. `many` 0: no slope of memory per test."""
    started = start_and_stop(environments, rounds)
    cost = PluginCost(environments, tests, list(PLUGIN_MODES))
    cost.run(2 * rounds + 1, peer_rounds=1)
    installed = cost.ratio("installed")
    plain, *ours = (report_bytes(environments, mode) for mode in ("plain", "memray", "limit"))
    found = {
        "report bytes": max(ours) - plain,
        "plain report bytes": plain,
    }
    for plugin, times in started.items():
        found |= {f"{plugin}, {what}": time for what, time in times.items()}
    for mode in cost.seconds:
        found[f"per test ms, {mode}"] = cost.per_test(mode)
    if installed is not None:
        found["installed ratio"] = installed.median
    if many:
        found["bytes per test"] = bytes_per_test(environments, many // 5, many)
        found["controller bytes per test"] = controller_bytes_per_test(
            environments, many // 5, many
        )
    text = f"{start_text(started)}\n\n{cost.text()}\n\n"
    text += f"Reports of a passing test as JSON: {plain:.0f} bytes plain, {max(ours):.0f} measured"
    if many:
        text += f"\nResident bytes per passing test above plain, {many} tests: {found['bytes per test']:.0f}"
        text += f"; of a controlling process: {found['controller bytes per test']:.0f}"
    return found, text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fixed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--many", type=int, default=50_000, help="tests for memory per test; 0: none"
    )
    parser.add_argument("--modes", default="", help="only the plugin, in these modes")
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args(argv)
    environments = Environments(cache_folder("programs"), BASE)
    environments.prepare({"none", "ours", "peer"}, arguments.wheel)
    if arguments.modes:
        modes = [mode for mode in arguments.modes.split(",") if mode != "plain"]
        cost = PluginCost(environments, arguments.tests, ["plain", *modes])
        cost.run(arguments.rounds)
        print(cost.text())
        return 0
    print(measured(environments, arguments.rounds, arguments.tests, arguments.many)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
