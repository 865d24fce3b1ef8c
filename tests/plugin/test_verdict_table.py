"""Item kind x marker x body x end: the table of verdicts (verdict_table.py), run as one project a kind."""

import dataclasses
import re
import sys
import sysconfig
import textwrap

import pytest
import verdict_table
from verdict_table import MEMORY, Case

#: Where objects can be followed.
OBJECTS = sys.version_info >= (3, 13, 3) and not sysconfig.get_config_var("Py_GIL_DISABLED")

HEADER = """
import unittest
import warnings

KEPT = []
"""
#: Errors around tests of every kind, by their name.
CONFTEST = """
import pytest

@pytest.fixture(autouse=True)
def _around(request):
    if request.node.name.partition("[")[0].endswith("setuperror"):
        raise RuntimeError("in set-up")
    yield
    if request.node.name.partition("[")[0].endswith("teardownerror"):
        raise RuntimeError("in teardown")
"""


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a test of this kind is written in test_it.py. `{name}` and `{body}` stand for themselves, and
    names of tests have `prefix` and `suffix` around them."""

    test: str
    header: str = ""
    prefix: str = ""
    suffix: str = ""
    plugin: str = ""
    #: The oldest pytest that has such tests.
    pytest: int = 0

    def source(self, case: Case) -> str:
        """One test."""
        *_, indent = re.findall(r"^( *){body}", self.test, re.M)
        body = textwrap.indent(case.source, indent).removeprefix(indent)
        text = self.test.format(name=case.name, body=body)
        outer = " " * (len(text) - len(text.lstrip(" ")))
        return "".join(f"{outer}@pytest.mark.{one}\n" for one in case.markers) + text + "\n\n"


_CASE = "class TestIt(unittest.TestCase):\n"
_METHOD = "    def {name}(self):\n        {body}\n"
KINDS = {
    "function": Kind("def {name}():\n    {body}\n"),
    "parametrized": Kind(
        "@pytest.mark.parametrize('n', [3])\ndef {name}(n):\n    {body}\n", suffix="[3]"
    ),
    "method": Kind(_METHOD, "class TestIt:\n", "TestIt::"),
    "unittest": Kind(_METHOD, _CASE, "TestIt::"),
    "unittest_async": Kind(
        "    async def {name}(self):\n        {body}\n",
        "class TestIt(unittest.IsolatedAsyncioTestCase):\n",
        "TestIt::",
    ),
    "subtests": Kind(
        "    def {name}(self):\n        for n in (1, 2):\n            with self.subTest(n=n):\n"
        "                bytearray(10)\n        {body}\n",
        _CASE,
        "TestIt::",
    ),
    "subtests_fixture": Kind(
        "def {name}(subtests):\n    for n in (1, 2):\n        with subtests.test(n=n):\n"
        "            bytearray(10)\n    {body}\n",
        pytest=9,
    ),
    "hypothesis": Kind(
        "@several\n@given(st.lists(st.integers()))\ndef {name}(numbers):\n    {body}\n",
        "from hypothesis import Phase, given, settings, strategies as st\n\n"
        "several = settings(max_examples=3, database=None, deadline=None, derandomize=True,\n"
        "                   phases=[Phase.generate])\n\n",
        plugin="_hypothesis_pytestplugin",
    ),
    "anyio": Kind(
        "@pytest.mark.anyio\nasync def {name}():\n    {body}\n",
        "import anyio\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n\n",
        plugin="anyio.pytest_plugin",
    ),
    "asyncio": Kind(
        "@pytest.mark.asyncio\nasync def {name}():\n    {body}\n",
        plugin="pytest_asyncio.plugin",
    ),
}

#: Marks tests that have no place for a decorator.
MARKED = """
import pytest

MARKERS = {markers}

def pytest_collection_modifyitems(items):
    for item in items:
        for source in MARKERS.get(item.name.rpartition(".")[2], ()):
            item.add_marker(eval("pytest.mark." + source))
"""

ITEMS = r"""
KEPT = []

class Sheet(pytest.File):
    def collect(self):
        for text in self.path.read_text().split("\n---\n"):
            name, _, body = text.partition(":\n")
            yield Cell.from_parent(self, name=name, body=compile(body, "cell", "exec"))

class Cell(pytest.Item):
    def __init__(self, *, body, **more):
        super().__init__(**more)
        self.body = body

    def setup(self):
        if self.name.endswith("setuperror"):
            raise RuntimeError("in set-up")

    def runtest(self):
        exec(self.body, {"KEPT": KEPT, "pytest": pytest})

    def teardown(self):
        if self.name.endswith("teardownerror"):
            raise RuntimeError("in teardown")

    def repr_failure(self, excinfo):
        return f"cell failed: {excinfo.value}"

def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".sheet":
        return Sheet.from_parent(parent, path=file_path)
