"""Libraries that do what libraries should not: same outcomes, same bytes, or a clear statement."""

import os
import shutil

import pytest
from faulty_worlds import TESTS, library

RTLD_NOW, RTLD_GLOBAL, RTLD_DEEPBIND = 2, 0x100, 8

#: Uses up what the C library sets aside for the thread-local storage of libraries loaded late.
EXHAUST = """
import ctypes, glob, os
held = []
for size in (1024, 256, 64, 16, 8):
    for path in sorted(glob.glob(f"{os.environ['FAULTS_TLS']}/tls-{size}-*.so")):
        try:
            held.append(ctypes.CDLL(path))
        except OSError as error:
            assert "static TLS" in str(error), error
            break
    else:
        raise AssertionError(f"there was room for all libraries of {size} bytes")
import pytest
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    import sys
    loaded = [name for name in sys.modules if name.startswith("cmemray._core")]
    assert loaded == ["cmemray._core_dynamic"], loaded
"""


@pytest.fixture
def tls_libraries(world):
    """Copies, as the loader knows libraries apart by their files."""
    folder = world.project.path / "tls"
    folder.mkdir()
    for size in (1024, 256, 64, 16, 8):
        made = library("static_tls", f"-DBYTES={size}")
        for number in range(12):
            shutil.copy(made, folder / f"tls-{size}-{number:02}.so")
    world.environment["FAULTS_TLS"] = str(folder)
    return world


def test_no_static_thread_local_storage_left(tls_libraries):
    tls_libraries.check(tls_libraries.run(conftest=EXHAUST))


def test_the_build_without_static_storage_everywhere(tls_libraries):
    """With the allocators of others in front, threads, forks and late libraries."""
    tests = TESTS + (
        "@pytest.mark.limit_memory('20 MB')\n"
        "def test_more():\n"
        "    import ctypes, subprocess, sys\n"
        "    def work():\n"
        "        for i in range(1000): bytearray(i)\n"
        "    threads = [threading.Thread(target=work) for _ in range(20)]\n"
        "    for thread in threads: thread.start()\n"
        "    import _decimal, _elementtree, _sqlite3\n"
        "    subprocess.run([sys.executable, '-c', ''], check=True)\n"
        "    pid = os.fork()\n"
        "    if pid == 0: os._exit(len([bytearray(100) for _ in range(1000)]) % 7)\n"
        "    _same(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 6)\n"
        "    for thread in threads: thread.join()\n"
    )
    result = tls_libraries.run(conftest=EXHAUST, tests=tests)
    tls_libraries.check(result, test_more="PASSED")


OWN = """
import ctypes

@pytest.mark.limit_memory("200 KB")
def test_own_malloc():
    own = ctypes.CDLL(os.environ["FAULTS_OWN"], mode=int(os.environ["FAULTS_MODE"]))
    own.use_own.restype = ctypes.c_long
    own.use_own.argtypes = [ctypes.c_long, ctypes.c_size_t]
    _same(own.use_own(100, 10_000), 100)
"""


@pytest.mark.parametrize(
    ("shown", "mode"),
    # Without RTLD_DEEPBIND calls of an exported one reach the malloc of the process.
    [(True, RTLD_NOW | RTLD_DEEPBIND), (False, RTLD_NOW | RTLD_DEEPBIND), (False, RTLD_NOW)],
)
def test_a_malloc_of_its_own(world, shown, mode):
    """Its blocks go back to where they came from. They are not counted, nor is anything else off."""
    world.environment["FAULTS_OWN"] = library("own_malloc", *([] if shown else ["-DHIDDEN"]))
    world.environment["FAULTS_MODE"] = str(mode)
    # Loaded first: what follows runs with it in the process.
    body = TESTS.replace("def test_totals", OWN + "\ndef test_totals", 1)
    world.check(world.run(tests=body), test_own_malloc="PASSED")


def test_deepbind(world):
    """A library that binds to what it needs first has the C library's malloc, and is measured."""
    deep = f"    import sys; sys.setdlopenflags({RTLD_NOW | RTLD_DEEPBIND})\n"
    tests = TESTS.replace("def _native():\n", "def _native():\n" + deep)
    world.check(world.run(tests=tests))


STACKS = """
import ctypes

def _threads(stack):
    library = ctypes.CDLL(os.environ["FAULTS_STACKS"])
    library.run_threads.restype = ctypes.c_long
    library.run_threads.argtypes = [ctypes.c_long, ctypes.c_size_t, ctypes.c_size_t]
    return library.run_threads(10, stack, 100_000)

@pytest.mark.parametrize("kib", [16, 32, 64])
def test_small_stacks(kib):
    import cmemray
    _same(_threads(kib << 10), 10)
    with cmemray.measure() as m:
        _same(_threads(kib << 10), 10)
    # A block, its larger successor, and two more: 100, 200 and 200 thousand bytes at ten times.
    if not 5_000_000 <= m.total < 5_050_000 or not 400_000 <= m.peak < 450_000 or m.incomplete:
        pytest.fail(f"{m.total} {m.peak} {m.losses}")

@pytest.mark.parametrize("kib", [32, 64])
def test_small_python_stacks(kib):
    import cmemray
    try:
        threading.stack_size(kib << 10)
    except ValueError:
        threading.stack_size(64 << 10)  # 3.15 does not take less than 52 KiB
    try:
        thread = threading.Thread(target=bytearray, args=(10**6,))
        with cmemray.measure(limit="2 MB") as m:
            thread.start()
            thread.join()
        if not 10**6 <= m.peak < 10**6 + 50_000 or m.incomplete:
            pytest.fail(f"{m.peak} {m.losses}")
    finally:
        threading.stack_size(0)
"""


def test_threads_with_hardly_any_stack(world):
    world.environment["FAULTS_STACKS"] = library("small_stacks")
    passed = {f"test_small_stacks[{kib}]": "PASSED" for kib in (16, 32, 64)}
    passed |= {f"test_small_python_stacks[{kib}]": "PASSED" for kib in (32, 64)}
    world.check(world.run(tests=TESTS + STACKS), **passed)
    assert os.path.exists(world.environment["FAULTS_STACKS"])
