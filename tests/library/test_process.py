"""Processes: forks, children, the end of the interpreter, loading of the core."""

import os
import subprocess
import sys

import pytest
from shared_fixtures import span

import cmemray
from cmemray._load import core


def in_child(function):
    """Exit status of a forked child that runs `function`."""
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_inside_a_block():
    def child():
        held.append(bytearray(10**6))
        held.clear()

    with cmemray.measure() as m:
        held = [bytearray(1000)]
        assert in_child(child) == 0
        held.append(bytearray(2000))
    assert 3000 < m.peak < 10_000
    assert m.children == {"fork": 1}
    assert m.leaked >= 3000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_child_leaves_the_block_unharmed():
    def child():
        held.append(bytearray(10**6))
        m.stop()
        m.check()

    m = cmemray.measure(limit="500 KB")
    m.start()
    held = [bytearray(1000)]
    assert in_child(child) == 0
    m.stop()
    m.check()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_block_of_its_own_in_the_child():
    def child():
        with cmemray.measure(attribution="exact") as inner:
            held = bytearray(5000)
        assert inner.leaked in span(sys.getsizeof(held))
        assert inner.locations_at_peak()[0].frames[0].function == "child"

    with cmemray.measure() as m:
        assert in_child(child) == 0
    assert m.children == {"fork": 1}
    assert in_child(child) == 0


def test_children_are_counted():
    with cmemray.measure() as m:
        subprocess.run([sys.executable, "-c", ""], check=True)
        os.system("exit 0")
    assert sum(m.children.values()) >= 2
    assert m.children["system"] == 1
    with cmemray.measure() as m:
        pass
    assert m.children == {}


def test_exit_inside_a_block(run_python):
    out = run_python(
        "import cmemray, threading, time\n"
        "def work():\n"
        "    while True: bytearray(1000)\n"
        "for _ in range(3): threading.Thread(target=work, daemon=True).start()\n"
        "m = cmemray.measure(); m.start()\n"
        "time.sleep(0.2)\n"
        "print('end')"
    )
    assert out == "end\n"


def test_import_of_the_package_does_not_load_the_core(run_python):
    out = run_python(
        "import sys, cmemray\n"
        "print('cmemray._core' in sys.modules)\n"
        "cmemray.measure()\n"
        "print('cmemray._core' in sys.modules)"
    )
    assert out == "False\nTrue\n"


def test_import_of_the_core_touches_nothing(run_python):
    out = run_python(
        "import os, sys, gc\n"
        "import cmemray._load\n"
        "def state(): return (list(sys.path), dict(os.environ), sys.getprofile(), sys.gettrace(),"
        " gc.isenabled(), gc.get_threshold(), list(gc.callbacks), sys.flags, os.getcwd())\n"
        "before = state()\n"
        "del sys.modules['cmemray._load']\n"
        "import cmemray._core\n"
        "assert state() == before\n"
        "with cmemray.measure(): pass\n"
        "assert state() == before"
    )
    assert out == ""


def test_the_core_is_pinned(run_python):
    out = run_python(
        "import ctypes, sys, cmemray._core as core\n"
        "path = core.__file__\n"
        "handle = ctypes.CDLL(path)._handle\n"
        "dlclose = ctypes.CDLL(None).dlclose\n"
        "dlclose.argtypes = [ctypes.c_void_p]\n"
        "for _ in range(10): dlclose(handle)\n"
        "print(path in open('/proc/self/maps').read())"
    )
    assert out == "True\n"


def test_frozen_objects_are_left_alone(run_python):
    out = run_python(
        "import gc, cmemray\n"
        "from cmemray._load import core\n"
        "m = None; gc.freeze(); n = gc.get_freeze_count()\n"
        "print(core.empty_free_lists(), gc.get_freeze_count() == n)\n"
        "with cmemray.measure() as m: pass\n"
        "print(m.peak, gc.get_freeze_count() == n)"
    )
    assert out == "False True\n0 True\n"


@pytest.mark.skipif(core.FREE_THREADED, reason="free lists belong to threads there")
def test_free_lists_are_emptied():
    def ask():
        return [(i, i + 1) for i in range(1500)], [{i: i} for i in range(70)]

    def fill():
        held = [(i, object()) for i in range(5000)], [{i: i} for i in range(500)]
        del held

    for _ in range(20):
        ask()  # until a JIT has compiled the loops
    totals = set()
    for prepare in (fill, lambda: None, fill, lambda: None):
        prepare()
        with cmemray.measure() as m:
            ask()
        totals.add((m.peak, m.total, m.count))
    assert len(totals) == 1


@pytest.mark.parametrize("reason", ["cannot allocate memory in static TLS block", "no such file"])
def test_another_build_is_loaded_when_static_thread_local_storage_is_used_up(run_python, reason):
    out = run_python(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'cmemray._core':\n"
        f"            raise ImportError({reason!r})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import cmemray\n"
        "try:\n"
        "    with cmemray.measure() as m: held = bytearray(5000)\n"
        "    print(5000 < m.peak < 10_000, 'cmemray._core_dynamic' in sys.modules)\n"
        "except ImportError as error: print(error)"
    )
    assert out == ("True True\n" if "TLS" in reason else "no such file\n")


@pytest.mark.skipif(core.FREE_THREADED, reason="its allocator's mapping is tracked from the start")
def test_memory_refused_to_the_tracker_is_not_passed_in_silence(run_python):
    out = run_python(
        "import mmap, resource, cmemray\n"
        "m = cmemray.measure(limit='1 GB', attribution='exact')\n"
        "m.start()\n"
        # What is mapped next lies further away than any part of the tracker's table reaches by now.
        "far = mmap.mmap(-1, 128 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "limits = resource.getrlimit(resource.RLIMIT_AS)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (7 << 20), limits[1]))\n"
        "held = [bytearray(100) for _ in range(25_000)]\n"
        "resource.setrlimit(resource.RLIMIT_AS, limits)\n"
        "m.stop()\n"
        "print(m.incomplete, m.incomplete_reason != '')\n"
        "try: m.check()\n"
        "except cmemray.MeasurementError as error: print(error)\n"
        "with cmemray.measure(limit='1 GB') as again: held = bytearray(10**6)\n"
        "print(again.incomplete, again.peak > 10**6)"
    )
    lines = out.splitlines()
    assert lines[0] == "True True"
    assert "the limit of 1.0GiB cannot be checked" in lines[1]
    assert lines[2] == "False True"


def test_subinterpreters_are_measured_but_do_not_measure(run_python):
    out = run_python(
        "import cmemray\n"
        "try: import _interpreters as interpreters\n"
        "except ImportError: import _xxsubinterpreters as interpreters\n"
        "run = getattr(interpreters, 'exec', None) or interpreters.run_string\n"
        "other = interpreters.create()\n"
        "with cmemray.measure() as m: run(other, 'held = bytearray(10**7)')\n"
        "print(m.peak > 10**7, m.incomplete, flush=True)\n"
        "run(other, '''import cmemray\n"
        "try: cmemray.measure()\n"
        'except ImportError: print("refused", flush=True)\n'
        "''')\n"
        "interpreters.destroy(other)\n"
        "with cmemray.measure() as m: pass\n"
        "print(m.peak)"
    )
    assert out == "True False\nrefused\n0\n"
