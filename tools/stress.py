#!/usr/bin/env python3
"""Runs the stress programs on several CPythons: `stress.py [--seconds N] [--events N] VERSION...`.

Each version gets an interpreter by tools/pythons.sh, a copy of the source and a virtual environment
under build/stress, and the wheel; then tests/stress/run.py runs every situation there. Ends with a
table, written as docs/stress.md, too, when --write is given. Exit status 1 when something failed.

    stress.py --only-write    the table, from the results in tests/stress/results.json
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import test_matrix

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tests" / "stress" / "results.json"
DOCUMENT = ROOT / "docs" / "stress.md"
STEPS = r"""
set -euo pipefail
cd "$1"
"$PYTHON" -m venv env
pip() { env/bin/python -m pip "$@" -q --disable-pip-version-check; }
pip install -r tools/requirements/build.txt pytest
for package in coverage greenlet gevent; do
  pip install --only-binary :all: "$package" || echo "stress: no wheel of $package for $PYTHON"
done
export PATH=$PWD/env/bin:$PATH
pip wheel --no-deps --no-build-isolation -w dist .
pip install --no-deps dist/*.whl
mkdir run && cd run
"$1/env/bin/python" -P "$1/tests/stress/run.py" --json "$1/results.json" "${@:2}"
"""
HEAD = """# Stress

Every program of `tests/stress/programs` runs in a process of its own while measurements of all kinds
(with a limit and budgeted, exact, both bases) begin and end around it and inside it. It passes when
nothing crashes or hangs, the program's own results are those of an unmeasured run, no block has lost
its contents, and the totals hold: equal to the program's own count of what it asked for, in bytes and
blocks, where only C code ran; at least that, and no more than what Python itself may need, where
Python code ran, too; and what a given line left is known to the block in exact measurements. A program
that hangs is ended with its stacks shown.

An event is an allocation or a free that a measurement saw (a resize is one of each). Forks, daemon
threads and exits: most events are those of the children, which measure themselves; subprocess: those
of the threads that allocate meanwhile. On 3.13t, "most of these at once" does not fork (see
[limits](limits.md)), and on all versions its children may have up to 20 blocks more than they asked
for, which the interpreter still had under way at the fork.

Made by {command} on {machine}; `make test` runs each program for a moment. {total:,} events in all;
{failed}.

"""


def run_version(version, options):
    """One version's results; None when there are none."""
    work = ROOT / "build" / "stress" / version
    test_matrix.copy_source(work)
    command = [str(ROOT / "tools" / "pythons.sh"), "run", version, "bash", "-c", STEPS, "stress"]
    command += [
        str(work),
        *options.only,
        "--seconds",
        str(options.seconds),
        "--events",
        str(options.events),
    ]
    print(f"stress: {version}", flush=True)
    environment = dict(os.environ, CMEMRAY_BIND=str(work))
    subprocess.run(command, env=environment, check=False)
    results = work / "results.json"
    return json.loads(results.read_text()) if results.exists() else None


def merged(results):
    """One result for each version; of several rows of a program the last one."""
    rows = {}
    for result in results:
        for row in result["rows"]:
            rows.setdefault(result["version"], {})[row["program"]] = row
    return [{"version": version, "rows": list(found.values())} for version, found in rows.items()]


def table(results):
    """Rows of events by situation and version, as Markdown."""
    versions = [result["version"] for result in results]
    lines = ["| situation | " + " | ".join(versions) + " |", "| --- |" + " ---: |" * len(versions)]
    by_program = [{row["program"]: row for row in result["rows"]} for result in results]
    for program, first in by_program[0].items():
        cells = []
        for rows in by_program:
            row = rows.get(program, {"result": "not run"})
            fine = row["result"] == "fine"
            cells.append(f"{row['events']:,} ({row['rounds']:,})" if fine else row["result"])
        lines.append(f"| {first['situation']} | " + " | ".join(cells) + " |")
    sums = [sum(row.get("events", 0) for row in result["rows"]) for result in results]
    lines.append("| **all** | " + " | ".join(f"**{events:,}**" for events in sums) + " |")
    seconds = [sum(row.get("seconds", 0) for row in result["rows"]) for result in results]
    lines.append("| seconds | " + " | ".join(f"{number:.0f}" for number in seconds) + " |")
    why = {
        f"{result['version']}: {row['why'].splitlines()[0]}"
        for result in results
        for row in result["rows"]
        if row["result"] == "skipped"
    }
    text = "\n".join(lines) + "\n"
    if why:
        text += "\nSkipped, since there is no wheel:\n\n" + "\n".join(f"- {w}" for w in sorted(why))
        text += "\n"
    return text


def document(told):
    """docs/stress.md from the results."""
    rows = [row for result in told["results"] for row in result["rows"]]
    failed = sum(row["result"] == "FAILED" for row in rows)
    head = HEAD.format(
        command=told["command"],
        machine=told["machine"],
        total=sum(row.get("events", 0) for row in rows),
        failed=f"{failed} programs failed"
        if failed
        else "none of these programs crashed, hung or had a wrong total",
    )
    text = f"{head}Events (and rounds) by CPython:\n\n{table(told['results'])}"
    if told["again"]:
        text += "\nNot of the same run, but taken again or added later:\n\n"
        text += "".join(f"- {line}\n" for line in told["again"])
    return text


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", nargs="*")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="keep the results, and the document")
    parser.add_argument("--add", action="store_true", help="to results that were kept before")
    parser.add_argument("--only", nargs="+", default=[], help="these programs, with --add")
    parser.add_argument("--only-write", action="store_true", help="the document from kept results")
    options = parser.parse_args()
    if options.only_write:
        DOCUMENT.write_text(document(json.loads(RESULTS.read_text())))
        return 0
    before = json.loads(RESULTS.read_text()) if options.add else {"results": [], "again": []}
    kept = before["results"]
    results = {version: run_version(version, options) for version in options.versions}
    had = [result for result in results.values() if result is not None]
    missing = [version for version, result in results.items() if result is None]
    seconds = f"SECONDS={options.seconds:g}"
    told = {
        "command": f'`make stress {seconds} PYTHONS="..." STRESS_ARGS=--write`',
        "machine": f"{platform.system()} {platform.release().split('-')[0]}, "
        f"{platform.machine()}, {os.cpu_count()} processors",
        # What is not of one run is said in the document.
        "again": before["again"]
        + [
            f"{result['version']}: {', '.join(row['program'] for row in result['rows'])}"
            for result in had
            if options.add
        ],
        "results": sorted(
            merged([*kept, *had]),
            key=lambda result: [int(part) for part in re.findall(r"\d+", result["version"])],
        ),
    }
    if had:
        print("\n" + table(had))
        events = sum(row.get("events", 0) for result in had for row in result["rows"])
        print(f"stress: {events:,} events in all")
    if missing:
        print(f"stress: no results of {', '.join(missing)}")
    if options.write and had:
        for result in told["results"]:
            for row in result["rows"]:
                if "why" in row:  # a traceback is for who ran it: it names their folders
                    row["why"] = row["why"].splitlines()[0]
        RESULTS.write_text(json.dumps(told, indent=1) + "\n")
        DOCUMENT.write_text(document(told))
    failed = any(row["result"] == "FAILED" for result in had for row in result["rows"])
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
