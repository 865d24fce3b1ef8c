#!/usr/bin/env python3
"""Runs the stress programs on several CPythons: `stress.py [--seconds N] [--events N] VERSION...`.

A VERSION is one of tools/pythons.sh, with +jit for a run with the JIT switched on. Each gets an
interpreter (made when missing), a copy of the source and a virtual environment under build/stress, and
the wheel; then tests/stress/run.py runs every situation there. Ends with a table, written as
docs/stress.md, too, when --write is given. Exit status 1 when something failed, or was skipped for
another reason than that pip finds no wheel of what it needs.

    stress.py --only-write    the table, from the results in tests/stress/results.json
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import test_matrix

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tests" / "stress" / "results.json"
DOCUMENT = ROOT / "docs" / "stress.md"
#: What --write changes: it makes no other state of the source.
WRITTEN = ("tests/stress/results.json", "docs/stress.md")
BUILD = r"""
set -euo pipefail
cd "$1"
"$PYTHON" -m venv env
pip() { env/bin/python -m pip "$@" -q --disable-pip-version-check; }
pip install -r tools/requirements/build.txt pytest
: >no_wheel.txt
for package in coverage greenlet gevent; do
  pip install --only-binary :all: "$package" 2>pip.txt ||
    echo "$package: pip: $(tail -n 1 pip.txt)" | tee -a no_wheel.txt
