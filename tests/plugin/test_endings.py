"""Verdicts beside the table: what is said with them, and how runs go on."""

import pytest

XFAIL = """
@pytest.mark.xfail(strict=True)
@pytest.mark.limit_memory("1 MB")
def test_strict():
    bytearray(4_000_000)

@pytest.mark.xfail(strict=True, raises=AssertionError)
@pytest.mark.limit_memory("1 MB")
def test_assertion():
    bytearray(4_000_000)

@pytest.mark.xfail(strict=True, raises=cmemray.LimitExceeded)
@pytest.mark.limit_leaks("1 KB")
def test_raises():
    _kept.append(bytearray(4_000_000))

@pytest.mark.xfail(strict=True, raises=KeyError)
@pytest.mark.limit_memory("1 MB")
def test_other_error():
    bytearray(4_000_000)

@pytest.mark.xfail(strict=True)
@pytest.mark.limit_memory("100 MB")
def test_kept():
    bytearray(4_000_000)

@pytest.mark.xfail
@pytest.mark.limit_memory("1 MB")
def test_imperative():
    bytearray(4_000_000)
    pytest.xfail("by hand")
"""


def test_xfail_sees_a_passed_limit_as_any_failure(project) -> None:
    result = project.run_tests("import cmemray\n" + XFAIL, "-rA")
    assert project.outcomes(result) == {
        "test_strict": "XFAIL",
        "test_assertion": "XFAIL",
        "test_raises": "XFAIL",
        "test_other_error": "MEMORY PROBLEMS",
        "test_kept": "FAILED",
        "test_imperative": "XFAIL",
    }


DOCTESTS = '''
"""
>>> len(bytearray(4_000_000))
4000000
"""

def small():
    """
    >>> 1 + 1
    2
    """

def wrong():
    """
    >>> len(bytearray(4_000_000))
    3
    """
'''


def test_doctest_items_are_measured(project) -> None:
    project.ini("memray_default_limit = 1 MB")
    project.write("shop.py", DOCTESTS)
    result = project.run("--doctest-modules", "--memray", "-rA", plugins=())
    words = project.outcomes(result)
    assert words == {"shop": "MEMORY PROBLEMS", "shop.small": "PASSED", "shop.wrong": "FAILED"}
    result.stdout.fnmatch_lines(
        ["MEMORY PROBLEMS shop.py::shop - *% from <module> (<doctest shop[[]0[]]>:1)"]
    )


SUBTESTS = """
import unittest

class TestIt(unittest.TestCase):
    @pytest.mark.limit_memory("1 MB")
    def test_over(self):
        for n in range(3):
            with self.subTest(n=n):
                bytearray(1_000_000 * n)

    @pytest.mark.limit_memory("1 MB")
    def test_within(self):
        for n in range(3):
            with self.subTest(n=n):
                bytearray(1_000 * n)

    @pytest.mark.limit_memory("1 MB")
    def test_failing(self):
        for n in range(3):
            with self.subTest(n=n):
                bytearray(1_000_000 * n)
                self.assertNotEqual(n, 1)
"""


def test_subtests_are_measured_as_one_test(project) -> None:
    result = project.run_tests(SUBTESTS, "-rA")
    words = project.outcomes(result)
    assert words["TestIt::test_over"] == "MEMORY PROBLEMS"
    assert words["TestIt::test_within"] == "PASSED"
    assert words["TestIt::test_failing"] in ("FAILED", "MEMORY PROBLEMS")


SUBTEST_FIXTURE = """
@pytest.mark.limit_memory("1 MB")
def test_over(subtests):
    for n in range(3):
        with subtests.test(n=n):
            bytearray(1_000_000 * n)

@pytest.mark.limit_memory("1 MB")
def test_within(subtests):
    with subtests.test():
        bytearray(1_000)
"""


@pytest.mark.skipif(
    int(pytest.__version__.partition(".")[0]) < 9, reason="the subtests fixture is of pytest 9"
)
def test_the_subtests_fixture(project) -> None:
    result = project.run_tests(SUBTEST_FIXTURE, "-rA")
    words = project.outcomes(result)
    assert words["test_over"] == "MEMORY PROBLEMS"
    assert words["test_within"] == "PASSED"


CUSTOM = """
import pytest

class Sheet(pytest.File):
    def collect(self):
        for line in self.path.read_text().split():
            yield Cell.from_parent(self, name=line)

class Cell(pytest.Item):
    def runtest(self):
        bytearray(int(self.name))

def pytest_collect_file(parent, file_path):
    if file_path.suffix == ".sheet":
        return Sheet.from_parent(parent, path=file_path)
"""


def test_items_of_other_plugins_are_measured(project) -> None:
    project.ini("memray_default_limit = 1 MB")
    project.write("conftest.py", CUSTOM)
    project.write("a.sheet", "1000 4000000")
    result = project.run("-rA")
    assert project.outcomes(result) == {"1000": "PASSED", "4000000": "MEMORY PROBLEMS"}


