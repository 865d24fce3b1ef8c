"""Scenarios about whole runs: other plugins, reports, workers, long names."""

from __future__ import annotations

from dataclasses import replace

from scenario import Run, Said, Scenario

BIG = "    bytearray(50_000_000)\n"
OVER = "MEMORY PROBLEMS"

JUNIT = Scenario(
    "22",
    "the JUnit file has verdict, sections and numbers",
    {
        "test_it.py": f"@pytest.mark.limit_memory('1 MB')\ndef test_over():\n{BIG}"
        f"@pytest.mark.limit_memory('100 MB')\ndef test_within():\n{BIG}"
    },
    runs=(Run(("-o", "junit_logging=all", "--junitxml=junit.xml")),),
    ours=Said({"test_over": OVER, "test_within": "PASSED"}),
    peer=(Said({"test_over": OVER, "test_within": "PASSED"}),),
)

_FLAKY = """
import itertools

_runs = itertools.count()

@pytest.mark.{marker}
@pytest.mark.limit_memory("1 MB")
def test_second_run_keeps_its_limit():
    if next(_runs) == 0:
        bytearray(50_000_000)

@pytest.mark.{marker}
@pytest.mark.limit_memory("1 MB")
def test_never_keeps_its_limit():
    bytearray(50_000_000)
"""
_RERUN = Said(
    {"test_second_run_keeps_its_limit": "PASSED", "test_never_keeps_its_limit": OVER},
    never=("*already*",),
)
RERUNFAILURES = Scenario(
    "23",
    "pytest-rerunfailures measures again and sees passed limits",
    {"test_it.py": _FLAKY.format(marker="flaky(reruns=2)")},
    runs=(Run(("--memray",)),),
    plugins=("pytest_rerunfailures",),
    # Once for the one, twice for the other.
    ours=replace(_RERUN, lines=("* 3 rerun*",)),
    peer=(replace(_RERUN, lines=("* 3 rerun*",)),),
)
FLAKY = Scenario(
    "23",
    "flaky measures again and sees passed limits",
    {"test_it.py": _FLAKY.format(marker="flaky(max_runs=3)")},
    runs=(Run(("--memray",)),),
    plugins=("flaky.flaky_pytest_plugin",),
    ours=_RERUN,
    # No test has an outcome at all, and the run succeeds.
    peer=(
        Said(
            lines=("*no tests ran*",),
            shows={"success": "test_never_keeps_its_limit passed 1 *Success!"},
            ending=0,
        ),
    ),
)

LONG_NAMES = Scenario(
    "24",
    "long names are no problem",
    {
        "test_it.py": f"@pytest.mark.limit_memory('1 MB')\ndef test_{'x' * 300}():\n{BIG}"
        "@pytest.mark.limit_memory('1 MB')\n"
        f"@pytest.mark.parametrize('n', [pytest.param(1, id='y/' * 5000)])\ndef test_it(n):\n{BIG}"
    },
    runs=(Run(("--memray",)),),
    ours=Said({f"test_{'x' * 300}": OVER, f"test_it[{'y/' * 5000}]": OVER}),
    peer=(Said({f"test_{'x' * 300}": OVER, f"test_it[{'y/' * 5000}]": OVER}),),
)

WARNINGS = Scenario(
    "25",
    "no warning is raised",
    {
        "test_it.py": "import unittest\n\n@pytest.mark.limit_memory('100 MB')\n"
        f"def test_it():\n{BIG}\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self):\n        pass\n\n"
        "@pytest.mark.limit_leaks('100 MB')\ndef test_leaks():\n    pass\n"
    },
    runs=(Run(("--strict-markers", "--strict-config", "-Werror")),),
    ini=("memray = true",),
    ours=Said({"test_it": "PASSED", "TestIt::test_it": "PASSED", "test_leaks": "PASSED"}, ending=0),
    peer=(
        Said({"test_it": "PASSED", "TestIt::test_it": "PASSED", "test_leaks": "PASSED"}, ending=0),
    ),
)

