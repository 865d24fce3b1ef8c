"""check_sizes.py counts lines of files, of C functions and of Python functions."""

import pytest


def c_function(lines: int, head: str = "static int long_one(int a) {") -> str:
    return head + "\n" + "    a++;\n" * (lines - 2) + "}\n"


def test_within_bounds(tmp_path, run_tool):
    (tmp_path / "a.c").write_text(c_function(60) + "\n" + c_function(60))
    assert run_tool("check_sizes.py", tmp_path) == (0, "check_sizes: 1 files within bounds\n")


@pytest.mark.parametrize(
    "head",
    [
        "static int long_one(int a) {",
        "int long_one(struct a *b,\n             int c) {",
        "__attribute__((cold)) void long_one(void)\n{",
        "__attribute__((format(printf, 1, 2))) static void long_one(void) {",
    ],
)
def test_long_c_function(tmp_path, run_tool, head):
    text = "struct x {\n    int y;\n};\n\n" + c_function(5) + c_function(62, head)
    (tmp_path / "a.c").write_text(text)
    status, output = run_tool("check_sizes.py", tmp_path)
    assert status == 1
    assert "a.c:10: long_one has 6" in output


def test_long_python_function_counts_without_its_docstring(tmp_path, run_tool):
    docstring = '    """Head.\n' + "    text\n" * 30 + '    """\n'
    (tmp_path / "good.py").write_text("def fine():\n" + docstring + "    a = 1\n" * 59)
    assert run_tool("check_sizes.py", tmp_path)[0] == 0
    (tmp_path / "bad.py").write_text("async def bad():\n" + docstring + "    a = 1\n" * 60)
    status, output = run_tool("check_sizes.py", tmp_path)
    assert (status, "bad.py:1: bad has 61 lines" in output) == (1, True)


def test_long_file(tmp_path, run_tool):
    (tmp_path / "a.h").write_text("\n" * 601)
    status, output = run_tool("check_sizes.py", tmp_path)
    assert (status, "a.h: 601 lines, at most 600" in output) == (1, True)


def test_tests_may_have_long_functions_but_no_long_files(tmp_path, run_tool):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/a.c").write_text(c_function(100))
    assert run_tool("check_sizes.py", tmp_path)[0] == 0
    (tmp_path / "tests/a.c").write_text(c_function(700))
    assert run_tool("check_sizes.py", tmp_path)[0] == 1
