"""What a measurement costs whatever its block does."""

import shutil
import subprocess
import sys

SHARED_OBJECTS = """
import ctypes, json, sys, time
import cmemray

def cost():
    times = []
    for _ in range(300):
        start = time.process_time_ns()
        m = cmemray.measure()
        m.start()
        m.stop()
        times.append(time.process_time_ns() - start)
    return min(times)

few = [cost() for _ in range(5)]
for path in sys.argv[1:]:
    ctypes.CDLL(path)
many = [cost() for _ in range(5)]
print(min(many) / min(few))
"""


def test_start_and_stop_cost_the_same_with_two_hundred_shared_objects(native, tmp_path) -> None:
    """Tools that look at every object each time pay for each; the bar is on growth, not seconds."""
    paths = [str(shutil.copyfile(native.__file__, tmp_path / f"object_{i}.so")) for i in range(200)]
    command = [sys.executable, "-P", "-c", SHARED_OBJECTS, *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert float(done.stdout) < 3