done
export PATH=$PWD/env/bin:$PATH
pip wheel --no-deps --no-build-isolation -w dist .
pip install --no-deps dist/*.whl
mkdir run
"""
RUN = r"""
set -euo pipefail
cd "$1/run"
if [ "${PYTHON_JIT:-0}" = 1 ]; then
  "$1/env/bin/python" -c 'import sys; sys.exit(not (sys._jit.is_available() and sys._jit.is_enabled()))' ||
    { echo "stress: this build has no JIT"; exit 1; }
fi
exec "$1/env/bin/python" -P "$1/tests/stress/run.py" --json "$1/results.json" "${@:2}"
"""
HEAD = """# Stress

Every program of `tests/stress/programs` runs in a process of its own while measurements of all kinds
(with a limit and budgeted, exact, both bases) begin and end around it and inside it. It passes when
nothing crashes or hangs, the program's own results are those of an unmeasured run, no block has lost
its contents, and the totals hold. A program that hangs is ended with its stacks shown.

What the totals are checked against, since Python code allocates what nobody has counted:

- where only C code ran, the program's own count of what it asked for: equal, in bytes and blocks, and
  the peak and what is left with it;
- where Python code ran, too: at least that count, and at most the slack more that the last table has.
  What hides in the slack is looked for in two ways. In exact measurements (four of six) blocks that were
  got in the middle of it, in each thread, greenlet, coroutine, generator, finalizer, child or
  interpreter, are left, and must be there to the block, each under the function that got it; in the
  others that much at least is left. And once all is quiet, a measurement in the same process, with the
  next work in C, must be exact again.
- in the children of "daemon threads at exit" and "os._exit and its kin", whose threads go on to the end:
  the same without an upper bound, and exact measurements before these threads begin.

An event is an allocation or a free that a measurement saw (a resize is one of each). Forks, daemon
threads and exits: most events are those of the children, which measure themselves; subprocess: those
of the threads that allocate meanwhile. On 3.13t, "most of these at once" does not fork (see
[limits](limits.md)), and on all versions its children may have up to 20 blocks more than they asked
for, which the interpreter still had under way at the fork. A cell that says "with the GIL" ran with
it: an extension that it needs had the free-threaded build turn it on. That is so with greenlet 3.2.2, the
last one with a wheel for 3.13t; besides, that one aborts, measured or not, when a greenlet switches inside
of `list.sort()`, which the program does not do there.

Made by

    {command}

on {machine}, from commit {commit}. Without `PYTHONS`, `make stress` runs on 3.11 alone; without
`STRESS_ARGS=--write` it prints the table and keeps nothing. `make test` runs each program for a moment.
{total:,} events in all; {failed}.

"""


def commit():
    """The commit that is run, and whether it is one with changes."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    others = [f":!{name}" for name in WRITTEN]
    status = [*git, "status", "--porcelain", "--", ".", *others]
    return head + (", changed" if subprocess.check_output(status, text=True).strip() else "")


def step(version, script, *arguments, jit=False):
    """Run a script with that interpreter in VERSION's copy; its exit status."""
    work = ROOT / "build" / "stress" / version
    command = [str(ROOT / "tools" / "pythons.sh"), "run", version, "bash", "-c", script, "stress"]
    environment = dict(os.environ, CMEMRAY_BIND=str(work), CMEMRAY_PASS="PYTHON_JIT")
    environment["PYTHON_JIT"] = "1" if jit else "0"
    command += [str(work), *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def explained(row, no_wheel):
    """The row of a skipped program, with what pip said of the module that it needs."""
    if row["result"] == "skipped":
        for line in no_wheel:
            if f"'{line.partition(':')[0]}'" in row["why"]:
                row["why"] += f" ({line.partition(': ')[2]})"
                row["no_wheel"] = True
    return row


def run_version(name, built, options):
    """One version's results; None when there are none. BUILT: whether a version could be, so far."""
    version, _, option = name.partition("+")
    work = ROOT / "build" / "stress" / version
    print(f"stress: {name}", flush=True)
    if version not in built:
        test_matrix.copy_source(work)
        built[version] = step(version, BUILD) == 0
    results = work / "results.json"
    results.unlink(missing_ok=True)
    if not built[version]:
        return None
    limits = ["--seconds", str(options.seconds), "--events", str(options.events)]
    step(version, RUN, *options.only, *limits, jit=option == "jit")
    if not results.exists():
        return None
    result = json.loads(results.read_text())
    no_wheel = (work / "no_wheel.txt").read_text().splitlines()
    for row in result["rows"]:
        row["commit"] = options.commit
        explained(row, no_wheel)
    return result


def merged(results):
    """One result for each version; of several rows of a program the last one."""
    rows = {}
    for result in results:
        for row in result["rows"]:
            rows.setdefault(result["version"], {})[row["program"]] = row
    told = [{"version": version, "rows": list(found.values())} for version, found in rows.items()]
    numbers = re.compile(r"\d+")
    return sorted(
        told,
        key=lambda result: (
            [int(part) for part in numbers.findall(result["version"])],
            result["version"],
        ),
    )


def reason(why):
    """What a program printed, in a line without folders: how it ended, and the error of its traceback."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Fatal|Timeout)\b", line)]
    told = lines[0] if len(lines) == 1 else f"{lines[0]} {(errors or lines)[-1]}"
    return re.sub(r"(/[^/\s']+)+/", "", told)[:400]


def cell(version, row):
    """One cell of the table."""
    if row is None or row["result"] != "fine":
        return "not run" if row is None else row["result"]
    with_gil = version.partition("+")[0].endswith("t") and row.get("gil", False)
    return f"{row['events']:,} ({row['rounds']:,})" + (" with the GIL" if with_gil else "")


def reasons(results):
    """A line for each program that did not run to its end, with the reason that it gave."""
    return [
        f"{result['version']}, {row['situation']}: {row['result']}: {reason(row['why'])}"
        for result in results
        for row in result["rows"]
        if row["result"] != "fine"
    ]


def table(results):
    """Rows of events by situation and version, as Markdown."""
    versions = [result["version"] for result in results]
    lines = ["| situation | " + " | ".join(versions) + " |", "| --- |" + " ---: |" * len(versions)]
    by_program = [{row["program"]: row for row in result["rows"]} for result in results]
    situations = {row["program"]: row["situation"] for result in results for row in result["rows"]}
    for program, situation in situations.items():
        cells = [
            cell(version, rows.get(program))
            for version, rows in zip(versions, by_program, strict=True)
        ]
        lines.append(f"| {situation} | " + " | ".join(cells) + " |")
    sums = [sum(row.get("events", 0) for row in result["rows"]) for result in results]
    lines.append("| **all** | " + " | ".join(f"**{events:,}**" for events in sums) + " |")
    seconds = [sum(row.get("seconds", 0) for row in result["rows"]) for result in results]
    lines.append("| seconds | " + " | ".join(f"{number:.0f}" for number in seconds) + " |")
    text = "\n".join(lines) + "\n"
    if reasons(results):
        text += "\nNot fine, and why:\n\n"
        text += "\n".join(f"- {line}" for line in reasons(results)) + "\n"
    return text


def slack(rows):
    """How much more than what is known totals may be, and were at the most, by situation."""
    names = ("blocks_allowed", "blocks_more", "bytes_allowed", "bytes_more")
    most = {}
    for row in rows:
        if row["result"] == "fine":
            before = most.get(row["situation"], [0] * len(names))
            most[row["situation"]] = [
                max(row[n], old) for n, old in zip(names, before, strict=True)
            ]
    lines = [
        "",
        "The slack: blocks and bytes that one measurement may have more than what is known, and the most",
        "that one had, of all CPythons:",
        "",
        "| situation | blocks, at most | seen | MB, at most | seen |",
        "| --- |" + " ---: |" * len(names),
    ]
    for situation, (blocks, had, size, had_bytes) in most.items():
        sizes = f"{size / 1e6:,.1f} | {had_bytes / 1e6:,.1f}"
        lines.append(f"| {situation} | {blocks:,} | {had:,} | {sizes} |")
    return "\n".join([*lines, ""])


def document(told):
    """docs/stress.md from the results."""
    rows = [row for result in told["results"] for row in result["rows"]]
    failed = sum(row["result"] == "FAILED" for row in rows)
    commits = Counter(row["commit"] for row in rows)
    first = commits.most_common(1)[0][0]
    head = HEAD.format(
        command=told["command"],
        machine=told["machine"],
        commit=first,
        total=sum(row.get("events", 0) for row in rows),
        failed=f"{failed} programs failed"
        if failed
        else "none of these programs crashed, hung or had a wrong total",
    )
    text = f"{head}Events (and rounds) by CPython:\n\n{table(told['results'])}"
    others = [
        f"{result['version']}, {row['situation']}: {row['commit']}"
        for result in told["results"]
        for row in result["rows"]
        if row["commit"] != first
    ]
    if others:
        text += (
            '\nTaken again, or added, from another commit (`STRESS_ARGS="--only ... --add"`):\n\n'
        )
        text += "".join(f"- {line}\n" for line in others)
    return text + slack(rows)


def keep(told):
    """Write the results and the document."""
    for result in told["results"]:
        for row in result["rows"]:
            if "why" in row:  # a traceback is for who ran it: it names their folders
                row["why"] = reason(row["why"])
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    DOCUMENT.write_text(document(told))


def fine(row):
    """Not failed, and not skipped without a need."""
    return row["result"] == "fine" or row.get("no_wheel", False)


def parsed():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("versions", nargs="*")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="keep the results, and the document")
    parser.add_argument("--add", action="store_true", help="to results that were kept before")
    parser.add_argument("--only", nargs="+", default=[], help="these programs, with --add")
    parser.add_argument("--only-write", action="store_true", help="the document from kept results")
    options = parser.parse_args()
    options.commit = commit()
    return options


def command_of(options):
    """What makes the same again."""
    versions = " ".join(options.versions)
    return f'make stress SECONDS={options.seconds:g} PYTHONS="{versions}" STRESS_ARGS=--write'


def main():
    """Run what the command line asks for."""
    options = parsed()
    before = json.loads(RESULTS.read_text()) if options.add or options.only_write else {}
    if options.only_write:
        keep(before)
        return 0
    built = {}
    results = {name: run_version(name, built, options) for name in options.versions}
    had = [result for result in results.values() if result is not None]
    missing = [version for version, result in results.items() if result is None]
    told = {
        "command": before.get("command", command_of(options)),
        "machine": f"{platform.system()} {platform.release().split('-')[0]}, "
        f"{platform.machine()}, {os.cpu_count()} processors",
        "results": merged([*before.get("results", []), *had]),
    }
    if had:
        print("\n" + table(had))
        events = sum(row.get("events", 0) for result in had for row in result["rows"])
        print(f"stress: {events:,} events in all, commit {options.commit}")
    if missing:
        print(f"stress: no results of {', '.join(missing)}")
    if options.write and had:
        keep(told)
    return 0 if not missing and all(fine(row) for result in had for row in result["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
