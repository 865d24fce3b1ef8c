"""Measures one program in one mode in a fresh process, and prints JSON.

    python bench/worker.py PROGRAM MODE CALLS ROUNDS

The program is run once unmeasured, so that imports, caches and the interpreter's specialisation are
warm in every mode. What is timed is the program alone, inside the open measurement: starting and
stopping is a cost of its own (bench/fixed.py). Reported are the processor seconds of the fastest
round of CALLS calls; by how many bytes the process's largest resident size grew after the unmeasured
run, which is the tool's own memory when the program is the same; and the program's peak in bytes
where the mode knows it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Last, so that the installed package is measured and not the source tree.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench.programs import PROGRAMS

Program = Callable[[], object]
Measurement = Callable[[Program], contextlib.AbstractContextManager[object]]


def _plain(program: Program) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext()


def _ours(**options: object) -> Measurement:
    def measure(program: Program) -> contextlib.AbstractContextManager[object]:
        import cmemray

        limits = dict(options)
        if limits.pop("twice", False):
            # The sampling period follows the limit: as dear as a limit is that a test could have.
            with cmemray.measure() as before:
                program()
            limits["limit"] = max(2 * before.peak, 64 * 1024)
        return cmemray.measure(**limits)  # type: ignore[arg-type]

    return measure


def _memray(**options: bool) -> Measurement:
    @contextlib.contextmanager
    def measure(program: Program) -> Iterator[object]:
        import memray

        with tempfile.TemporaryDirectory() as folder:
            destination = memray.FileDestination(os.path.join(folder, "capture.bin"))
            kind = memray.FileFormat.AGGREGATED_ALLOCATIONS
            with memray.Tracker(destination=destination, file_format=kind, **options):
                yield

    return measure


@contextlib.contextmanager
def _tracemalloc(program: Program) -> Iterator[object]:
    import tracemalloc

    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


MODES: dict[str, Measurement] = {
    "plain": _plain,
    "budgeted": _ours(twice=True),
    "exact": _ours(attribution="exact"),
    "system": _ours(basis="system"),
    "memray": _memray(),
    "memray-python": _memray(trace_python_allocators=True),
    "tracemalloc": _tracemalloc,
}
#: In which environment a mode runs; those not named need nothing installed.
PLUGIN = dict.fromkeys(("budgeted", "exact", "system"), "ours")
PLUGIN |= dict.fromkeys(("memray", "memray-python"), "peer")


def main() -> None:
    program, mode = PROGRAMS[sys.argv[1]], MODES[sys.argv[2]]
    calls, rounds = int(sys.argv[3]), int(sys.argv[4])
    program()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    measurement = mode(program)
    gc.collect()
    seconds = []
    with measurement:
        for _ in range(rounds):
            start = time.process_time()
            for _ in range(calls):
                program()
            seconds.append(time.process_time() - start)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"seconds": min(seconds), "grown": (after - before) * 1024}
    print(json.dumps({**result, "peak": getattr(measurement, "peak", 0)}))


if __name__ == "__main__":
    main()
