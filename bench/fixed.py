"""What measuring costs whatever the test does: start and stop, the first start, the plugin per test.

    python -m bench.fixed                    three rounds
    python -m bench.fixed --tests 5000 --rounds 5

Start and stop are timed with 0, 50 and 200 more shared objects loaded, since tools that look at
every object each time pay for each; the first start, which imports and patches, in fresh processes.
The plugin is timed on a folder of trivial tests: plain (plugin blocked), installed but nothing
measured, --memray, and every test under a limit; with the peer too. Processor time throughout.
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
from pathlib import Path

from bench import measure
from bench.environments import Environments, cache_folder
from bench.run import BASE

_OBJECTS = (0, 50, 200)
#: Name -> (environment, further pytest arguments, limit_memory on every test).
PLUGIN_MODES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "plain": ("none", (), ""),
    "installed": ("ours", (), ""),
    "memray": ("ours", ("--memray", "--hide-memray-summary"), ""),
    "limit": ("ours", (), "100 MB"),
    "peer-memray": ("peer", ("--memray", "--hide-memray-summary"), ""),
    "peer-limit": ("peer", (), "100 MB"),
}

_START_STOP = """
import ctypes, gc, json, sys, time
for path in json.loads(sys.argv[2]):
    ctypes.CDLL(path)
times = []
if sys.argv[1] == "ours":
    import cmemray
    for _ in range(int(sys.argv[3])):
        gc.collect()
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


def clean_environment() -> dict[str, str]:
    """The caller's, without what changes Python: with PYTHONDONTWRITEBYTECODE, say, pytest
    compiles every plugin anew in each run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONHASHSEED": "0"}


def _python(python: Path, code: str, *arguments: str) -> float:
    command = [str(python), "-P", "-c", code, *arguments]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}")
    return float(json.loads(done.stdout))


def _copies(folder: Path, n: int) -> list[str]:
    """`n` shared objects that the loader takes for different ones."""
    modules = Path(sysconfig.get_path("platstdlib"), "lib-dynload")
    source = min(modules.glob("*.so"), key=lambda path: path.stat().st_size)
    paths = [folder / f"object_{i}.so" for i in range(n)]
    for path in paths:
        shutil.copyfile(source, path)
    return [str(path) for path in paths]


def start_and_stop(environments: Environments, rounds: int) -> str:
    """Microseconds per start and stop, and milliseconds of the first."""
    text = ["Start and stop of one measurement, microseconds (median of 300; rounds' lowest)", ""]
    text.append("  " + f"{'more objects':<14}" + "".join(f"{n:>10}" for n in _OBJECTS))
    with tempfile.TemporaryDirectory() as folder:
        paths = _copies(Path(folder), max(_OBJECTS))
        for plugin, times in (("ours", "300"), ("peer", "30")):
            python = environments.for_plugin(plugin)
            line = f"  {plugin:<14}"
            for n in _OBJECTS:
                given = (plugin, json.dumps(paths[:n]), times)
                line += f"{min(_python(python, _START_STOP, *given) for _ in range(rounds)):10.1f}"
            text.append(line)
    text += ["", "The first one, import included, numpy loaded before, milliseconds (median)", ""]
    for plugin in ("ours", "peer"):
        python = environments.for_plugin(plugin)
        first = statistics.median(_python(python, _FIRST, plugin) for _ in range(rounds + 2))
        text.append(f"  {plugin:<14}{first:10.1f}")
    return "\n".join(text)


def _write_tests(folder: Path, n: int) -> None:
    files = max(n // 500, 1)
    for number in range(files):
        tests = (f"def test_{i}():\n    assert len([{i}]) == 1\n" for i in range(n // files))
        (folder / f"test_trivial_{number}.py").write_text("\n\n".join(tests))
    (folder / "conftest.py").write_text(
        "import os\n\nimport pytest\n\n\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_collection_modifyitems(items):\n"
        "    limit = os.environ.get('BENCH_LIMIT')\n"
        "    for item in items if limit else ():\n"
        "        item.add_marker(pytest.mark.limit_memory(limit))\n"
    )


def plugin_cost(environments: Environments, tests: int, rounds: int, modes: list[str]) -> str:
    """Milliseconds of processor time per trivial test above plain."""
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    resident: dict[str, list[int]] = {mode: [] for mode in modes}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_tests(folder, tests)
        for number in range(rounds):
            for mode in measure.rotated(modes, number):
                plugin, options, limit = PLUGIN_MODES[mode]
                python = str(environments.for_plugin(plugin))
                fixed = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header")
                done = measure.run(
                    [python, *fixed, *options],
                    cwd=folder,
                    environment={**clean_environment(), "BENCH_LIMIT": limit},
                    log=folder / "log.txt",
                    timeout=900,
                )
                if done.ending != "exit 0":
                    print((folder / "log.txt").read_text()[-2000:], file=sys.stderr)
                    raise SystemExit(f"bench: trivial tests, {mode}: {done.ending}")
                seconds[mode].append(done.seconds)
                resident[mode].append(done.resident)
    text = [f"{tests} trivial tests, CPU time (median of {rounds} rounds)", ""]
    head = f"{'seconds':>9}  {'ratio to plain':<18}{'ms per test above plain':>24}"
    text.append(f"  {'mode':<13}{head}{'bytes per test above plain':>28}")
    plain = statistics.median(seconds["plain"])
    base = statistics.median(resident["plain"])
    for mode in modes:
        middle = statistics.median(seconds[mode])
        more = (middle - plain) / tests * 1000
        memory = (statistics.median(resident[mode]) - base) / tests
        ratio = measure.ratio(seconds[mode], seconds["plain"])
        text.append(f"  {mode:<13}{middle:9.2f}  {ratio!s:<18}{more:24.3f}{memory:28.0f}")
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fixed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--tests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", default=",".join(PLUGIN_MODES))
    parser.add_argument("--only-plugin", action="store_true", help="leave out start and stop")
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args(argv)
    modes = ["plain", *(mode for mode in arguments.modes.split(",") if mode != "plain")]
    environments = Environments(cache_folder("programs"), BASE)
    environments.prepare({"none", "ours", "peer"}, arguments.wheel)
    if not arguments.only_plugin:
        print(start_and_stop(environments, arguments.rounds), end="\n\n")
    print(plugin_cost(environments, arguments.tests, arguments.rounds, modes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
