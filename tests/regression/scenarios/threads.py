"""Scenarios about threads, trace functions, and measuring that starts and stops beside them."""

from __future__ import annotations

from scenario import Run, Said, Scenario

OVER = "MEMORY PROBLEMS"

_THREADS = {
    "test_it.py": """
import threading, time
from concurrent.futures import ThreadPoolExecutor

_stop = threading.Event()
_busy = threading.Event()

def _allocate():
    while not _stop.is_set():
        block = bytearray(30_000_000)
        _busy.set()
        time.sleep(0.01)
        del block

@pytest.mark.limit_memory("200 MB")
def test_starts_a_thread_that_stays():
    threading.Thread(target=_allocate, name="prefetch", daemon=True).start()

def wait_for_a_block():
    # The first may have been made before.
    for _ in range(2):
        _busy.clear()
        assert _busy.wait(200)

@pytest.mark.limit_memory("5 MB")
def test_innocent():
    wait_for_a_block()
    bytearray(1_000_000)

@pytest.mark.limit_memory("5 MB")
def test_guilty():
    wait_for_a_block()
    kept = bytearray(10_000_000)

def test_end():
    _stop.set()
"""
}
STRAY = Scenario(
    "17",
    "a thread of an earlier test fails no other test",
    _THREADS,
    ours=Said(
        {
            "test_starts_a_thread_that_stays": "PASSED",
            "test_innocent": "PASSED",
            "test_guilty": OVER,
            "test_end": "PASSED",
        },
        shows={
            "a note of the thread": "test_it.py::test_innocent: *only without thread prefetch (*), "
            "older than the test"
        },
    ),
    peer=(Said({"test_innocent": OVER, "test_guilty": OVER}),),
)

_POOLS = """
from concurrent.futures import ThreadPoolExecutor

def pool():
    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(bytearray, [50_000_000, 50_000_000]))

@pytest.mark.limit_memory("50 MB")
def test_pool():
    pool()

@pytest.mark.limit_memory("50 MB", current_thread_only=True)
def test_pool_not_counted():
    pool()
"""
_POOL_OUTCOMES = {"test_pool": OVER, "test_pool_not_counted": "PASSED"}
POOL = Scenario(
    "18",
    "a pool that the test starts is counted",
    {"test_it.py": _POOLS},
    ours=Said(_POOL_OUTCOMES),
    peer=(Said(_POOL_OUTCOMES),),
)
POOL_OF_THE_TEST = Scenario(
    "18",
    "a pool that the test starts is among the threads of the test",
    {
        "test_it.py": _POOLS + "\n@pytest.mark.limit_memory('50 MB', threads='test')\n"
        "def test_pool_of_the_test():\n    pool()\n"
    },
    ours=Said({**_POOL_OUTCOMES, "test_pool_of_the_test": OVER}),
    peer=(Said({"the run": "INTERNALERROR"}, ending=3),),
)

_CHURN = """
import threading

_stop = threading.Event()

def call(depth):
    return [bytearray(depth)] + call(depth - 1) if depth else []

def churn():
    while not _stop.is_set():
        call(20)
        thread = threading.Thread(target=call, args=(5,))
        thread.start()
        thread.join()

@pytest.fixture(scope="module", autouse=True)
def threads():
    threads = [threading.Thread(target=churn, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    yield
    _stop.set()
    for thread in threads:
        thread.join()
"""
_FINE = {"test_over": OVER, "test_it[0]": "PASSED", "test_it[149]": "PASSED"}
_TESTS = """
@pytest.mark.parametrize("n", range(150))
@pytest.mark.limit_memory("10 MB", current_thread_only=True)
def test_it(n):
    bytearray(1_000_000)

@pytest.mark.limit_memory("1 MB", current_thread_only=True)
def test_over():
    bytearray(50_000_000)
"""
_LAST = ("*1 failed, 150 passed*",)
CHURN = Scenario(
    "31",
    "tests are measured while threads start, run and end",
    {"test_it.py": _CHURN + _TESTS},
    ours=Said(_FINE, _LAST, ending=1),
    peer=(Said(_FINE, _LAST, ending=1),),
)
TRACED = Scenario(
    "32",
    "a test begins while other threads are in a trace function",
    {
        "test_it.py": "import sys\n\n_traced = set()\n\ndef trace(frame, event, arg):\n"
        "    str(frame.f_lineno) * 3\n    _traced.add((event, threading.get_ident()))\n"
        "    return trace\n\nimport threading\nthreading.settrace(trace)\n"
        + _CHURN
        + _TESTS
        + """
def test_threads_were_traced():
    # They may not all have come to their turn yet.
    while len({thread for _, thread in list(_traced)}) < 8:
        pass
    assert {event for event, _ in list(_traced)} >= {"call", "line", "return"}
"""
    },
    ours=Said(_FINE, ("*1 failed, 151 passed*",), ending=1),
    peer=(Said(_FINE, ("*1 failed, 151 passed*",), ending=1),),
)

