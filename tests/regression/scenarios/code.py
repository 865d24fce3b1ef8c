"""Scenarios about odd code objects, hooks inside of hooks, totals, and foreign blocks."""

from __future__ import annotations

from scenario import Run, Said, Scenario

OVER = "MEMORY PROBLEMS"

FILENAMES = Scenario(
    "46",
    "code of any file name is named",
    {
        "test_it.py": r"""
NAMES = ["", "<x>", "p\u00e4th.py", "\u043f\u0443\u0442\u044c/\u0444.py", "odd\udcff.py", "n\x01w.py"]

def code(name):
    space = {}
    exec(compile("def load():\n    return bytearray(50_000_000)", name, "exec"), space)
    return space["load"]

@pytest.mark.parametrize("n", range(6))
@pytest.mark.limit_memory("1 MB")
def test_over(n):
    code(NAMES[n])()

@pytest.mark.limit_memory("1 MB")
def test_replaced():
    def load():
        return bytearray(50_000_000)
    load.__code__ = load.__code__.replace(co_filename="no/such/file", co_name="\u00e9\u4e2d")
    load()
""",
    },
    ours=Said({**{f"test_over[{n}]": OVER for n in range(6)}, "test_replaced": OVER}, ending=1),
    peer=(
        Said({**{f"test_over[{n}]": OVER for n in range(6)}, "test_replaced": OVER}, ending=1),
        # A name that is no UTF-8, from CPython 3.13 on.
        Said(
            {**{f"test_over[{n}]": OVER for n in range(6)}, "test_over[4]": "FAILED"},
            shows={"a UnicodeEncodeError": "*UnicodeEncodeError*"},
            ending=1,
        ),
    ),
)
FOLDER = Scenario(
    "46",
    "a test in a folder with letters of other alphabets",
    {
        "gr\u00f6\u00dfe \u53d8/test_it.py": "@pytest.mark.limit_memory('1 MB')\n"
        "def test_\u00fcber():\n    bytearray(50_000_000)\n"
    },
    ours=Said({"test_\u00fcber": OVER}, ("*test_\u00fcber:gr\u00f6\u00dfe \u53d8/test_it.py:7*",)),
    peer=(Said({"test_\u00fcber": OVER}),),
)

INSIDE = Scenario(
    "47",
    "an allocator hook below ours allocates by itself",
    {
        "test_it.py": """
import tracemalloc

@pytest.fixture(params=["off", "before", "inside"])
def trace(request):
    if request.param == "before":
        tracemalloc.start(10)
    yield request.param
    tracemalloc.stop()

@pytest.mark.limit_memory("10 MB")
def test_within(trace):
    if trace == "inside":
        tracemalloc.start(10)
    kept = [bytearray(1000) for _ in range(5000)]

@pytest.mark.limit_memory("4 MB")
def test_over(trace):
    if trace == "inside":
        tracemalloc.start(10)
    kept = [bytearray(1000) for _ in range(5000)]
"""
    },
    ours=Said(
        {f"test_within[{how}]": "PASSED" for how in ("off", "before", "inside")}
        | {f"test_over[{how}]": OVER for how in ("off", "before", "inside")}
    ),
    peer=(Said({"test_within[off]": "PASSED", "test_over[off]": OVER}),),
)

TOTALS = Scenario(
    "49",
    "the peak is one number wherever it is shown",
    {
        "test_it.py": "@pytest.mark.limit_memory('1 MB')\ndef test_over():\n"
        "    first = bytearray(30_000_000)\n    del first\n"
        "    second = [bytearray(20_000_000), bytearray(5_000_000)]\n"
    },
    runs=(Run(("--memray", "--junitxml=junit.xml")),),
    ours=Said(
        {"test_over": OVER},
        (
            "*limited to 1.0MiB but allocated 28.6MiB*",
            "*Total memory allocated: 28.6MiB*",
            "    - 28.6MiB allocated here*",
            "*test_over:test_it.py:7 -> 28.6MiB*",
        ),
    ),
    peer=(
        Said(
            {"test_over": OVER},
            ("*limited to 1.0MiB but allocated 28.6MiB*", "*Total memory allocated: 28.6MiB*"),
        ),
    ),
)

