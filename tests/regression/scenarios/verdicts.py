"""Scenarios about verdicts: which test fails on its limit, and what it says then."""

from __future__ import annotations

from scenario import Run, Said, Scenario

BIG = "    bytearray(50_000_000)\n"
OVER = "MEMORY PROBLEMS"
INTERNALERROR = Said({"the run": "INTERNALERROR"}, ending=3)


def same(**outcomes: str) -> Said:
    """Outcomes by test, and nothing more."""
    return Said({name.replace("__", "::"): word for name, word in outcomes.items()})


CLOSEST = Scenario(
    "1",
    "the closest marker wins",
    {
        "test_it.py": "pytestmark = pytest.mark.limit_memory('1 MB')\n"
        "@pytest.mark.limit_memory('100 MB')\ndef test_it():\n    bytearray(10_000_000)\n"
        "def test_without_its_own():\n    bytearray(10_000_000)\n"
        "@pytest.mark.limit_memory('5 MB')\ndef test_over():\n    bytearray(10_000_000)\n"
    },
    ours=Said(
        {"test_it": "PASSED", "test_without_its_own": OVER, "test_over": OVER},
        ("MEMORY PROBLEMS *::test_over - Test was limited to 5.0MiB *",),
    ),
    peer=(same(test_it=OVER, test_without_its_own=OVER, test_over=OVER),),
)

UNITS = Scenario(
    "2",
    "binary units and numbers are sizes",
    {
        "test_it.py": """
@pytest.mark.parametrize("size", [10_400_000, 10 << 20])
@pytest.mark.limit_memory("10 MiB")
def test_unit(size):
    bytearray(size)

@pytest.mark.parametrize("size", [9_900_000, 10_000_000])
@pytest.mark.limit_memory(10_000_000)
def test_number(size):
    bytearray(size)
"""
    },
    ours=Said(
        {"test_unit[10400000]": "PASSED", "test_unit[10485760]": OVER}
        | {"test_number[9900000]": "PASSED", "test_number[10000000]": OVER}
    ),
    peer=(INTERNALERROR,),
)

BAD_KEYWORD = Scenario(
    "2",
    "a bad keyword is an error of its test alone",
    {
        "test_it.py": "@pytest.mark.limit_memory('1 MB', foo=3)\ndef test_bad():\n    pass\n"
        "def test_other():\n    pass\n"
    },
    ours=Said(
        {"test_bad": "ERROR", "test_other": "PASSED"},
        ("ERROR test_it.py::test_bad - *unexpected keyword argument 'foo'*",),
        ending=1,
    ),
    peer=(INTERNALERROR,),
)

JUNK = Scenario(
    "3",
    "junk after a size is refused",
    {"test_it.py": "@pytest.mark.limit_memory('10 KBANANAS')\ndef test_it():\n    pass\n"},
    ours=Said({"test_it": "ERROR"}, ("ERROR test_it.py::test_it - *'10 KBANANAS'*",)),
    peer=(same(test_it="PASSED"),),
)

UNITLESS = Scenario(
    "3",
    "a unit that does not exist is refused",
    {
        "test_it.py": "@pytest.mark.limit_memory('1 G')\ndef test_it():\n    pass\n"
        "def test_other():\n    pass\n"
    },
    ours=Said(
        {"test_it": "ERROR", "test_other": "PASSED"}, ("ERROR test_it.py::test_it - *'1 G'*",)
    ),
    peer=(INTERNALERROR,),
)

NO_CACHE = Scenario(
    "4",
    "limits work without pytest's cache",
    {
        "test_it.py": f"@pytest.mark.limit_memory('1 MB')\ndef test_it():\n{BIG}"
        "@pytest.mark.limit_memory('1 MB')\ndef test_small():\n    pass\n"
    },
    runs=(Run(("-p", "no:cacheprovider")),),
    ours=same(test_it=OVER, test_small="PASSED"),
    # It ended the run with an internal error up to its version 1.10.
    peer=(same(test_it=OVER, test_small="PASSED"),),
)

INI = Scenario(
    "5",
    "every ini key is honoured",
    {
        "test_it.py": "def call():\n    return bytearray(50_000_000)\n\n"
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    call()\n\n"
        "def test_other():\n    bytearray(1_000_000)\n"
    },
    ini=("memray = true", "stacks = 2", "most_allocations = 1"),
    ours=Said(
        {"test_it": OVER, "test_other": "PASSED"},
        ("        call:test_it.py:6",),
        never=("*results for*test_other*",),
        shows={"the report": "*MEMRAY REPORT*", "two frames": "        test_it:test_it.py:10"},
    ),
    peer=(
        Said(
            {"test_it": OVER},
            lacks={"the report": "*MEMRAY REPORT*", "two frames": "*test_it:*test_it.py:10*"},
        ),
    ),
)


