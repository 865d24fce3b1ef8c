"""What is loaded when, and beside what."""

import importlib.metadata
import sys

import pytest

CHECK = """
import sys

def test_nothing_of_the_tracker_is_loaded():
    assert "cmemray._core" not in sys.modules
    assert "cmemray" not in sys.modules
    assert "pytest_cmemray.measure" not in sys.modules
"""


def test_a_run_that_measures_nothing_does_not_load_the_tracker(project) -> None:
    result = project.run_tests(CHECK)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*MEMRAY*")


def test_the_first_measured_test_loads_it(project) -> None:
    result = project.run_tests(
        "import sys\n\n@pytest.mark.limit_memory('1 MB')\ndef test_it():\n"
        "    assert 'cmemray._core' in sys.modules\n"
    )
    result.assert_outcomes(passed=1)


def test_the_plugin_uses_public_names_of_the_library_only(project) -> None:
    """Names of cmemray.__all__, and the texts of explain and sizes."""
    import ast
    from pathlib import Path

    import cmemray
    import pytest_cmemray

    allowed = {"cmemray.explain", "cmemray.sizes"}
    seen = set()
    for file in Path(pytest_cmemray.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmemray"):
                names = {alias.name for alias in node.names}
                seen |= names
                if node.module == "cmemray":
                    assert names <= {*cmemray.__all__, "explain"}, file
                else:
                    assert node.module in allowed, file
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cmemray":
                assert node.attr in cmemray.__all__, file
    assert "parse_size" in seen


def test_public_names() -> None:
    import pytest_cmemray

    assert set(pytest_cmemray.__all__) == {
        "LeakedObjectsFilterFunction",
        "LeaksFilterFunction",
        "Stack",
        "StackFrame",
        "__version__",
    }
    frame = pytest_cmemray.StackFrame("load", "/shop/load.py", 3)
    stack = pytest_cmemray.Stack((frame,))
    assert (stack.frames[0].function, frame.filename, frame.lineno) == ("load", "/shop/load.py", 3)
    assert hash(stack) == hash(pytest_cmemray.Stack((frame,)))
    assert pytest_cmemray.__version__ == importlib.metadata.version("pytest-cmemray")


def test_pytest_finds_the_plugin_by_itself(project) -> None:
    project.monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(4_000_000)\n",
        "--strict-markers",
        plugin="",
    )
    result.stdout.fnmatch_lines(["MEMORY PROBLEMS test_it.py::test_it - *"])


def test_it_can_be_left_out_under_the_name_people_know(project) -> None:
    project.monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(4_000_000)\n",
        "-pno:memray",
        "-Wignore",
        plugin="",
    )
    result.assert_outcomes(passed=1)


OTHER = """
def pytest_addoption(parser):
    parser.addoption("--memray", action="store_true")
    parser.addini("memray", "", type="bool")
"""


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_beside_the_plugin_it_replaces_one_message_says_so(project, first: str) -> None:
    """Whichever of the two pytest finds first; a stand-in carries the other's names."""
    site = project.path / "site"
    project.write("site/pytest_memray/__init__.py", "")
    project.write("site/pytest_memray/plugin.py", OTHER)
    project.write("site/pytest_memray-9.dist-info/METADATA", "Name: pytest-memray\nVersion: 9\n")
    project.write(
        "site/pytest_memray-9.dist-info/entry_points.txt",
        "[pytest11]\nmemray = pytest_memray.plugin\n",
    )
    project.monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    project.write("test_it.py", "def test_it():\n    pass\n")
    # Distributions are found in the order of the path.
    order = "insert(0, " if first == "theirs" else "append("
    start = f"import sys; sys.path.{order}{str(site)!r}); import pytest; sys.exit(pytest.main())"
    result = project._pytester.run(sys.executable, "-P", "-c", start, "--memray")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.outlines == []
    lines = [line for line in result.errlines if line]
    assert len(lines) == 1
    assert "pytest-memray and pytest-cmemray are both installed" in lines[0]
    assert "pip uninstall pytest-memray" in lines[0]


def test_an_old_pytest_is_named_once(project) -> None:
    project.write("conftest.py", "import pytest\n\npytest.__version__ = '7.1.9'\n")
    result = project.run_tests("def test_it():\n    pass\n", "--strict-markers")
    result.stdout.fnmatch_lines(["memray: tested with pytest 7.2 and newer, this is pytest 7.1.9"])
    assert sum("7.1.9" in line for line in result.outlines) == 1