PAIRED = Scenario(
    "50",
    "every block that is freed is paired with one that was made",
    {
        "test_it.py": """
import threading, tracemalloc

def churn():
    kept = {}
    for i in range(20_000):
        kept[i % 100] = [bytearray(i % 700), (i, str(i)), {i: i}]

@pytest.mark.limit_leaks("20 KB")
def test_churn():
    churn()

@pytest.mark.limit_leaks("20 KB")
def test_threads():
    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

@pytest.mark.limit_memory("50 MB")
def test_traced():
    tracemalloc.start()
    churn()
    tracemalloc.stop()

@pytest.mark.limit_memory("100 MB")
def test_interpreters():
    try:
        from concurrent.futures import InterpreterPoolExecutor
    except ImportError:
        pytest.skip("of CPython 3.14")
    with InterpreterPoolExecutor(2) as pool:
        assert list(pool.map(abs, [-1, -2, 3])) == [1, 2, 3]
"""
    },
    ours=Said(
        {"test_churn": "PASSED", "test_threads": "PASSED", "test_traced": "PASSED"}, ending=0
    ),
    peer=(
        Said({"test_churn": "PASSED", "test_threads": "PASSED", "test_traced": "PASSED"}, ending=0),
    ),
)

FOREIGN = Scenario(
    "52",
    "blocks cross allocators and measurements",
    {
        "cross.c": """
#include <malloc.h>
#include <stdlib.h>

extern void *PyMem_RawMalloc(size_t size);
extern void PyMem_RawFree(void *block);

void *plain(size_t size) { return malloc(size); }
void *aligned(size_t size) { return memalign(64, size); }
void *raw(size_t size) { return PyMem_RawMalloc(size); }
void by_free(void *block) { free(block); }
void by_raw(void *block) { PyMem_RawFree(block); }
void *by_realloc(void *block) { return realloc(block, 1000000); }
""",
        "test_it.py": """
import ctypes, pathlib

lib = ctypes.CDLL(str(pathlib.Path(__file__).with_name("cross.so")))
for name in ("plain", "aligned", "raw", "by_realloc"):
    getattr(lib, name).restype = ctypes.c_void_p
for name in ("by_free", "by_raw", "by_realloc"):
    getattr(lib, name).argtypes = [ctypes.c_void_p]
SIZE = ctypes.c_size_t(3_000_000)

@pytest.fixture
def older():
    return [lib.plain(SIZE), lib.aligned(SIZE), lib.raw(SIZE), lib.plain(SIZE)]

def crossed(blocks):
    # PyMem_RawMalloc is malloc, unless a debug hook is below it.
    lib.by_raw(blocks[0])
    lib.by_free(blocks[1])
    lib.by_free(blocks[2])
    lib.by_free(lib.by_realloc(blocks[3]))
    lib.by_free(None)

@pytest.mark.limit_memory("2 MB")
def test_older(older):
    crossed(older)

@pytest.mark.limit_leaks("1 KB")
def test_own():
    for _ in range(100):
        crossed([lib.plain(SIZE), lib.aligned(SIZE), lib.raw(SIZE), lib.plain(SIZE)])

@pytest.mark.limit_memory("2 MB")
def test_over():
    lib.by_raw(lib.plain(SIZE))
""",
    },
    ours=Said({"test_older": "PASSED", "test_own": "PASSED", "test_over": OVER}, ending=1),
    peer=(Said({"test_older": "PASSED", "test_own": "PASSED", "test_over": OVER}, ending=1),),
)

SCENARIOS = (FILENAMES, FOLDER, INSIDE, TOTALS, PAIRED, FOREIGN)