def _sized(size: int) -> dict[str, str]:
    return {
        "test_it.py": f"@pytest.mark.limit_memory('2 MB')\ndef test_it():\n    bytearray({size})\n"
    }


INI_INCREASE = Scenario(
    "5",
    "the ini key fail-on-increase is honoured",
    {},
    ini=("fail-on-increase = true",),
    runs=(Run(files=_sized(500_000)), Run(files=_sized(1_500_000))),
    ours=same(**{"1 test_it": "PASSED", "2 test_it": OVER}),
    peer=(same(**{"1 test_it": "PASSED", "2 test_it": "PASSED"}),),
)

BASELINE = Scenario(
    "6",
    "a run over its limit is no baseline",
    {},
    # The second one without the option: the limit alone fails it.
    runs=(
        Run(("--fail-on-increase",), _sized(500_000)),
        Run(files=_sized(4_000_000)),
        Run(("--fail-on-increase",), _sized(1_500_000)),
    ),
    ours=Said(
        {"1 test_it": "PASSED", "2 test_it": OVER, "3 test_it": OVER},
        ("*Test previously used 488.* but now uses 1.4MiB*",),
    ),
    peer=(same(**{"1 test_it": "PASSED", "2 test_it": OVER, "3 test_it": "PASSED"}),),
)

ONE_BYTE = Scenario(
    "7",
    "one byte more is told in numbers that differ",
    {},
    runs=tuple(
        Run(("--fail-on-increase",), _sized(size)) for size in (500_000, 500_000, 500_000, 500_001)
    ),
    ours=Said(
        {"3 test_it": "PASSED", "4 test_it": OVER},
        shows={
            "sizes to the byte": "*previously used 488.?KiB (* bytes) but now uses 488.?KiB (* bytes)*"
        },
    ),
    peer=(
        Said(
            {"3 test_it": "PASSED", "4 test_it": OVER},
            shows={"two equal numbers": "*previously used 488.3KiB but now uses 488.3KiB*"},
        ),
    ),
)

UNITTEST = Scenario(
    "8",
    "methods of unittest are measured",
    {
        "test_it.py": """
import unittest

class TestIt(unittest.TestCase):
    @pytest.mark.limit_memory("1 KB")
    def test_method(self):
        bytearray(50_000_000)

    @pytest.mark.limit_memory("1 MB")
    def test_subtest(self):
        for n in (1, 2):
            with self.subTest(n=n):
                bytearray(50_000_000)

class TestSetUp(unittest.TestCase):
    def setUp(self):
        self.made = bytearray(50_000_000)

    @pytest.mark.limit_memory("1 MB")
    def test_nothing(self):
        pass

class TestAsync(unittest.IsolatedAsyncioTestCase):
    @pytest.mark.limit_memory("1 MB")
    async def test_method(self):
        bytearray(50_000_000)

    @pytest.mark.limit_memory("100 MB")
    async def test_within(self):
        bytearray(50_000_000)
"""
    },
    ours=same(
        TestIt__test_method=OVER,
        TestIt__test_subtest=OVER,
        TestSetUp__test_nothing=OVER,
        TestAsync__test_method=OVER,
        TestAsync__test_within="PASSED",
    ),
    peer=(
        same(
            TestIt__test_method="PASSED",
            TestIt__test_subtest="PASSED",
            TestSetUp__test_nothing="PASSED",
            TestAsync__test_method="PASSED",
            TestAsync__test_within="PASSED",
        ),
    ),
)

FIXTURES = Scenario(
    "9",
    "fixtures do not count, and the failure says so",
    {
        "test_it.py": "@pytest.fixture\ndef made():\n    return bytearray(50_000_000)\n\n"
        "@pytest.mark.limit_memory('1 MB')\ndef test_it(made):\n    pass\n"
        "@pytest.mark.limit_memory('1 MB')\ndef test_over(made):\n    bytearray(made)\n"
    },
    ours=Said(
        {"test_it": "PASSED", "test_over": OVER},
        shows={"what is counted": "*Counted is the test itself, not its fixtures."},
    ),
    peer=(Said({"test_it": "PASSED", "test_over": OVER}, lacks={"what is counted": "*fixtures*"}),),
)