_LOOP = """
import asyncio, threading

_loop = asyncio.new_event_loop()

_ticks = [0]

async def ticks():
    while True:
        await asyncio.sleep(0)
        _ticks[0] += 1
        str(1.5) * 10

@pytest.fixture(scope="module", autouse=True)
def loop():
    def run():
        task = _loop.create_task(ticks())
        _loop.run_forever()
        task.cancel()
        _loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        _loop.close()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    _loop.call_soon_threadsafe(_loop.stop)
    thread.join()
"""
LOOP = Scenario(
    "33",
    "an event loop runs in a second thread, under coverage",
    {
        "test_it.py": _LOOP
        + _TESTS
        + "\ndef test_the_loop_runs():\n    while _ticks[0] < 150: pass\n"
    },
    runs=(Run(("--cov=test_it",)),),
    plugins=("pytest_cov",),
    ours=Said(_FINE, ("*1 failed, 151 passed*", "test_it.py * 100%*"), ending=1),
    peer=(Said(_FINE, ("*1 failed, 151 passed*", "test_it.py * 100%*"), ending=1),),
)

_STACKS = {
    "the stack under no profile function": "*test_cleared:*test_it.py:17*",
    "under another one": "*test_another:*test_it.py:22*",
}
PROFILE_FUNCTIONS = Scenario(
    "34",
    "profile functions come and go in a test, and its stacks are right",
    {
        "test_it.py": """
import cProfile, sys, threading

def load():
    return bytearray(50_000_000)

def middle():
    return load()

@pytest.mark.limit_memory("1 MB")
def test_cleared():
    sys.setprofile(None)
    kept = middle()

@pytest.mark.limit_memory("1 MB")
def test_another():
    sys.setprofile(lambda *arguments: None)
    kept = middle()
    sys.setprofile(None)

@pytest.mark.limit_memory("1 MB")
def test_all_threads():
    getattr(threading, "setprofile_all_threads", threading.setprofile)(None)
    kept = middle()

@pytest.mark.limit_memory("1 MB")
def test_cprofile():
    with cProfile.Profile() as profile:
        kept = middle()

def test_after():
    assert sys.getprofile() is None
"""
    },
    runs=(Run(("--stacks=9",)),),
    ours=Said(
        {
            "test_cleared": OVER,
            "test_another": OVER,
            "test_all_threads": OVER,
            "test_cprofile": OVER,
            "test_after": "PASSED",
        },
        (
            "*load:*test_it.py:9*",
            "*middle:*test_it.py:12*",
            "*test_all_threads:*test_it.py:28*",
            "*test_cprofile:*test_it.py:33*",
        ),
        shows=_STACKS,
    ),
    peer=(
        Said({"test_cleared": OVER, "test_another": OVER, "test_after": "PASSED"}, lacks=_STACKS),
    ),
)

