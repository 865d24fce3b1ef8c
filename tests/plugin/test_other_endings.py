"""Tests that end by themselves, and what is still said of their memory."""

LEAKS = """
import pytest

KEPT = []

@pytest.mark.limit_leaks("1 KB")
def test_fails():
    KEPT.append(bytearray(5000))
    assert False, "by itself"

@pytest.mark.limit_leaks("1 KB")
def test_skips():
    KEPT.append(bytearray(5000))
    pytest.skip("by itself")

def broken(stack):
    raise ZeroDivisionError("in the filter")

@pytest.mark.limit_memory("1 MB")
@pytest.mark.limit_leaks("1 KB", filter_fn=broken)
def test_filter():
    KEPT.append(bytearray(5_000_000))

@pytest.mark.xfail(strict=True)
@pytest.mark.limit_memory("1 MB")
def test_expected():
    bytearray(5_000_000)
"""


def test_a_failed_test_shows_its_memory_with_leaks_alone(project) -> None:
    result = project.run_tests(LEAKS, "-k", "test_fails")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*by itself*", "*memray-max-memory*", "Peak *", "*were left *"])


def test_a_skipped_test_says_that_leaks_were_not_judged(project) -> None:
    result = project.run_tests(LEAKS, "-k", "test_skips")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*test_skips: skipped, so what it left behind was not judged"])


def test_a_broken_filter_does_not_hide_the_peak(project) -> None:
    result = project.run_tests(LEAKS, "-k", "test_filter")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*ZeroDivisionError: in the filter", "*limited to 1.0MiB but allocated 4.8MiB*"]
    )


def test_an_expected_failure_is_not_annotated(project, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = project.run_tests(LEAKS, "-k", "test_expected", "--memray")
    result.assert_outcomes(xfailed=1)
    assert "::error" not in result.stdout.str()


def test_the_marker_of_a_class_beats_its_base(project) -> None:
    result = project.run_tests(
        """
import pytest

@pytest.mark.limit_memory("1 MB")
class TestBase:
    def test_it(self):
        bytearray(5_000_000)

@pytest.mark.limit_memory("100 MB")
class TestWider(TestBase):
    pass

class TestSame(TestBase):
    pass
"""
    )
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*TestBase::test_it -*", "*TestSame::test_it -*"])
