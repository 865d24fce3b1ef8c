"""Scenarios about forks, ends of processes, green threads, and libraries that come and go."""

from __future__ import annotations

from scenario import HUNG, Run, Said, Scenario

OVER = "MEMORY PROBLEMS"

FORKS = Scenario(
    "37",
    "a child that is not followed does as it likes, and the parent's numbers stay",
    {
        "test_it.py": """
import os, subprocess, sys

def child(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def forked():
    pid = os.fork()
    if pid == 0:
        sys.setprofile(None)
        kept = [bytearray(100_000) for _ in range(1000)]
        os._exit(len(kept) // 100)
    return child(pid)

@pytest.mark.limit_memory("10 MB")
def test_fork():
    assert [forked() for _ in range(3)] == [10, 10, 10]

@pytest.mark.limit_memory("10 MB")
def test_spawn():
    # Neither goes through PyOS_BeforeFork.
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    assert child(pid) == 0
    assert subprocess.run([sys.executable, "-c", ""], close_fds=False).returncode == 0

@pytest.mark.limit_memory("1 MB")
def test_over():
    kept = bytearray(50_000_000)
    assert forked() == 10
"""
    },
    runs=(Run(("-Wignore",)),),
    ours=Said({"test_fork": "PASSED", "test_spawn": "PASSED", "test_over": OVER}),
    peer=(Said({"test_fork": "PASSED", "test_spawn": "PASSED", "test_over": OVER}),),
)