_SOURCE = """// -lpthread
#include <pthread.h>
#include <stdlib.h>

static void *work(void *size)
{
	free(malloc((size_t)size / 2));
	return malloc((size_t)size);
}

/* Bytes from a thread that Python knows nothing of. */
void *from_thread(size_t size)
{
	pthread_t thread;
	void *made = NULL;

	if (pthread_create(&thread, NULL, work, (void *)size) == 0)
		pthread_join(thread, &made);
	return made;
}

/* Takes a block and gives it back 100,000 times, but for the last; called without the GIL. */
void *many(size_t size)
{
	void *last = NULL;

	for (int i = 0; i < 100000; i++) {
		free(last);
		last = malloc(size);
	}
	return last;
}

void give_back(void *block)
{
	free(block);
}
"""
_NATIVE = """
import ctypes, pathlib, threading

lib = ctypes.CDLL(str(pathlib.Path(__file__).with_name("work.so")))
for function in (lib.from_thread, lib.many):
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
lib.give_back.argtypes = [ctypes.c_void_p]
"""
WITHOUT_GIL = Scenario(
    "35",
    "threads allocate without the GIL at once",
    {
        "work.c": _SOURCE,
        "test_it.py": _NATIVE
        + """
def both(size):
    made = []
    threads = [threading.Thread(target=lambda: made.append(lib.many(size))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for block in made:
        lib.give_back(block)

@pytest.mark.limit_memory("3 MB")
def test_within():
    both(1 << 20)

@pytest.mark.limit_memory("3 MB")
def test_over():
    both(2 << 20)

@pytest.mark.limit_leaks("1 MB")
def test_nothing_is_left():
    both(1 << 20)
""",
    },
    ours=Said({"test_within": "PASSED", "test_over": OVER, "test_nothing_is_left": "PASSED"}),
    peer=(Said({"test_within": "PASSED", "test_over": OVER, "test_nothing_is_left": "PASSED"}),),
)
FOREIGN = Scenario(
    "35",
    "a thread that Python does not know has no Python line",
    {
        "work.c": _SOURCE,
        "test_it.py": _NATIVE
        + """
@pytest.mark.limit_memory("1 MB")
def test_over():
    lib.give_back(lib.from_thread(50_000_000))
""",
    },
    ours=Said(
        {"test_over": OVER},
        never=("*% from test_over*",),
        shows={"where it comes from": "*from code without a Python frame"},
    ),
    # Its list is empty.
    peer=(
        Said(
            {"test_over": OVER},
            never=("*test_over:*test_it.py*",),
            lacks={"where it comes from": "*allocated here*"},
        ),
    ),
)

OLDER_THREAD = Scenario(
    "36",
    "a thread that is older than the test has its whole stack",
    {
        "test_it.py": """
import queue, threading

jobs, done = queue.Queue(), queue.Queue()

def load(size):
    return bytearray(size)

def middle(size):
    return load(size)

def deep(n):
    if n:
        return deep(n - 1)
    while (job := jobs.get()) is not None:
        done.put(middle(job))

@pytest.fixture(scope="module", autouse=True)
def thread():
    thread = threading.Thread(target=deep, args=(5,), daemon=True)
    thread.start()
    yield
    jobs.put(None)
    thread.join()

@pytest.mark.limit_leaks("1 MB")
def test_leak():
    jobs.put(50_000_000)
    _kept.append(done.get())
"""
    },
    runs=(Run(("--stacks=9", "-p", "no:threadexception")),),
    ours=Said(
        {"test_leak": OVER},
        ("*load:*test_it.py:11*", "*middle:*test_it.py:14*", "*deep:*test_it.py:20*"),
    ),
    peer=(
        Said(
            {"test_leak": OVER},
            ("*load:*test_it.py:11*", "*middle:*test_it.py:14*", "*deep:*test_it.py:20*"),
        ),
    ),
)

SCENARIOS = (
    *(STRAY, POOL, POOL_OF_THE_TEST, CHURN, TRACED, LOOP, PROFILE_FUNCTIONS, WITHOUT_GIL),
    *(FOREIGN, OLDER_THREAD),
)