WITHOUT_CORE = Scenario(
    "25",
    "strict markers know ours where the compiled part cannot be loaded",
    {
        "test_it.py": "@pytest.mark.limit_memory('100 MB')\ndef test_limited():\n    pass\n"
        "@pytest.mark.limit_leaks('1 MB')\n@pytest.mark.skip\ndef test_skipped():\n    pass\n"
        "def test_other():\n    pass\n"
    },
    runs=(
        Run(
            ("--strict-markers", "-Werror"),
            command=(
                "-c",
                "import sys; sys.modules.update({'cmemray._core': None, 'memray._memray': None});"
                " import pytest; sys.exit(pytest.main())",
            ),
        ),
    ),
    # What cannot be checked does not pass.
    ours=Said(
        {"test_limited": OVER, "skipped": "1", "test_other": "PASSED"},
        ("*nothing was measured: *cmemray._core*",),
        never=("*not found in `markers`*",),
        ending=1,
    ),
    # It cannot be loaded itself.
    peer=(Said({}, ("*ModuleNotFoundError*",), ending=3),),
)

EMPTY = Scenario(
    "26",
    "empty allocations divide by nothing",
    {
        "test_it.py": "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(0)\n"
        "@pytest.mark.limit_leaks('1 KB')\ndef test_nothing():\n    pass\n"
    },
    runs=(Run(("--memray",)),),
    ours=Said(
        {"test_it": "PASSED", "test_nothing": "PASSED"},
        ("*results for test_it.py::test_it at *",),
        never=("*ZeroDivisionError*",),
    ),
    peer=(Said({"test_it": "PASSED", "test_nothing": "PASSED"}, never=("*ZeroDivisionError*",)),),
)


def _coroutines(marker: str, plugin: str, extra: str) -> Scenario:
    said = {"test_over": OVER, "test_within": "PASSED"}
    return Scenario(
        "27",
        f"coroutines of {marker} are run and measured",
        {
            "test_it.py": f"import asyncio\n{extra}\n"
            "async def load():\n    await asyncio.sleep(0)\n    return bytearray(50_000_000)\n\n"
            f"@pytest.mark.{marker}\n@pytest.mark.limit_memory('1 MB')\nasync def test_over():\n"
            "    await load()\n\n"
            f"@pytest.mark.{marker}\n@pytest.mark.limit_memory('100 MB')\n"
            "async def test_within():\n    await load()\n"
        },
        runs=(Run(("-Wignore",)),),
        plugins=(plugin,),
        ours=Said(said, ("MEMORY PROBLEMS *from load (test_it.py:*)",)),
        peer=(Said(said),),
    )


ANYIO = _coroutines(
    "anyio",
    "anyio.pytest_plugin",
    "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n",
)
ASYNCIO = _coroutines("asyncio", "pytest_asyncio.plugin", "")

_XDIST = {
    "test_it.py": """
import subprocess, sys

@pytest.mark.parametrize("n", range(6))
@pytest.mark.limit_memory("5 MB")
def test_it(n):
    bytearray(1_000_000 * (n + 1))

@pytest.mark.limit_leaks("1 MB")
def test_leak():
    _kept.append(bytearray(2_000_000))

def test_child():
    subprocess.run([sys.executable, "-c", ""], check=True)
"""
}
_WORKERS = {f"test_it[{n}]": "PASSED" for n in range(5)}
_WORKERS |= {"test_it[5]": OVER, "test_leak": OVER, "test_child": "PASSED"}
WORKERS = Scenario(
    "28",
    "results of xdist's workers are enforced and reported",
    _XDIST,
    runs=(Run(("-n2", "--memray", "--most-allocations=3")),),
    plugins=("xdist.plugin",),
    ours=Said(
        _WORKERS,
        (
            "*Total memory allocated: 5.7MiB (limit 5.0MiB, * over)*",
            "        test_it:test_it.py:11 -> 5.7MiB (~100%)",
            "8 tests measured in basis requested*",
            "MEMORY PROBLEMS test_it.py::test_it[5] - Test was limited to 5.0MiB but all*",
        ),
        shows={
            "the report": "*MEMRAY REPORT*",
            "a note of the child": "test_it.py::test_child: 1 child process was not measured (*)",
        },
    ),
    peer=(
        Said(
            _WORKERS,
            shows={"the report": "*MEMRAY REPORT*"},
            lacks={"a note of the child": "*child*not measured*"},
        ),
    ),
)
SAME_NUMBERS = Scenario(
    "28",
    "under xdist the numbers are those of one process",
    _XDIST,
    runs=(
        Run(("--memray", "--most-allocations=0")),
        Run(("-n2", "--memray", "--most-allocations=0")),
    ),
    plugins=("xdist.plugin",),
    ours=Said({f"1 {name}": word for name, word in _WORKERS.items()}),
    peer=(Said({f"1 {name}": word for name, word in _WORKERS.items()}),),
)


