"""Runs a small project again and again, each time with another call of the tracker refused.

    LD_PRELOAD=librefuse.so python refusals.py librefuse.so folder call all first step

Each run is a fork of this process, which has loaded pytest but not the tracker. One line of JSON for
each on stdout: the call's number, exit status, whether a call was refused, and what each test said.
Begins with call `first`, goes on in steps of `step`, and ends with the first run in which none was
refused. What the tests write to the file "results" is told, too.
"""

import ctypes
import io
import itertools
import json
import os
import signal
import sys
import threading
import unittest

import pytest

import pytest_cmemray.plugin

TIMEOUT = 60


class Reports:
    """Keeps what pytest reports of each test."""

    def __init__(self):
        self.tests = {}

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.partition("::")[2]
        if report.when == "call" or report.outcome != "passed":
            text = str(report.longrepr) if report.longrepr is not None else ""
            said = "\n".join([text, *(f"{title}: {body}" for title, body in report.sections)])
            self.tests[name] = [report.outcome, said, dict(report.user_properties)]


def run(folder):
    reports = Reports()
    out = io.StringIO()
    sys.stdout = sys.stderr = out
    arguments = ["-q", "-pno:cacheprovider", "-pno:capture", "--junitxml=junit.xml", "--memray"]
    arguments.append(folder)
    status = pytest.main(arguments, plugins=[pytest_cmemray.plugin, reports])
    return {"exit": int(status), "tests": reports.tests, "output": out.getvalue()}


def in_child(refuse, call, number, every, folder):
    """What a run in a fork says, or how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(TIMEOUT)
        os.close(reading)
        refuse.refuse_arm(call.encode(), number, every)
        said = run(folder)
        said["refused"] = refuse.refuse_count()
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
        # As a run ends that exits by itself: what is called at the end is called.
        sys.exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = json.loads(text) if text else {"exit": -1, "tests": {}, "output": "", "refused": -1}
    with open("results") as file:
        results = file.read()
    os.remove("results")
    return {**said, "number": number, "status": status, "results": results}


def main(library, folder, call, every, first, step):
    refuse = ctypes.CDLL(library)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(folder)
    for number in itertools.count(int(first), int(step)):
        said = in_child(refuse, call, number, int(every), folder)
        print(json.dumps(said), flush=True)
        if said["refused"] == 0:
            return


if __name__ == "__main__":
    assert threading and unittest  # loaded once, for all runs
    main(*sys.argv[1:])