XFAIL = Scenario(
    "10",
    "xfail expects a passed limit",
    {
        "test_it.py": "@pytest.mark.xfail(strict=True)\n@pytest.mark.limit_memory('1 MB')\n"
        f"def test_strict():\n{BIG}"
        "@pytest.mark.xfail(strict=True, raises=AssertionError)\n"
        f"@pytest.mark.limit_memory('1 MB')\ndef test_raises():\n{BIG}"
    },
    ours=same(test_strict="XFAIL", test_raises="XFAIL"),
    peer=(same(test_strict="FAILED", test_raises="FAILED"),),
)

LATE_SKIP = Scenario(
    "11",
    "a late skip is noted, and a failing test reports its peak",
    {
        "test_it.py": f"@pytest.mark.limit_memory('1 MB')\ndef test_skip():\n{BIG}"
        f"    pytest.skip()\n\n@pytest.mark.limit_memory('1 MB')\ndef test_fail():\n{BIG}"
        "    assert 0\n"
    },
    ours=Said(
        {"skipped": "1", "test_fail": "FAILED"},
        shows={
            "the peak of the one": "Test was limited to 1.0MiB but allocated 47.7MiB*",
            "of the other": "*test_skip: skipped, so not enforced: Test was limited to 1.0MiB but "
            "allocated 47*",
        },
    ),
    peer=(Said({"skipped": "1", "test_fail": "FAILED"}, lacks={"a peak": "*Test was limited*"}),),
)

TWO_MARKERS = Scenario(
    "12",
    "two markers on one test work",
    {
        "test_it.py": f"@pytest.mark.limit_memory('100 MB')\n@pytest.mark.limit_leaks('1 MB')\n"
        f"def test_it():\n{BIG}"
        "@pytest.mark.limit_memory('100 MB')\n@pytest.mark.limit_leaks('1 MB')\n"
        "def test_leak():\n    _kept.append(bytearray(50_000_000))\n"
        "@pytest.mark.limit_memory('1 MB')\n@pytest.mark.limit_leaks('100 MB')\n"
        f"def test_peak():\n{BIG}"
        "@pytest.mark.limit_memory('1 MB')\n@pytest.mark.limit_leaks('1 MB')\n"
        "def test_both():\n    _kept.append(bytearray(50_000_000))\n"
    },
    ours=Said(
        {"test_it": "PASSED", "test_leak": OVER, "test_peak": OVER, "test_both": OVER},
        (
            "MEMORY PROBLEMS test_it.py::test_leak - *leak 1.0MiB per loc*",
            "MEMORY PROBLEMS test_it.py::test_peak - *limited to 1.0MiB but allocated 47.7MiB*",
            "*limited to 1.0MiB but allocated 47.7MiB*from test_both*",
            "*leak 1.0MiB per location*47.7MiB from test_both*",
        ),
    ),
    peer=(
        Said(
            {f"test_{name}": "FAILED" for name in ("it", "leak", "peak", "both")},
            ("*ValueError*",),
        ),
    ),
)

CHILDREN = Scenario(
    "13",
    "child processes are flagged",
    {
        "test_it.py": """
import os, subprocess, sys

@pytest.mark.limit_memory("5 MB")
def test_subprocess():
    subprocess.run([sys.executable, "-c", "bytearray(200_000_000)"], check=True)

@pytest.mark.limit_memory("5 MB")
def test_fork():
    pid = os.fork()
    if not pid:
        bytearray(200_000_000)
        os._exit(0)
    os.waitpid(pid, 0)
"""
    },
    runs=(Run(("-W", "ignore")),),
    ours=Said(
        {"test_subprocess": "PASSED", "test_fork": "PASSED"},
        ("test_it.py::test_subprocess: 1 child process was not measured (*)",),
        shows={
            "a note of either child": "test_it.py::test_fork: 1 child process was not measured (fork)"
        },
    ),
    peer=(
        Said(
            {"test_subprocess": "PASSED", "test_fork": "PASSED"},
            lacks={"a note of either child": "*child*not measured*"},
        ),
    ),
)

NESTED = Scenario(
    "14",
    "a test may measure by itself",
    {
        "test_it.py": """
try:
    import cmemray
    inside = cmemray.measure
except ImportError:
    import memray
    inside = lambda: memray.Tracker("inner.bin")

@pytest.mark.limit_memory("10 MB")
def test_it():
    bytearray(5_000_000)
    with inside() as inner:
        bytearray(1_000_000)
    if hasattr(inner, "peak"):
        assert 1_000_000 <= inner.peak < 1_010_000
"""
    },
    runs=(Run(("--memray",)),),
    ours=Said({"test_it": "PASSED"}, ("*Total memory allocated: 4.8MiB*",)),
    peer=(Said({"test_it": "FAILED"}, ("*RuntimeError: No more than one Tracker*",)),),
)

