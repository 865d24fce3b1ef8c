"""The examples of README.md and the guides run, and what they show of the output is what is printed."""

import gc
import re
import sys
import sysconfig
from pathlib import Path

import pytest

import cmemray

ROOT = Path(__file__).resolve().parents[2]
CAN_TRACE = sys.version_info >= (3, 13, 3) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def blocks(name: str, language: str) -> list[str]:
    """The code blocks of a document."""
    text = (ROOT / name).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for named, block in found if named == language]


#: What the test of README.md tests.
ORDERS = """\
import csv


def revenue(day):
    with open(day) as file:
        orders = [order for order in csv.DictReader(file)]
    return sum(int(order["price"]) for order in orders)
"""
CONFTEST = """
import pytest

@pytest.fixture
def day(tmp_path):
    path = tmp_path / "day.csv"
    with path.open("w") as file:
        print("number,price", file=file)
        for number in range(50_000):
            print(number, number % 5000, sep=",", file=file)
    return path
"""


def generalised(line: str) -> str:
    """A line without what differs between machines and versions of Python."""
    # Comprehensions are no functions of their own from 3.12 on.
    line = re.sub(r"<listcomp>|\brevenue(?=[ :])", "FUNCTION", line)
    line = re.sub(r"/\S+(?=/csv\.py)", "STDLIB", line)
    line = re.sub(r"\d[\d.]*", "N", line)
    return line.strip(" =-_")


def test_the_first_example_prints_what_is_shown(project) -> None:
    source, *_ = blocks("README.md", "python")
    [shown] = blocks("README.md", "")
    project.write("conftest.py", CONFTEST)
    project.write("shop/orders.py", ORDERS)
    project.path.joinpath("test_orders.py").write_text(
        f"import pytest\nfrom shop import orders\n\n{source}\n\ndef test_no_orders():\n    pass\n"
    )
    command, *lines = shown.splitlines()
    assert command == "$ pytest"
    result = project.run("-p", "no:randomly", "--import-mode=prepend", "-o", "pythonpath=.")
    printed = iter([generalised(line) for line in result.outlines])
    # In this order, with others in between.
    assert [line for line in map(generalised, lines) if line not in printed] == []
    if sys.version_info[:2] == (3, 11):
        [sentence] = [line for line in lines if line.startswith("Test was limited")]
        assert sentence in result.outlines
    guide = (ROOT / "docs/guide/output.md").read_text()
    assert next(line for line in lines if line.startswith("Test was limited")) in guide


@pytest.mark.parametrize("name", ["README.md", "docs/measuring.md"])
def test_measuring_without_pytest(name: str, tmp_path) -> None:
    source = next(text for text in blocks(name, "python") if "cmemray.measure" in text)
    kept = []
    names = {
        "cmemray": cmemray,
        "documents": range(1000),
        "build_index": lambda documents: kept.extend(map(str, documents)),
        "path": tmp_path,
        "load": lambda path: [str(path)] * 1000,
    }
    exec(source, names)
    m = names["m"]
    assert m.peak > 8000
    assert m.locations_at_peak()[0].size > 1000
    with pytest.raises(cmemray.LimitExceeded, match=r"limited to 50\.0MiB but"):
        exec(source, {**names, "build_index": _much, "load": _much})


def _much(_: object) -> int:
    return len(bytes(60 << 20))


@pytest.mark.skipif(not CAN_TRACE, reason="objects can be traced on CPython 3.13.3 and newer")
def test_objects_that_survive() -> None:
    [source] = [text for text in blocks("docs/measuring.md", "python") if "track_objects" in text]
    kept: list[object] = []
    names = {"cmemray": cmemray, "gc": gc, "run": lambda: kept.append({"kept": object()})}
    exec(source, names)
    assert kept[0] in [one.obj for one in names["tracked"].survivors]  # type: ignore[attr-defined]


def test_a_filter_function(project) -> None:
    [source] = blocks("docs/guide/markers.md", "python")
    project.write("shop/orders.py", "KEPT = []\n\ndef load():\n    KEPT.append(bytes(5000))\n")
    body = (
        "from shop.orders import load\nfrom pytest_cmemray import Stack\n\nMORE = []\n\n" + source
    )
    tests = [
        body.replace("test_import(): ...", "test_ours():\n    load()\n"),
        source.partition("\n\n")[2].replace(
            "test_import(): ...", "test_others():\n    MORE.append(bytes(5000))\n"
        ),
    ]
    result = project.run_tests("\n".join(tests), "-rA", "-o", "pythonpath=.")
    assert project.outcomes(result) == {"test_ours": "MEMORY PROBLEMS", "test_others": "PASSED"}


def test_recipes_for_ci(project) -> None:
    [ini] = blocks("docs/guide/ci.md", "ini")
    project.write("pytest.ini", ini)
    project.write(
        "test_it.py",
        "def test_much():\n    bytes(250 << 20)\n\n"
        "@pytest.mark.limit_memory('1 GB')\ndef test_more():\n    bytes(250 << 20)\n\n"
        "@pytest.mark.limit_memory(None)\ndef test_any():\n    bytes(250 << 20)\n\n"
        "@pytest.mark.limit_leaks('1 MB')\ndef test_leaks():\n    pass\n",
    )
    words = project.outcomes(project.run("-rA"))
    assert words.pop("test_much") == "MEMORY PROBLEMS"
    assert set(words.values()) == {"PASSED"}
    marked = re.search(r'pytest (-m) "(.*)"', (ROOT / "docs/guide/ci.md").read_text())
    assert marked is not None
    result = project.run("-rA", *marked.groups())
    assert set(project.outcomes(result)) == {"test_more", "test_any", "test_leaks"}
