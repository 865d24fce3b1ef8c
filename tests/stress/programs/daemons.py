"""Daemon threads that still allocate when the interpreter ends, measured to the last.

Each child is an interpreter of its own, which tells its events before it ends.
"""

import subprocess
import sys
from pathlib import Path

import harness

CHILD = """
import atexit, sys, threading, time
sys.path.insert(0, {here!r})
import harness
stress = harness.Stress({folder!r}, {seed})
families, seed, ready = stress.families(), {seed}, threading.Barrier(4, timeout=60)
stress.quiet()
def python():
    while True:
        harness.churn(seed)
def released():
    while True:
        stress.pound.pound(seed, 500, families, 1)
def held():
    while True:
        stress.pound.pound(seed, 500, families, 0)
def daemon(work):
    def keeping():
        # What each has kept is known while all of them go on.
        ready.wait()
        stress.pound.pound(seed, 2000, families, 0)
        stress.keep(200)
        ready.wait()
        work()
    return keeping
if seed % 4 == 2:
    stress.pound.crew_start(2, seed, families)
threads = stress.threads(*map(daemon, (python, released, held)), daemon=True)
measured = stress.measured()
measured.m.start()
ready.wait()
with stress.measured(collect=None, counts=False):
    stress.pound.team(2, seed, 5000, families)
ready.wait()
deadline = time.monotonic() + 30
while measured.m.count < 30_000 and time.monotonic() < deadline:
    time.sleep(0.005)
usage = measured.m._region.usage()
tally = stress.take()
# All that was done up to the take is in it, and of the kept blocks each one.
kept = 600
assert measured.m.count >= tally.count + kept, (measured.m.count, tally.count)
assert measured.m.total >= tally.bytes + kept * harness.KEPT
assert measured.m.current >= kept * harness.KEPT
assert not measured.exact or measured.kept_by() == {{"keeping": kept}}, measured.kept_by()
assert not measured.m.incomplete, measured.m.incomplete_reason
print("events", harness.seen(usage), flush=True)
if seed % 4 == 1:
    measured.m.stop()
if seed % 4 == 3:
    atexit.register(measured.m.stop)
"""


def round(stress):
    children = []
    for i in range(2):
        text = CHILD.format(
            here=str(Path(harness.__file__).parent),
            folder=str(stress.folder),
            seed=stress.rounds * 2 + i,
        )
        children.append(
            subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-c", text],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for child in children:
        out, errors = child.communicate(timeout=100)
        assert (child.returncode, errors) == (0, ""), (child.returncode, out, errors)
        stress.events_of_child(out)
