"""Item kind x marker x body x end: the table of verdicts (verdict_table.py), run as one project a kind."""

import dataclasses
import re
import sys
import sysconfig
import textwrap

import pytest
import verdict_table
from verdict_table import Case

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
    #: What runs it keeps objects for every test, made in the middle of it.
    keeps: bool = False

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
        "    def {name}(self):\n        with self.subTest(n=1):\n            bytearray(10)\n"
        "        {body}\n",
        _CASE,
        "TestIt::",
        keeps=True,
    ),
    "hypothesis": Kind(
        "@once\n@given(st.booleans())\ndef {name}(b):\n    {body}\n",
        "from hypothesis import Phase, given, settings, strategies as st\n\n"
        "once = settings(max_examples=1, database=None, deadline=None, phases=[Phase.generate])\n\n",
        plugin="_hypothesis_pytestplugin",
        keeps=True,
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


def check(
    result: pytest.RunResult, prefix: str = "", suffix: str = "", cases: list[Case] | None = None
) -> None:
    played = list(verdict_table.cases()) if cases is None else cases
    table = {prefix + one.name + suffix: one.word(OBJECTS) for one in played}
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
    plugins = (need(how.plugin),) if how.plugin else ()
    project.write("conftest.py", CONFTEST)
    cases = [one for one in verdict_table.cases() if one.marker != "objects" or not how.keeps]
    source = HEADER + how.header + "".join(map(how.source, cases))
    result = project.run_tests(source, *ARGUMENTS, plugins=plugins)
    check(result, how.prefix, how.suffix, cases)


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
    check(project.run("--doctest-modules", *ARGUMENTS), "shop.")


def test_the_table_of_other_items(project) -> None:
    project.write("conftest.py", MARKED.format(markers=markers()) + ITEMS)
    project.write(
        "all.sheet",
        "\n---\n".join(f"{one.name}:\n{one.source}" for one in verdict_table.cases()),
    )
    check(project.run(*ARGUMENTS))


def test_every_kind_of_the_table_is_run() -> None:
    assert [*KINDS, "doctest", "item"] == list(verdict_table.KINDS)


def test_the_guide_shows_the_table() -> None:
    text = verdict_table.DOCUMENT.read_text()
    assert verdict_table.written(text) == text
    assert verdict_table.tables() in text