"""


def words(lines: list[str]) -> dict[str, str]:
    """pytest's word, or words, for each test of a run with -rA."""
    found: dict[str, str] = {}
    for line in lines:
        known = re.match(r"(PASSED|FAILED|MEMORY PROBLEMS|XFAIL|XPASS|ERROR) \S*?::(\S+)", line)
        if known:
            word, name = known.groups()
            found[name] = f"{found[name]}, {word}" if name in found else word
    # What fails is told after what has an error.
    return {
        name: ", ".join(reversed(word.split(", "))) if word.startswith("ERROR,") else word
        for name, word in found.items()
    }


def check(result: pytest.RunResult, kind: str, prefix: str = "", suffix: str = "") -> None:
    table = {prefix + one.name + suffix: one.word(OBJECTS, kind) for one in verdict_table.cases()}
    # Skips are folded into one line for each place in the file.
    skipped = {name for name, word in table.items() if word == "SKIPPED"}
    found = words(result.outlines)
    wrong = {
        name: (found.get(name), word)
        for name, word in table.items()
        if name not in skipped and found.get(name) != word
    }
    assert wrong == {}
    assert found.keys() == table.keys() - skipped
    assert result.parseoutcomes()["skipped"] == len(skipped)
    assert result.ret == pytest.ExitCode.TESTS_FAILED


ARGUMENTS = ("-rA", "--tb=no", "-W", "ignore")


@pytest.mark.parametrize("kind", KINDS)
def test_the_table(project, need, kind: str) -> None:
    how = KINDS[kind]
    if int(pytest.__version__.partition(".")[0]) < how.pytest:
        pytest.skip(f"such tests are of pytest {how.pytest}")
    plugins = (need(how.plugin),) if how.plugin else ()
    project.write("conftest.py", CONFTEST)
    source = HEADER + how.header + "".join(map(how.source, verdict_table.cases()))
    result = project.run_tests(source, *ARGUMENTS, plugins=plugins)
    check(result, kind, how.prefix, how.suffix)


#: Each example, or subtest, is within its limits by itself; ten of them are not. Leaks are judged by call
#: stack, of which hypothesis has a few.
SEVERAL = """
import unittest

KEPT = []

def keep():
    KEPT.append(bytearray(1_000_000))

class TestIt(unittest.TestCase):
    @pytest.mark.limit_memory("4 MB")
    def test_memory(self):
        for n in range(COUNT):
            with self.subTest(n=n):
                keep()

    @pytest.mark.limit_leaks("2 MB")
    def test_leaks(self):
        for n in range(COUNT):
            with self.subTest(n=n):
                keep()
"""
EXAMPLES = """
from hypothesis import Phase, given, settings, strategies as st

several = settings(max_examples=COUNT, database=None, deadline=None, derandomize=True,
                   phases=[Phase.generate])

@pytest.mark.limit_memory("4 MB")
@several
@given(st.lists(st.integers()))
def test_memory(numbers):
    keep()

@pytest.mark.limit_leaks("2 MB")
@several
@given(st.lists(st.integers()))
def test_leaks(numbers):
    keep()
"""


@pytest.mark.parametrize("kind", ["subtests", "hypothesis"])
@pytest.mark.parametrize(("count", "word"), [(1, "PASSED"), (10, MEMORY)])
def test_examples_and_subtests_are_one_test(
    project, need, kind: str, count: int, word: str
) -> None:
    is_case = kind == "subtests"
    source = SEVERAL if is_case else SEVERAL.partition("class")[0] + EXAMPLES
    plugins = () if is_case else (need(KINDS[kind].plugin),)
    result = project.run_tests(f"COUNT = {count}\n{source}", *ARGUMENTS, plugins=plugins)
    prefix = "TestIt::" if is_case else ""
    assert words(result.outlines) == {f"{prefix}test_memory": word, f"{prefix}test_leaks": word}


def markers() -> dict[str, tuple[str, ...]]:
    return {one.name: one.markers for one in verdict_table.cases()}


def test_the_table_of_doctests(project) -> None:
    project.write("conftest.py", CONFTEST + MARKED.format(markers=markers()))
    source = "import pytest\n\nKEPT = []\n\n"
    for one in verdict_table.cases():
        # The value of an expression would be an output.
        lines = one.source.replace("bytearray(4_000_000)", "_ = len(bytearray(4_000_000))")
        text = "".join(f"    >>> {line}\n" for line in lines.splitlines())
        source += f'def {one.name}():\n    """\n{text}    """\n\n'
    project.write("shop.py", source)
    check(project.run("--doctest-modules", *ARGUMENTS), "doctest", "shop.")


def test_the_table_of_other_items(project) -> None:
    project.write("conftest.py", MARKED.format(markers=markers()) + ITEMS)
    project.write(
        "all.sheet",
        "\n---\n".join(f"{one.name}:\n{one.source}" for one in verdict_table.cases()),
    )
    check(project.run(*ARGUMENTS), "item")


def test_every_kind_of_the_table_is_run() -> None:
    assert [*KINDS, "doctest", "item"] == list(verdict_table.KINDS)


def test_the_guide_shows_the_table() -> None:
    text = verdict_table.DOCUMENT.read_text()
    assert verdict_table.written(text) == text
    assert verdict_table.tables() in text
