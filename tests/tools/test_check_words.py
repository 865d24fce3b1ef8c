"""check_words.py finds private paths and unfinished work, and nothing in ordinary text."""

import pytest

HOME = "/home"  # put together below, so that this file passes the check itself


def test_ordinary_text_passes(tmp_path, run_tool):
    text = "~/.cache/x, ./work/x, a/work/b, https://example.org/home/x, HOME=/root and todo lists\n"
    (tmp_path / "a.md").write_text(text)
    assert run_tool("check_words.py", "a.md") == (0, "check_words: 1 files fine\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"see {HOME}/somebody/x", f"a path of one machine: {HOME}/s"),
        ("cd /" + "work/x", "a path of one machine"),
        ("(/" + "root/.cache)", "a path of one machine"),
        ("// TO" + "DO: later", "a mark of unfinished work"),
        ("# FIX" + "ME", "a mark of unfinished work"),
    ],
)
def test_breach(tmp_path, run_tool, text, said):
    (tmp_path / "a.md").write_text(f"first\n{text}\n")
    status, output = run_tool("check_words.py", "a.md")
    assert status == 1
    assert f"a.md:2: {said}" in output


def test_a_line_may_be_allowed(tmp_path, run_tool):
    (tmp_path / "a.py").write_text("x = 'TO" + "DO'  # check-words: allow\n")
    assert run_tool("check_words.py", "a.py")[0] == 0