def _grown(size: int) -> dict[str, str]:
    return {
        "test_it.py": "@pytest.mark.parametrize('n', range(4))\n@pytest.mark.limit_memory('2 MB')\n"
        f"def test_it(n):\n    bytearray({size})\n"
    }


WORKERS_BASELINE = Scenario(
    "28",
    "the baseline works across workers",
    {},
    runs=tuple(Run(("-n2", "--fail-on-increase"), _grown(size)) for size in (500_000, 600_000)),
    plugins=("xdist.plugin",),
    ours=Said({"1 test_it[0]": "PASSED", **{f"2 test_it[{n}]": OVER for n in range(4)}}),
    # Its workers write one cache between them.
    peer=(Said({"1 test_it[0]": "PASSED", **{f"2 test_it[{n}]": OVER for n in range(4)}}),),
)

MANY = Scenario(
    "29",
    "five thousand tests leave no memory behind",
    {
        "test_it.py": """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4

@pytest.mark.parametrize("n", range(5000))
@pytest.mark.limit_memory("1 MB")
def test_it(n):
    bytearray(1000 + n % 7)
    if n == 1000:
        _kept.append(resident())

def test_growth():
    print("GROWN", resident() - _kept[0])
"""
    },
    runs=(Run(("-s", "-q", "-Wignore", "-rN")),),
    ours=Said(lines=("*5001 passed*",)),
    peer=(Said(lines=("*5001 passed*",)),),
)

#: They are raised, in or after the test.
_LATE = ("*ResourceWarning: unclosed file*", "*ValueError: late*")
LATE = Scenario(
    "30",
    "late warnings of a measured test do no harm",
    {
        "test_it.py": """
import gc

class Late:
    def __del__(self):
        raise ValueError("late")

@pytest.mark.limit_leaks("10 MB")
def test_it():
    cycle = Late()
    cycle.self = cycle
    open(__file__)

@pytest.mark.limit_memory("10 MB")
def test_after():
    gc.collect()
"""
    },
    runs=(Run(("--memray", "-Wdefault")),),
    ours=Said({"test_it": "PASSED", "test_after": "PASSED"}, _LATE, ending=0),
    peer=(Said({"test_it": "PASSED", "test_after": "PASSED"}, _LATE, ending=0),),
)

_PROFILED = {
    "test_it.py": """
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

@pytest.mark.parametrize("n", range(5))
def test_fib(n):
    fib(10)

@pytest.mark.limit_memory("1 MB")
def test_over():
    bytearray(50_000_000)
"""
}
_FIBS = {f"test_fib[{n}]": "PASSED" for n in range(5)}
CPROFILE = Scenario(
    "52a",
    "under cProfile tests pass and the profile is whole",
    _PROFILED,
    runs=(
        Run(("--memray",), command=("-m", "cProfile", "-o", "out.prof", "-m", "pytest")),
        Run(
            command=("-c", "import pstats; pstats.Stats('out.prof').print_stats('fib')"),
        ),
    ),
    ours=Said({f"1 {name}": word for name, word in {**_FIBS, "test_over": OVER}.items()}),
    peer=(
        Said(
            {f"1 {name}": "FAILED" for name in (*_FIBS, "test_over")},
            shows={"a TypeError in each": "*TypeError: 'Profile' object is not callable*"},
        ),
        # From CPython 3.12 on cProfile is no profile function.
        Said({f"1 {name}": word for name, word in {**_FIBS, "test_over": OVER}.items()}),
    ),
)


def _coverage(core: str) -> Scenario:
    said = Said({**_FIBS, "test_over": OVER}, ("test_it.py * 100%*",))
    return Scenario(
        "52a",
        f"coverage is whole with its {core}",
        _PROFILED,
        runs=(
            Run(
                ("--memray", "--cov=test_it", "--cov-report=term-missing"),
                environment={"COVERAGE_CORE": core},
            ),
        ),
        plugins=("pytest_cov",),
        ours=said,
        peer=(said,),
    )


CTRACE, PYTRACE, SYSMON = map(_coverage, ("ctrace", "pytrace", "sysmon"))

SCENARIOS = (
    *(JUNIT, RERUNFAILURES, FLAKY, LONG_NAMES, WARNINGS, WITHOUT_CORE, EMPTY, ANYIO, ASYNCIO),
    *(WORKERS, SAME_NUMBERS, WORKERS_BASELINE, MANY, LATE, CPROFILE, CTRACE, PYTRACE, SYSMON),
)
