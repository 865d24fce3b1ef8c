"""Markers: which one counts, and what happens to arguments that are not valid."""

import pytest

BAD = {
    "limit_memory('1 G')": "'1 G' is not a size such as",
    "limit_memory('10 KBANANAS')": "'10 KBANANAS' is not a size such as",
    "limit_memory(1.5)": "1.5 is a float, not a size such as",
    "limit_memory(True)": "True is a bool, not a size such as",
    "limit_memory(-1)": "-1 is negative",
    "limit_memory(0)": "a limit of 0 bytes cannot be kept",
    "limit_memory('0 B')": "a limit of 0 bytes cannot be kept",
    "limit_memory()": "missing a required argument: 'limit'",
    "limit_memory('1 MB', '2 MB')": "too many positional arguments",
    "limit_memory('1 MB', foo=3)": "got an unexpected keyword argument 'foo'",
    "limit_memory('1 MB', current_thread_only=1)": "current_thread_only is 1, not True or False",
    "limit_memory('1 MB', threads='mine')": "threads is 'mine', not one of 'all', 'test', 'current'",
    "limit_memory('1 MB', current_thread_only=True, threads='all')": "contradicts threads='all'",
    "limit_memory('1 MB', attribution='x')": "attribution is 'x', not one of 'exact', 'budgeted'",
    "limit_leaks()": "missing a required argument: 'location_limit'",
    "limit_leaks('1 MB', filter_fn=3)": "filter_fn is 3, not a function",
    "limit_leaks(None)": "None is a NoneType, not a size",
    "limit_leaked_objects(3)": "too many positional arguments",
    "limit_leaked_objects(filter_fn='x')": "filter_fn is 'x', not a function",
}


@pytest.fixture
def bad_markers(project):
    for number, marker in enumerate(BAD):
        project.write(
            f"test_bad_{number}.py",
            f"@pytest.mark.{marker}\ndef test_bad():\n    open('ran', 'w')\n\n"
            "def test_good():\n    pass\n",
        )
    return project


def test_a_bad_marker_is_an_error_of_its_test_alone(bad_markers) -> None:
    result = bad_markers.run("--strict-markers")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=len(BAD), errors=len(BAD))
    assert not (bad_markers.path / "ran").exists()
    lines = "\n".join(result.outlines)
    assert "INTERNALERROR" not in lines
    assert "Traceback" not in lines
    for number, (marker, says) in enumerate(BAD.items()):
        [line] = [
            line for line in result.outlines if line.startswith(f"ERROR test_bad_{number}.py::test")
        ]
        # A marker's own line is not known; its test's first line is.
        assert f"test_bad_{number}.py:5: {marker.partition('(')[0]}(" in line
        assert says in line
        assert f"Usage: {marker.partition('(')[0]}(" in line


def test_collect_only_names_bad_markers(bad_markers) -> None:
    result = bad_markers.run("--collect-only")
    for number, says in enumerate(BAD.values()):
        says = says.replace("[", "[[]")
        result.stdout.fnmatch_lines([f"ERROR test_bad_{number}.py::test_bad - *{says}*"])


def test_a_bad_marker_is_an_error_in_the_junit_file(project) -> None:
    project.write("test_it.py", "@pytest.mark.limit_memory('1 G')\ndef test_bad():\n    pass\n")
    case = project.junit()["test_bad"]
    error = case.find("error")
    assert error is not None
    assert "'1 G' is not a size" in error.get("message", "")


def test_a_skipped_test_needs_no_valid_marker(project) -> None:
    result = project.run_tests(
        "@pytest.mark.skip(reason='not here')\n@pytest.mark.limit_memory('1 G')\n"
        "def test_bad():\n    pass\n"
    )
    result.assert_outcomes(skipped=1)


def test_xfail_does_not_hide_a_bad_marker(project) -> None:
    result = project.run_tests(
        "@pytest.mark.xfail\n@pytest.mark.limit_memory('1 G')\ndef test_bad():\n    pass\n"
    )
    result.assert_outcomes(errors=1)


def test_a_bad_marker_fails_before_fixtures_are_made(project) -> None:
    result = project.run_tests(
        "@pytest.fixture\ndef made():\n    print('made')\n\n"
        "@pytest.mark.limit_memory('1 G')\ndef test_bad(made):\n    pass\n",
        "-s",
    )
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("made")


CLOSEST = """
pytestmark = pytest.mark.limit_memory("1 MB")

@pytest.mark.limit_memory("100 MB")
def test_own_is_wider():
    bytearray(10_000_000)

def test_module():
    bytearray(10_000_000)

@pytest.mark.limit_memory(None)
def test_opted_out():
    bytearray(10_000_000)

@pytest.mark.limit_memory("50 MB")
class TestClass:
    def test_class(self):
        bytearray(10_000_000)

    @pytest.mark.limit_memory("1 KB")
    def test_own_is_narrower(self):
        bytearray(10_000_000)

@pytest.mark.limit_memory("1 KB")
@pytest.mark.parametrize("n", [
    pytest.param(1, marks=pytest.mark.limit_memory("100 MB"), id="wide"),
    pytest.param(2, id="none"),
])
def test_parameter(n):
    bytearray(10_000_000)
"""


def test_the_closest_marker_wins(project) -> None:
    result = project.run_tests(CLOSEST, "-rA")
    assert project.outcomes(result) == {
        "test_own_is_wider": "PASSED",
        "test_module": "MEMORY PROBLEMS",
        "test_opted_out": "PASSED",
        "TestClass::test_class": "PASSED",
        "TestClass::test_own_is_narrower": "MEMORY PROBLEMS",
        "test_parameter[wide]": "PASSED",
        "test_parameter[none]": "MEMORY PROBLEMS",
    }


def test_a_marker_added_by_a_fixture_counts(project) -> None:
    result = project.run_tests(
        """
@pytest.fixture(autouse=True)
def limited(request):
    request.node.add_marker(pytest.mark.limit_memory("1 MB"))

def test_it():
    bytearray(10_000_000)
"""
    )
    result.stdout.fnmatch_lines(["MEMORY PROBLEMS test_it.py::test_it - *limited to 1.0MiB*"])


@pytest.mark.parametrize("size", ['"1 MB"', '"1MiB"', "1048576", 'limit="1 mb"'])
def test_sizes_are_accepted_in_each_form(project, size: str) -> None:
    result = project.run_tests(
        f"@pytest.mark.limit_memory({size})\ndef test_it():\n    bytearray(2_000_000)\n"
    )
    result.stdout.fnmatch_lines(["Test was limited to 1.0MiB but allocated 1.9MiB*"])


def test_markers_are_documented_and_registered(project) -> None:
    text = project.run("--markers", "--strict-markers").stdout.str()
    assert (
        "@pytest.mark.limit_memory(limit, *, current_thread_only=False, threads=None, "
        "attribution=None): fail the test when its peak" in text
    )
    assert "@pytest.mark.limit_leaks(location_limit, *, filter_fn=None" in text
    assert "@pytest.mark.limit_leaked_objects(*, filter_fn=None)" in text


def test_a_bad_marker_of_many_tests_is_an_error_of_each(project) -> None:
    result = project.run_tests(
        """
bad = pytest.mark.limit_memory("1 G")

@pytest.mark.parametrize("n", range(3))
@bad
def test_bad(n):
    pass

@pytest.mark.limit_memory("1 GB")
def test_good():
    pass
"""
    )
    result.assert_outcomes(passed=1, errors=3)