PAST_OUR_HOOK = """
from _pytest.reports import TestReport
from _pytest.runner import CallInfo

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for when in ("setup", "call", "teardown"):
        call = CallInfo.from_call(item.obj if when == "call" else lambda: None, when)
        report = TestReport.from_item_and_call(item, call)
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


def test_a_test_that_cannot_be_measured_says_so(project) -> None:
    project.write("conftest.py", PAST_OUR_HOOK)
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 KB')\ndef test_it():\n    bytearray(4_000_000)\n"
        "def test_unmarked():\n    pass\n"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*MEMRAY NOTES*", "test_it.py::test_it: not measured: its plugin ran it past*"]
    )
    result.stdout.no_fnmatch_line("*test_unmarked*not measured*")


def test_a_failing_test_that_passed_its_limit_shows_both(project) -> None:
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n"
        "    bytearray(4_000_000)\n    assert 1 == 2\n"
        "@pytest.mark.limit_memory('100 MB')\ndef test_within():\n"
        "    bytearray(4_000_000)\n    assert 1 == 2\n"
    )
    result.stdout.fnmatch_lines(
        [
            "E       assert 1 == 2",
            "*- memray-max-memory -*",
            "Test was limited to 1.0MiB but allocated 3.8MiB (+2.8MiB, 381%); ~100% from test_it*",
            "List of allocations:",
            "E       assert 1 == 2",
            "*- memray-max-memory -*",
            "Peak 3.8MiB, within the limit of 100.0MiB; ~100% from test_within (test_it.py:*)",
            "FAILED test_it.py::test_it - assert 1 == 2",
        ]
    )


def test_a_test_that_skips_itself_is_noted_not_failed(project) -> None:
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n"
        "    bytearray(4_000_000)\n    pytest.skip('later')\n",
        "--memray",
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "Allocation results for test_it.py::test_it at the high watermark (skipped)",
            "test_it.py::test_it: skipped, so not enforced: Test was limited to 1.0MiB but alloc*",
        ]
    )


def test_several_problems_of_one_test_are_one_failure(project) -> None:
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\n@pytest.mark.limit_leaks('1 KB')\ndef test_it():\n"
        "    _kept.append(bytearray(4_000_000))\n"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "Test was limited to 1.0MiB but allocated 3.8MiB*",
            "Test was allowed to leak 1.0KiB per location but at least one location leaked more: 3*",
            "*- memray-max-memory -*",
            "List of allocations:",
            "*- memray-leaked-memory -*",
            "List of leaked allocations:",
        ]
    )


def test_a_raising_filter_fails_its_test_with_its_traceback(project) -> None:
    result = project.run_tests(
        """
def keep(stack):
    raise KeyError("what was I thinking")

@pytest.mark.limit_leaks("1 KB", filter_fn=keep)
def test_it():
    _kept.append(bytearray(4_000_000))

def test_other():
    pass
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*def keep(stack):", "E * KeyError: 'what was I thinking'"])
    result.stdout.no_fnmatch_line("*session.py*")


def test_ctrl_c_and_exit_end_the_run_as_always(project) -> None:
    body = "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(4_000_000)\n    {}\n"
    result = project.run_tests(body.format("raise KeyboardInterrupt"))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result = project.run_tests(body.format("pytest.exit('enough', returncode=7)"))
    assert result.ret == 7
    assert "INTERNALERROR" not in result.stdout.str()


def test_pdb_enters_on_a_passed_limit(project) -> None:
    project.write(
        "nopdb.py",
        "class Pdb:\n    def __init__(self, *args, **kwargs): pass\n"
        "    def reset(self): pass\n"
        "    def interaction(self, *args): print('PDB WAS HERE')\n",
    )
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(4_000_000)\n",
        "--pdb",
        "--pdbcls=nopdb:Pdb",
    )
    result.stdout.fnmatch_lines(["*Test was limited to 1.0MiB*", "PDB WAS HERE"])


def test_exitfirst_stops_at_a_passed_limit(project) -> None:
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(4_000_000)\n"
        "def test_other():\n    pass\n",
        "-x",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_at_a_limit_of_zero_a_test_that_leaves_nothing_passes(project) -> None:
    result = project.run_tests(
        """
@pytest.fixture
def number():
    return 3

@pytest.mark.limit_leaks("0 B")
def test_nothing(number):
    pass

class TestIt:
    @pytest.mark.limit_leaks("0 B")
    def test_method(self, number):
        bytearray(1000)

@pytest.mark.limit_leaks("0 B")
def test_a_little(number):
    _kept.append(bytearray(1))
"""
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["MEMORY PROBLEMS test_it.py::test_a_little - *(test_it.py:*)*"])
