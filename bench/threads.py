"""What several threads cost that all allocate at once, on the interpreter that runs this.

    python bench/threads.py                              plain, with a limit, exact; 1, 2 and 8 threads
    make bench-threads PYTHONS="3.13t 3.13"              the same on other CPythons

Every thread makes and drops the same small objects; the work of all threads together is the same
whatever their number. Every measurement is a fresh process, the modes of a round run one after the
other, turned by one in every round, and a ratio is that of one round: the table has the median of the
rounds, of processor time and of time passed. On free-threaded builds the threads run at the same time,
as far as there are processors; cmemray's totals are then kept under one lock.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import threading
import time

MODES = ("plain", "limit", "exact")
#: Rounds of work in all; each makes and drops some 2000 blocks.
WORK = 400


def make_and_drop() -> None:
    held = []
    for i in range(500):
        held.append((i, [i], str(i)))
    del held


def work(rounds: int) -> None:
    for _ in range(rounds):
        make_and_drop()


def run_threads(count: int, rounds: int) -> None:
    threads = [threading.Thread(target=work, args=(rounds // count,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def timed(count: int) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    run_threads(count, WORK)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def measure_here(mode: str, count: int) -> dict[str, float]:
    """Seconds of the work in this process, the interpreter warm."""
    run_threads(count, WORK // 10)
    if mode == "plain":
        return timed(count)
    import cmemray

    with cmemray.measure() as before:
        run_threads(count, WORK // 10)
    # As dear as a limit is that a test could have: the sampling period follows it.
    options = {"limit": 2 * before.peak} if mode == "limit" else {"attribution": "exact"}
    measured = cmemray.measure(**options)
    measured.start()
    seconds = timed(count)
    measured.stop()
    if measured.count < WORK * 500:
        raise SystemExit("the measurement did not see the work")
    return seconds


def in_fresh_process(mode: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--here", mode, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said: dict[str, float] = json.loads(done.stdout)
    return said


def ratios(count: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """(mode, clock) -> a ratio to plain for each round."""
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        turn = number % len(MODES)
        seconds = {m: in_fresh_process(m, count) for m in (*MODES[turn:], *MODES[:turn])}
        for mode in MODES[1:]:
            for clock in ("cpu", "wall"):
                ratio = seconds[mode][clock] / seconds["plain"][clock]
                found.setdefault((mode, clock), []).append(ratio)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--threads", default="1,2,8")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--results", metavar="FILE", help="written as JSON as well")
    parser.add_argument("--here", nargs=2, metavar=("MODE", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure_here(arguments.here[0], int(arguments.here[1]))))
        return
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    build = "free-threaded" if free else "with GIL"
    print(f"CPython {sys.version.split()[0]} {build}, {os.cpu_count()} processors")
    print("ratios to plain, median of rounds (smallest to largest)\n")
    print(
        f"{'threads':<8} {'limit, cpu':>18} {'limit, wall':>18} {'exact, cpu':>18} {'exact, wall':>18}"
    )
    table = {}
    for count in map(int, arguments.threads.split(",")):
        cells = [
            f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
            for values in ratios(count, arguments.rounds).values()
        ]
        print(f"{count:<8} " + " ".join(f"{cell:>18}" for cell in cells), flush=True)
        table[str(count)] = cells
    if arguments.results:
        with open(arguments.results, "w") as file:
            json.dump({f"{sys.version.split()[0]} {build}": table}, file, indent=1)


if __name__ == "__main__":
    main()
