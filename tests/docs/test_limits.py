"""The examples of docs/limits.md run, and what it shows of their output is what they print."""

import re
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "limits.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n.*?^```text\n(.*?)^```", DOCUMENT, re.M | re.S)


def generalised(line: str) -> str:
    """A line without what differs between machines and versions: sizes and names of libraries."""
    line = re.sub(r"\d[\d.]*[KMG]?i?B", "SIZE", line)
    # One built into the interpreter has the interpreter's name.
    line = re.sub(r"^\S+ (?=looked up)", "LIBRARY ", line)
    return re.sub(r"^_\w+runtime\S* (?=contains)", "LIBRARY ", line)


def test_examples_are_found() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("source", "shown"), EXAMPLES, ids=["polars", "ctypes", "child"])
def test_an_example_prints_what_is_shown(project, source: str, shown: str) -> None:
    if "polars" in source:
        pytest.importorskip("polars", reason="make allocators installs it")
    project.path.joinpath("test_limits.py").write_text(source)
    result = project.run("--memray")
    result.assert_outcomes(passed=source.count("def test_"))
    printed = [generalised(line) for line in result.outlines]
    assert [line for line in map(generalised, shown.splitlines()) if line not in printed] == []


def test_words_quoted_from_the_code_are_its_words() -> None:
    from pytest_cmemray import sections, session, verdict

    folder = Path(session.__file__).parent
    files = [folder / "session.py", Path(sections.__file__), Path(verdict.__file__)]
    code = re.sub(r'"\s*f?"', "", " ".join(file.read_text() for file in files))
    for words in (
        "Memory was not measured completely, so the limit cannot be checked: ",
        "memory limits are not checked in a process with ",
        "whose allocator they would measure; the ini key memray_sanitizer = track checks them anyway",
        "not counted against the limit: ",
        "not measured: its plugin ran it past pytest's own hooks",
    ):
        assert words in re.sub(r"\s+", " ", DOCUMENT), words
        assert words in code, words
