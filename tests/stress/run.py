"""Runs the programs of programs/, each in a process of its own: `python run.py --seconds 120`.

Each one runs for its part of the seconds, and until its measurements have seen --events events.
Prints a table and writes it as JSON (--json FILE). Exit status 1 when a program failed.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fixtures"))

from native_extension import build  # noqa: E402

LIBRARY = HERE.parent / "fixtures" / "library"
#: A program, and what it is called in tables.
PROGRAMS = {
    "threads_with_gil": "threads that allocate with the GIL",
    "threads_without_gil": "threads that allocate without the GIL",
    "start_stop": "10,000 starts and stops meanwhile",
    "thread_churn": "threads that come and go",
    "settrace": "sys.settrace",
    "coverage_on": "coverage",
    "profiled": "cProfile",
    "current_frames": "sys._current_frames",
    "garbage": "gc",
    "generators": "generators and coroutines",
    "recursion": "recursion, 3,000 deep",
    "asyncio_two_threads": "asyncio in two threads",
    "greenlets": "greenlet",
    "gevent_on": "gevent",
    "subinterpreters": "sub-interpreters",
    "libraries": "dlopen and dlclose",
    "forks": "fork from threads",
    "children": "subprocess",
    "signals": "signals every 1 ms, handlers allocate",
    "daemons": "daemon threads at exit",
    "exits": "os._exit and its kin",
    "outliving": "pthreads that outlive a measurement",
    "cancelled": "pthread_cancel",
    "everything": "most of these at once",
}
#: Rounds that a full run makes at least; a round of start_stop has 2,500 starts.
ROUNDS = {"start_stop": 4}
SKIPPED = 77


def build_all(folder):
    """The extensions of the programs, in that folder."""
    for name in ("pound", "rough", "guest"):
        shutil.copy(build(LIBRARY / f"{name}.c"), folder)


def end_group(process):
    """End what a program has left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def stacks_of(process):
    """All stacks of a process that hangs, where there is a debugger."""
    if shutil.which("gdb") is None:
        return "no gdb here to ask for stacks"
    command = ["gdb", "-p", str(process.pid), "-batch", "-ex", "thread apply all bt 30"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout[-20_000:]
    except subprocess.TimeoutExpired:
        return "gdb did not answer"


def run_one(name, folder, *, seconds, events, rounds=1, seed=1, patience=120.0):
    """One program: ("fine", its numbers), ("skipped", why) or ("FAILED", what it printed)."""
    command = [sys.executable, "-P", str(HERE / "harness.py"), name, "--folder", str(folder)]
    command += ["--seconds", str(seconds), "--events", str(events), "--rounds", str(rounds)]
    command += ["--seed", str(seed), "--patience", str(patience)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    try:
        # The program's own watchdog comes first, unless it hangs, too, or a child of it does.
        out, _ = process.communicate(timeout=patience + 30)
    except subprocess.TimeoutExpired:
        stacks = stacks_of(process)
        end_group(process)
        out, _ = process.communicate()
        return "FAILED", f"{name} hangs:\n{out}\n{stacks}"
    end_group(process)
    if process.returncode == SKIPPED:
        return "skipped", out.strip()
    try:
        numbers = json.loads(out)
    except ValueError:
        numbers = None
    if process.returncode != 0 or numbers is None:
        return "FAILED", f"{name} ended with {process.returncode}:\n{out}"
    return "fine", numbers


def run_all(options):
    """Every program that was asked for; rows for the table."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="cmemray-stress-") as folder:
        build_all(folder)
        names = options.programs or list(PROGRAMS)
        for name in names:
            part = options.seconds / len(names)
            result, told = run_one(
                name,
                folder,
                seconds=part,
                events=options.events,
                rounds=ROUNDS.get(name, 1),
                seed=options.seed,
                patience=max(300.0, 20 * part),
            )
            row = {"program": name, "situation": PROGRAMS[name], "result": result}
            row |= told if isinstance(told, dict) else {"why": told}
            rows.append(row)
            shown = f"{row.get('events', 0):>12,} events {row.get('rounds', 0):>6} rounds"
            print(
                f"{PROGRAMS[name]:<40} {shown} {row.get('seconds', 0):>7} s  {result}", flush=True
            )
            if result != "fine":
                print("    " + str(told).replace("\n", "\n    "), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="*", choices=[[], *PROGRAMS])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    version = platform.python_version()
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        version += "t"
    jit = getattr(sys, "_jit", None)
    if jit is not None and jit.is_enabled():
        version += "+jit"
    print(f"CPython {version}", flush=True)
    rows = run_all(options)
    events = sum(row.get("events", 0) for row in rows)
    print(f"CPython {version}: {events:,} events in {len(rows)} situations", flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"version": version, "rows": rows}, indent=1))
    return any(row["result"] == "FAILED" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