GREENLETS = Scenario(
    "39",
    "green threads have their own stacks",
    {
        "test_it.py": """
import greenlet

def load():
    return bytearray(50_000_000)

def other():
    kept = load()
    main.switch()

main = greenlet.getcurrent()

@pytest.mark.limit_memory("1 MB")
def test_over():
    child = greenlet.greenlet(other)
    child.switch()
    child.switch()

@pytest.mark.limit_memory("10 MB")
def test_ping_pong():
    def ping(n):
        while n:
            bytearray(n)
            n = main.switch(n - 1)
    child = greenlet.greenlet(ping)
    n = 2000
    while n:
        n = child.switch(n)
"""
    },
    runs=(Run(("--stacks=9",)),),
    needs=("greenlet",),
    ours=Said(
        {"test_over": OVER, "test_ping_pong": "PASSED"},
        ("*load:*test_it.py:9*", "*other:*test_it.py:12*"),
        never=("*% from test_over*",),
    ),
    peer=(
        Said(
            {"test_over": OVER, "test_ping_pong": "PASSED"},
            ("*load:*test_it.py:9*", "*other:*test_it.py:12*"),
        ),
    ),
)
SWITCHED = Scenario(
    "39",
    "green threads are switched after a profile function was replaced",
    {
        "test_it.py": """
import sys
import greenlet

def load():
    return bytearray(50_000_000)

def work():
    main.switch()
    kept = load()
    main.switch()

main = greenlet.getcurrent()

@pytest.mark.limit_memory("1 MB")
def test_over():
    child = greenlet.greenlet(work)
    child.switch()
    sys.setprofile(lambda *arguments: None)
    child.switch()
    sys.setprofile(None)
    child.switch()
    assert child.dead

@pytest.mark.limit_memory("1 MB")
def test_after():
    child = greenlet.greenlet(work)
    child.switch()
    child.switch()
    child.switch()
"""
    },
    runs=(Run(("--stacks=9",)),),
    needs=("greenlet",),
    ours=Said(
        {"test_over": OVER, "test_after": OVER},
        (
            "MEMORY PROBLEMS *::test_over - *from load*",
            "MEMORY PROBLEMS *::test_after - *from load*",
        ),
        shows={"the stack": "*work:*test_it.py:14*"},
    ),
    peer=(
        Said({"test_over": OVER, "test_after": OVER}, lacks={"the stack": "*work:*test_it.py:14*"}),
        Said({"test_over": OVER, "test_after": OVER}, shows={"the stack": "*work:*test_it.py:14*"}),
    ),
)
AWAITED = Scenario(
    "39",
    "green threads wait for coroutines of the loop that they are in",
    {
        "test_it.py": """
import asyncio
import greenlet

def wait_for(coroutine):
    return greenlet.getcurrent().parent.switch(coroutine)

async def spawn(function):
    child = greenlet.greenlet(function)
    result = child.switch()
    while not child.dead:
        result = child.switch(await result)
    return result

async def load(size):
    await asyncio.sleep(0)
    return bytearray(size)

def query():
    return [len(wait_for(load(10_000_000))) for _ in range(3)]

@pytest.mark.limit_memory("1 MB")
def test_over():
    assert asyncio.run(spawn(query)) == [10_000_000] * 3

@pytest.mark.limit_memory("15 MB")
def test_within():
    assert asyncio.run(spawn(query)) == [10_000_000] * 3
"""
    },
    needs=("greenlet",),
    ours=Said(
        {"test_over": OVER, "test_within": "PASSED"}, ("MEMORY PROBLEMS *from load (test_it.py:*)",)
    ),
    peer=(Said({"test_over": OVER, "test_within": "PASSED"}),),
)
LATE_GREENLET = Scenario(
    "39",
    "greenlet is imported inside of a measured test",
    {
        "test_it.py": """
@pytest.mark.limit_memory("100 MB")
def test_it():
    import greenlet
    seen = []
    child = greenlet.greenlet(lambda: seen.append(bytearray(1_000_000)))
    child.switch()
    assert len(seen) == 1
"""
    },
    needs=("greenlet",),
    ours=Said({"test_it": "PASSED"}, ending=0),
    peer=(Said({"test_it": "PASSED"}, ending=0),),
)
MONKEY = Scenario(
    "39",
    "gevent patches everything in the middle of a measured test",
    {
        "test_it.py": """
@pytest.mark.limit_memory("200 MB")
def test_patches():
    from gevent import monkey
    monkey.patch_all()

@pytest.mark.limit_memory("1 MB")
def test_over():
    import gevent
    kept = [job.get() for job in [gevent.spawn(bytearray, 10_000_000) for _ in range(5)]]

@pytest.mark.limit_memory("100 MB")
def test_threads():
    import threading
    threads = [threading.Thread(target=bytearray, args=(1000,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    },
    runs=(Run(("-Wignore",)),),
    needs=("gevent",),
    ours=Said({"test_patches": "PASSED", "test_over": OVER, "test_threads": "PASSED"}, ending=1),
    peer=(Said({"test_patches": "PASSED", "test_over": OVER, "test_threads": "PASSED"}, ending=1),),
)

LOADING = Scenario(
    "40",
    "libraries are opened, and walked over, while others allocate",
    {
        "small.c": "#include <stdlib.h>\nvoid *get(size_t n) { return malloc(n); }\n",
        "walk.c": """
#include <link.h>
#include <stdlib.h>

static int allocate(struct dl_phdr_info *info, size_t size, void *n)
{
	(void)info;
	free(malloc(size));
	++*(int *)n;
	return 0;
}

/* The loader's lock is held where this allocates. */
int walk(void)
{
	int n = 0;

	for (int i = 0; i < 100; i++)
		dl_iterate_phdr(allocate, &n);
	return n;
}
""",
        "test_it.py": """
import ctypes, pathlib, threading, _ctypes

HERE = pathlib.Path(__file__)
path = str(HERE.with_name("small.so"))
walk = ctypes.CDLL(str(HERE.with_name("walk.so"))).walk
_stop = threading.Event()

def opens():
    while not _stop.is_set():
        _ctypes.dlclose(_ctypes.dlopen(path, 2))

def walks():
    while not _stop.is_set():
        assert walk() > 100

@pytest.fixture(scope="module", autouse=True)
def threads():
    threads = [threading.Thread(target=work, daemon=True) for work in (opens, walks, walks)]
    for thread in threads:
        thread.start()
    yield
    _stop.set()
    for thread in threads:
        thread.join()

@pytest.mark.parametrize("n", range(30))
@pytest.mark.limit_memory("50 MB")
def test_it(n):
    for i in range(300):
        bytearray(i * 100)
""",
    },
    ours=Said({"test_it[0]": "PASSED", "test_it[29]": "PASSED"}, ending=0),
    # It takes its own lock under the loader's, and the loader's under its own.
    peer=(Said(ending=HUNG),),
)

RUNPATH = Scenario(
    "41",
    "a library is found by the RUNPATH of the one that opens it",
    {
        "inner/hidden.c": "int answer(void) { return 42; }\n",
        "opener.c": """// -Wl,--enable-new-dtags,-rpath,$ORIGIN/inner
#include <dlfcn.h>
void *open_by_name(const char *name)
{
	void *opened = dlopen(name, RTLD_NOW);
	__asm__ volatile("" : : "r"(opened) : "memory");
	return opened;
}
""",
        "test_it.py": """
import ctypes, pathlib

opener = ctypes.CDLL(str(pathlib.Path(__file__).with_name("opener.so")))
opener.open_by_name.restype = ctypes.c_void_p

def test_plain():
    assert opener.open_by_name(b"hidden.so")

@pytest.mark.limit_memory("10 MB")
def test_measured():
    assert opener.open_by_name(b"hidden.so")
    assert not opener.open_by_name(b"no-such-thing.so")

@pytest.mark.limit_memory("10 MB")
def test_vdso():
    import time
    clock = ctypes.CDLL(None).clock_gettime
    spec = (ctypes.c_long * 2)()
    before = time.time()
    assert clock(time.CLOCK_REALTIME, spec) == 0
    assert before - 1 <= spec[0] <= time.time() + 1
""",
    },
    ours=Said({"test_plain": "PASSED", "test_measured": "PASSED", "test_vdso": "PASSED"}, ending=0),
    peer=(
        Said({"test_plain": "PASSED", "test_measured": "PASSED", "test_vdso": "PASSED"}, ending=0),
    ),
)
RUNPATH_FIRST = Scenario(
    "41",
    "a library is found by RUNPATH for the first time in a measured test",
    {
        name: text.replace("def test_plain():\n    assert opener", "def test_plain():\n    opener")
        for name, text in RUNPATH.files.items()
    },
    runs=(Run(("-k", "measured")),),
    ours=Said({"test_measured": "PASSED"}, ending=0),
    peer=(Said({"test_measured": "PASSED"}, ending=0),),
)

_OPERATIONS = {
    "malloc": "free(malloc(n))",
    "calloc": "free(calloc(2, n / 2))",
    "realloc": "free(realloc(malloc(1), n))",
    "reallocarray": "free(reallocarray(NULL, 2, n / 2))",
    "aligned_alloc": "free(aligned_alloc(64, n))",
    "posix_memalign": "void *p; if (posix_memalign(&p, 64, n) == 0) free(p)",
    "memalign": "free(memalign(64, n))",
    "valloc": "free(valloc(n))",
    "pvalloc": "free(pvalloc(n))",
    "mmap": "munmap(map(n), n)",
    "mremap": "munmap(mremap(map(4096), 4096, n, MREMAP_MAYMOVE), n)",
}
_ENTRIES = (
    "#include <malloc.h>\n#include <stdlib.h>\n#include <sys/mman.h>\n"
    "static void *map(size_t n)\n{\n\treturn mmap(NULL, n, PROT_READ | PROT_WRITE,\n"
    "\t\t    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);\n}\n"
    + "".join(
        f"void by_{name}(size_t n)\n{{\n\t{text};\n}}\n" for name, text in _OPERATIONS.items()
    )
    # Frees at a size of zero, resizes of NULL, and a mapping that goes piece by piece.
    + "void odd(size_t n)\n{\n\tchar *p = malloc(n);\n\tp = realloc(p, 0);\n\tfree(p);\n"
    "\tfree(realloc(NULL, 8));\n\tfree(NULL);\n\tp = map(n);\n\tmunmap(p + n / 2, n / 2);\n"
    "\tmunmap(p, n / 2);\n}\n"
)
ENTRIES = Scenario(
    "42",
    "every way to ask for memory is seen",
    {
        "entries.c": _ENTRIES,
        "test_it.py": f"""
import ctypes, pathlib

lib = ctypes.CDLL(str(pathlib.Path(__file__).with_name("entries.so")))
calls = [getattr(lib, "by_" + name) for name in {list(_OPERATIONS)}]
SIZE = ctypes.c_size_t(4 << 20)

@pytest.mark.parametrize("name", {list(_OPERATIONS)})
@pytest.mark.limit_memory("2 MB")
def test_over(name):
    getattr(lib, "by_" + name)(SIZE)

@pytest.mark.limit_leaks("1 KB")
def test_all_is_given_back():
    for _ in range(10):
        lib.odd(SIZE)
        for call in calls:
            call(SIZE)
""",
    },
    ours=Said(
        {f"test_over[{name}]": OVER for name in _OPERATIONS} | {"test_all_is_given_back": "PASSED"},
    ),
    peer=(
        Said(
            {f"test_over[{name}]": "PASSED" if name == "mremap" else OVER for name in _OPERATIONS},
            shows={"a leak where there is none": "MEMORY PROBLEMS *::test_all_is_given_back*"},
            lacks={"mremap": "MEMORY PROBLEMS *::test_over[mremap]*"},
        ),
    ),
)

_ENDS = """
import ctypes, os

@pytest.mark.limit_memory("100 MB")
def test_it():
    kept = bytearray(1_000_000)
    {}
"""
SUDDEN = Scenario(
    "43",
    "a process that ends in the middle of a test ends with its own status",
    {},
    runs=(
        Run(("--memray",), {"test_it.py": _ENDS.format("os._exit(7)")}),
        Run(("--memray",), {"test_it.py": _ENDS.format("ctypes.CDLL(None).quick_exit(8)")}),
    ),
    ours=Said({}, never=("*Segmentation*",), ending=8),
    peer=(Said({}, ending=8),),
)
SIGNALS = Scenario(
    "43",
    "signals that come in mid-allocation, with handlers that allocate",
    {
        "test_it.py": """
import signal

seen = []

def handler(number, frame):
    seen.append(bytearray(100)[:50])
    del seen[:-10]

@pytest.fixture(autouse=True)
def timer():
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)

@pytest.mark.parametrize("n", range(20))
@pytest.mark.limit_memory("10 MB")
def test_it(n):
    for i in range(20_000):
        [bytearray(i % 600), str(i)]

@pytest.mark.limit_memory("1 MB")
def test_over():
    bytearray(50_000_000)

def test_there_were_signals():
    assert seen
"""
    },
    ours=Said(
        {"test_it[0]": "PASSED", "test_it[19]": "PASSED", "test_over": OVER}
        | {"test_there_were_signals": "PASSED"},
        ending=1,
    ),
    peer=(Said({"test_it[19]": "PASSED", "test_over": OVER}, ending=1),),
)

UNTOUCHED = Scenario(
    "51",
    "the interpreter's name, path and environment stay as they are",
    {
        "test_it.py": """
import os, sys

def state():
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return sys.executable, list(sys.path), sys.argv, variables, sys.flags, os.getcwd()

before = state()

@pytest.mark.limit_memory("100 MB")
def test_inside():
    assert state() == before
    assert sys.getprofile() is None and sys.gettrace() is None

def test_after():
    assert state() == before
"""
    },
    ours=Said({"test_inside": "PASSED", "test_after": "PASSED"}),
    # It has a profile function of its own, which Python code cannot see as such.
    peer=(Said({"test_after": "PASSED"}),),
)

SCENARIOS = (
    *(FORKS, GREENLETS, SWITCHED, AWAITED, LATE_GREENLET, MONKEY, LOADING, RUNPATH),
    *(RUNPATH_FIRST, ENTRIES, SUDDEN, SIGNALS, UNTOUCHED),
)