MAPPINGS = Scenario(
    "15",
    "mappings without memory are not the heap",
    {
        "test_it.py": """
import mmap, pathlib

@pytest.fixture
def big_file(tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(500_000_000)
    return path

@pytest.mark.limit_memory("5 MB")
def test_anonymous():
    mmap.mmap(-1, 500_000_000).close()

@pytest.mark.limit_memory("5 MB")
def test_file(big_file):
    with big_file.open("rb") as file:
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
"""
    },
    ours=Said(
        {"test_anonymous": "PASSED", "test_file": "PASSED"},
        (
            "*test_anonymous: not counted against the limit: shared anonymous mappings 476.8MiB*",
            "*test_file: not counted against the limit: file mappings 476.8MiB (*",
        ),
    ),
    peer=(same(test_anonymous=OVER, test_file=OVER),),
)

_ORDER = {
    "test_it.py": """
import os

_fragments = []

def strings():
    return [f"{n:05}" for n in range(150_000)]

@pytest.mark.limit_memory("100 MB")
def test_fragments():
    many = [f"{n:06}" for n in range(300_000)]
    _fragments.append(many[::7])

@pytest.mark.limit_memory(os.environ["LIMIT"])
def test_strings():
    strings()
"""
}
_ALONE = ("test_it.py::test_strings",)


def _order(limit: str, peer_alone: str, peer_after: str, ours: str) -> Scenario:
    environment = {"LIMIT": limit}
    return Scenario(
        "16",
        f"a verdict does not depend on the tests before: {limit}",
        _ORDER,
        runs=(Run(_ALONE, environment=environment), Run(environment=environment)),
        ours=same(**{"1 test_strings": ours, "2 test_strings": ours}),
        peer=tuple(
            same(**{"1 test_strings": alone, "2 test_strings": after})
            for alone, after in ((peer_alone, peer_after), ("PASSED", "PASSED"))
        ),
    )


# Just above what it needs, and just below.
ORDER_ABOVE = _order("10 MB", OVER, "PASSED", "PASSED")
ORDER_BELOW = _order("7 MB", OVER, "PASSED", OVER)

LINE_OF_LEAK = Scenario(
    "19",
    "a leak names its Python line",
    {
        "test_it.py": "def load():\n    _kept.append(bytearray(50_000_000))\n\n"
        "@pytest.mark.limit_leaks('1 MB')\ndef test_it():\n    load()\n"
    },
    ours=Said(
        {"test_it": OVER},
        (
            "* at least one location leaked more: 47.7MiB from load (test_it.py:6)",
            "*- memray-leaked-memory -*",
            "        test_it:test_it.py:10",
        ),
        shows={"the line": "        load:test_it.py:6"},
    ),
    # Where the interpreter has its debugging information, five frames of that hide the line.
    peer=(
        Said({"test_it": OVER}, lacks={"the line": "*load:*test_it.py:6*"}),
        Said({"test_it": OVER}, shows={"the line": "*load:*test_it.py:6*"}),
    ),
)

SILENT = Scenario(
    "20",
    "nothing is written to stderr",
    {
        "test_it.py": "import os\n"
        f"@pytest.mark.limit_memory('1 MB')\ndef test_over():\n{BIG}"
        f"@pytest.mark.limit_memory('100 MB')\ndef test_it(capfd):\n{BIG}"
        "    assert not capfd.readouterr().err\n"
    },
    runs=(Run(("--memray",)),),
    ours=Said({"test_over": OVER, "test_it": "PASSED"}, never=("*Captured stderr*",)),
    # The line "Correcting symbol for malloc" depends on how the interpreter was built.
    peer=(
        Said({"test_over": OVER}, shows={"its warnings": "Memray WARNING: *"}),
        Said({"test_over": OVER}),
    ),
)

SCENARIOS = (
    *(CLOSEST, UNITS, BAD_KEYWORD, JUNK, UNITLESS, NO_CACHE, INI, INI_INCREASE, BASELINE),
    *(
        ONE_BYTE,
        UNITTEST,
        FIXTURES,
        XFAIL,
        LATE_SKIP,
        TWO_MARKERS,
        CHILDREN,
        NESTED,
        MAPPINGS,
        ORDER_ABOVE,
    ),
    *(ORDER_BELOW, LINE_OF_LEAK, SILENT),
)
