"""Measures one program in one mode in a fresh process, and prints JSON.

    python bench/worker.py PROGRAM MODE CALLS

The program is run once unmeasured, so that imports, caches and the interpreter's specialisation are
warm in every mode. What is timed is the program alone, inside the open measurement: starting and
stopping is a cost of its own (bench/fixed.py). Reported are the processor seconds of CALLS calls; by
how many bytes the process's largest resident size grew after the unmeasured run, which is the tool's
own memory when the program is the same; and the program's peak in bytes where the mode knows it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# Last, so that the installed package is measured and not the source tree.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.programs import PROGRAMS

Program = Callable[[], object]
#: Runs its second argument under measurement, knowing the program; gives the peak in bytes or 0.
Measurement = Callable[[Program, Callable[[], None]], int]


def _plain(program: Program, body: Callable[[], None]) -> int:
    body()
    return 0


def _ours(**options: object) -> Measurement:
    def measure(program: Program, body: Callable[[], None]) -> int:
        import cmemray

        limits = dict(options)
        if limits.pop("twice", False):
            # The sampling period follows the limit: as dear as a limit is that a test could have.
            with cmemray.measure() as before:
                program()
            limits["limit"] = max(2 * before.peak, 64 * 1024)
        gc.collect()
        measured = cmemray.measure(**limits)  # type: ignore[arg-type]
        # Not "with": called several times, a program may hold more than twice what it holds once.
        measured.start()
        body()
        measured.stop()
        return measured.peak

    return measure


def _memray(**options: bool) -> Measurement:
    def measure(program: Program, body: Callable[[], None]) -> int:
        import memray

        with tempfile.TemporaryDirectory() as folder:
            destination = memray.FileDestination(os.path.join(folder, "capture.bin"))
            kind = memray.FileFormat.AGGREGATED_ALLOCATIONS
            with memray.Tracker(destination=destination, file_format=kind, **options):
                body()
        return 0

    return measure


_TEST = """
import pytest

@pytest.mark.limit_leaks("100 GB")
def test_program(body):
    body()
"""


def _memray_leaks(program: Program, body: Callable[[], None]) -> int:
    """pytest-memray's own marker: how it follows leaks is its affair. Timed is the test's body."""
    import pytest

    class Plugin:
        @pytest.fixture
        def body(self) -> Callable[[], None]:
            return body

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test_program.py")
        path.write_text(_TEST)
        arguments = ["-q", "-p", "no:cacheprovider", "--rootdir", folder, str(path)]
        with open(os.path.join(folder, "out"), "w") as out:
            before, sys.stdout = sys.stdout, out
            try:
                status = pytest.main(arguments, plugins=[Plugin()])
            finally:
                sys.stdout = before
        if status:
            raise SystemExit(Path(folder, "out").read_text())
    return 0


def _tracemalloc(program: Program, body: Callable[[], None]) -> int:
    import tracemalloc

    tracemalloc.start()
    body()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


MODES: dict[str, Measurement] = {
    "plain": _plain,
    # How much two equal things differ here.
    "again": _plain,
    "budgeted": _ours(twice=True),
    "far": _ours(limit="100 GB"),
    "exact": _ours(attribution="exact"),
    "system": _ours(basis="system"),
    "memray": _memray(),
    "memray-python": _memray(trace_python_allocators=True),
    "memray-leaks": _memray_leaks,
    "tracemalloc": _tracemalloc,
}
#: In which environment a mode runs; those not named need nothing installed.
PLUGIN = dict.fromkeys(("budgeted", "far", "exact", "system"), "ours")
PLUGIN |= dict.fromkeys(("memray", "memray-python", "memray-leaks"), "peer")


def main() -> None:
    program, measurement = PROGRAMS[sys.argv[1]], MODES[sys.argv[2]]
    calls = int(sys.argv[3])
    seconds = []

    def body() -> None:
        start = time.process_time()
        for _ in range(calls):
            program()
        seconds.append(time.process_time() - start)

    program()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = measurement(program, body)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds[0], "grown": (after - before) * 1024, "peak": peak}))


if __name__ == "__main__":
    main()
