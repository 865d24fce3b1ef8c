"""Defects known from other memory plugins: whole runs. The numbers are those of defects.py."""

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import scenarios
from scenario import Result, play


def test_22_the_junit_file_has_verdict_sections_and_numbers(played, tmp_path) -> None:
    played("22", "the JUnit file has verdict, sections and numbers")
    tree = ElementTree.parse(tmp_path / "junit.xml")
    cases = {case.get("name", ""): case for case in tree.iter("testcase")}
    failure = cases["test_over"].find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith("Test was limited to 1.0MiB but allocated 47.7MiB")
    assert "List of allocations:" in (failure.text or "")
    assert "        test_over:test_it.py:7" in (failure.text or "")
    for case, limit in (("test_over", 1024**2), ("test_within", 100 * 1024**2)):
        properties = {one.get("name"): one.get("value") for one in cases[case].iter("property")}
        assert int(properties["memray_peak_bytes"]) == pytest.approx(50_000_000, rel=0.001)
        assert properties["memray_limit_bytes"] == str(limit)
        assert len(list(cases[case].iter("property"))) == 4


@pytest.mark.parametrize("plugin", ["pytest-rerunfailures", "flaky"])
def test_23_reruns_measure_again_and_see_passed_limits(played, plugin: str) -> None:
    [result] = played("23", f"{plugin} measures again and sees passed limits")
    result.stdout.fnmatch_lines(["2 tests measured in basis requested*"])
    lines = result.stdout.str()
    small = lines.index("results for test_it.py::test_second_run_keeps_its_limit")
    assert " left)" in lines[small : small + 150]


def test_24_long_names_are_no_problem(played) -> None:
    [result] = played("24", "long names are no problem")
    sentences = [line for line in result.outlines if line.startswith("MEMORY PROBLEMS")]
    # Not cut where no terminal is, however long the name before it.
    assert [line.endswith(("py:7)", "py:11)")) for line in sentences] == [True, True]


def test_25_no_warning_is_raised(played) -> None:
    played("25", "no warning is raised")


def test_25_strict_markers_know_ours_without_the_compiled_part(played) -> None:
    played("25", "strict markers know ours where the compiled part cannot be loaded")


def test_26_empty_allocations_divide_by_nothing(played) -> None:
    played("26", "empty allocations divide by nothing")


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_27_coroutines_are_run_and_measured(played, plugin: str) -> None:
    played("27", f"coroutines of {plugin} are run and measured")


def test_28_results_of_xdist_workers_are_enforced_and_reported(played) -> None:
    [result] = played("28", "results of xdist's workers are enforced and reported")
    reported = [line.split()[3] for line in result.outlines if "Allocation results for" in line]
    assert reported == [f"test_it.py::test_it[{n}]" for n in (5, 4, 3)]


def peaks(result: Result) -> dict[str, str]:
    lines = result.outlines
    return {
        line.split()[3]: lines[number + 2].partition(" (")[0]
        for number, line in enumerate(lines)
        # What starting a process takes depends on the environment, which xdist adds to.
        if line.startswith("Allocation results for") and "test_child" not in line
    }


def test_28_under_xdist_the_numbers_are_those_of_one_process(played) -> None:
    one, two = played("28", "under xdist the numbers are those of one process")
    assert len(peaks(one)) == 7
    assert peaks(one) == peaks(two)


def test_28_the_baseline_works_across_workers(played) -> None:
    played("28", "the baseline works across workers")


def grown(result: Result) -> int:
    [line] = [line for line in result.outlines if "GROWN" in line]
    return int(line.split()[-1])


def test_29_five_thousand_tests_leave_no_memory_behind(played, tmp_path_factory) -> None:
    title = "five thousand tests leave no memory behind"
    [result] = played("29", title)
    [plain] = play(scenarios.find("29", title), tmp_path_factory.mktemp("plain"), plugin="")
    # Plain pytest keeps its items and reports too. 200 bytes for each test, and what the
    # tracker's tables touch once; kibibytes.
    assert grown(result) - grown(plain) < 800 + 1500


def test_30_late_warnings_of_a_measured_test_do_no_harm(played) -> None:
    played("30", "late warnings of a measured test do no harm")


def test_52a_under_cprofile_tests_pass_and_the_profile_is_whole(played) -> None:
    _, printed = played("52a", "under cProfile tests pass and the profile is whole")
    calls = [line.split()[0] for line in printed.outlines if "(fib)" in line]
    assert calls == ["885/5"]


@pytest.mark.parametrize("tracer", ["ctrace", "pytrace", "sysmon"])
def test_52a_coverage_is_whole_with_every_tracer(played, tracer: str) -> None:
    if tracer == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is of CPython 3.12")
    has_coverage = importlib.util.find_spec("coverage") is not None
    if tracer == "ctrace" and has_coverage and importlib.util.find_spec("coverage.tracer") is None:
        pytest.skip("coverage has no C tracer for this interpreter")
    played("52a", f"coverage is whole with its {tracer}")
