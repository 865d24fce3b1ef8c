"""Options and ini keys: every one has its effect, and a bad value one clear message."""

import pytest

TESTS = """
def big():
    return bytearray(4_000_000)

def test_big():
    big()

@pytest.mark.limit_memory("1 MB")
def test_over():
    big()
"""


def test_nothing_is_reported_unless_asked(project) -> None:
    result = project.run_tests(TESTS)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*MEMRAY REPORT*")


@pytest.mark.parametrize("how", ["option", "ini"])
def test_memray_prints_the_report(project, how: str) -> None:
    project.ini("memray = true" if how == "ini" else "")
    result = project.run_tests(TESTS, *(["--memray"] if how == "option" else []))
    result.stdout.fnmatch_lines(
        [
            "*MEMRAY REPORT*",
            "*results for test_it.py::test_big *",
            "*Total memory allocated: 3.8MiB*",
        ]
    )


@pytest.mark.parametrize("how", ["option", "ini"])
def test_the_summary_can_be_hidden(project, how: str) -> None:
    project.ini("hide_memray_summary = true" if how == "ini" else "")
    result = project.run_tests(
        TESTS, "--memray", *(["--hide-memray-summary"] if how == "option" else [])
    )
    result.stdout.no_fnmatch_line("*MEMRAY REPORT*")
    result.stdout.fnmatch_lines(["MEMORY PROBLEMS test_it.py::test_over - *"])


@pytest.mark.parametrize("how", ["option", "ini"])
@pytest.mark.parametrize(("number", "reported"), [(1, 1), (0, 7)])
def test_most_allocations_limits_the_report(project, how: str, number: int, reported: int) -> None:
    project.ini(f"most_allocations = {number}" if how == "ini" else "")
    project.write(
        "test_many.py",
        "@pytest.mark.parametrize('n', range(7))\n"
        "def test_it(n):\n    bytearray(1_000_000 * (n + 1))\n",
    )
    args = [f"--most-allocations={number}"] if how == "option" else []
    result = project.run("--memray", *args)
    names = [line for line in result.outlines if line.startswith("Allocation results for")]
    assert len(names) == reported
    assert "test_it[6]" in names[0]


@pytest.mark.parametrize("how", ["option", "ini"])
def test_stacks_shows_more_frames(project, how: str) -> None:
    project.ini("stacks = 2" if how == "ini" else "")
    result = project.run_tests(TESTS, *(["--stacks=2"] if how == "option" else []))
    result.stdout.fnmatch_lines(["        big:test_it.py:7", "        test_over:test_it.py:14"])


def test_by_default_a_stack_ends_at_the_own_line(project) -> None:
    result = project.run_tests(TESTS)
    result.stdout.fnmatch_lines(["        big:test_it.py:7", "        ..."])
    result.stdout.no_fnmatch_line("        test_over:test_it.py:14")


@pytest.mark.parametrize("option", ["--stacks=0", "--stacks=-3", "--most-allocations=-1"])
def test_numbers_out_of_range_are_usage_errors(project, option: str) -> None:
    result = project.run_tests(TESTS, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option.partition('=')[0]}*is not a whole number of at least*"])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("memray", "perhaps", "*ini*memray*perhaps*"),
        ("fail-on-increase", "perhaps", "*fail-on-increase*perhaps*"),
        ("stacks", "0", "*ini key stacks: '0' is not a whole number of at least 1"),
        ("stacks", "many", "*ini key stacks: 'many' is not a whole number of at least 1"),
        ("most_allocations", "-1", "*ini key most_allocations: '-1' is not a whole number*"),
        (
            "verbosity_memray",
            "loud",
            "*verbosity_memray: 'loud' is neither a whole number nor auto",
        ),
        ("memray_basis", "rss", "*memray_basis: 'rss' is not one of requested, system"),
        ("memray_attribution", "x", "*'x' is not one of auto, budgeted, exact"),
        ("memray_threads", "mine", "*'mine' is not one of all, test, current"),
        ("memray_sanitizer", "x", "*'x' is not one of skip, track"),
        ("memray_default_limit", "1 G", "*memray_default_limit: '1 G' is not a size such as*"),
        ("memray_default_limit", "0 B", "*memray_default_limit: a limit of 0 bytes*"),
        ("native", "true", "*native stacks are not available in this version*"),
    ],
)
def test_a_bad_ini_value_is_one_clear_message(project, key: str, value: str, says: str) -> None:
    project.ini(f"{key} = {value}")
    result = project.run_tests(TESTS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    says = says.replace("[", "[[]")
    lines = result.errlines + result.outlines
    assert not any("Traceback" in line for line in lines)
    pytest.LineMatcher(lines).fnmatch_lines([says if says.startswith("*") else "*" + says])


@pytest.mark.parametrize("option", ["--native", "--memray-bin-path=x", "--memray-bin-prefix=x"])
def test_what_is_not_available_yet_is_refused(project, option: str) -> None:
    result = project.run_tests(TESTS, option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = option.partition("=")[0]
    result.stderr.fnmatch_lines([f"ERROR: {name}: * not available in this version*"])
    result.stderr.no_fnmatch_line("*Traceback*")


def test_the_command_line_wins_over_the_ini_file(project) -> None:
    project.ini("stacks = 9", "most_allocations = 1")
    result = project.run_tests(TESTS, "--memray", "--stacks=1", "--most-allocations=0")
    result.stdout.no_fnmatch_line("        test_over:test_it.py:14")
    assert sum("Allocation results for" in line for line in result.outlines) == 2


@pytest.mark.parametrize(("verbosity", "sites"), [("-1", 0), ("0", 10), ("1", 10), ("2", 12)])
def test_verbosity_of_failures_has_a_key_of_its_own(project, verbosity: str, sites: int) -> None:
    project.ini(f"verbosity_memray = {verbosity}")
    lines = [f"    kept.append(bytearray({100_000 + n}))" for n in range(12)]
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 KB')\ndef test_lines():\n    kept = []\n" + "\n".join(lines)
    )
    result.stdout.fnmatch_lines(["Test was limited to 1.0KiB but allocated 1.*"])
    count = sum("allocated here: 8%" in line for line in result.outlines)
    assert count == sites
    assert any("...and" in line for line in result.outlines) is (verbosity in "01")


def test_the_default_limit_holds_for_tests_without_the_marker(project) -> None:
    project.ini("memray_default_limit = 1 MB")
    result = project.run_tests(
        """
def test_over():
    bytearray(2_000_000)

@pytest.mark.limit_memory("5 MB")
def test_its_own():
    bytearray(2_000_000)

@pytest.mark.limit_memory(None)
def test_opted_out():
    bytearray(2_000_000)

@pytest.mark.limit_leaks("5 MB")
def test_leaks():
    bytearray(2_000_000)
""",
        "-rA",
    )
    assert project.outcomes(result) == {
        "test_over": "MEMORY PROBLEMS",
        "test_its_own": "PASSED",
        "test_opted_out": "PASSED",
        "test_leaks": "MEMORY PROBLEMS",
    }


INCREASE = """
import os

@pytest.mark.limit_memory("2 MB")
def test_it():
    bytearray(int(os.environ["SIZE"]))
"""


@pytest.mark.parametrize("how", ["--fail-on-increase", "fail-on-increase", "fail_on_increase"])
def test_fail_on_increase(project, how: str) -> None:
    project.ini("" if how.startswith("--") else f"{how} = true")
    args = [how] if how.startswith("--") else []

    def run(size: int) -> pytest.RunResult:
        project.monkeypatch.setenv("SIZE", str(size))
        return project.run_tests(INCREASE, *args)

    run(500_000).assert_outcomes(passed=1)
    result = run(1_500_000)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "MEMORY PROBLEMS *Test uses more memory than previous run. Test previously used 4* but now*"
        ]
    )
    # A failing run is no baseline, and a smaller peak is a new one.
    run(1_500_000).assert_outcomes(failed=1)
    run(300_000).assert_outcomes(passed=1)
    run(500_000).assert_outcomes(failed=1)


def test_an_increase_is_not_looked_for_unless_asked(project) -> None:
    for size in ("500000", "1500000"):
        project.monkeypatch.setenv("SIZE", size)
        project.run_tests(INCREASE).assert_outcomes(passed=1)


def test_the_report_says_what_a_test_used_before(project) -> None:
    for size in ("500000", "1500000"):
        project.monkeypatch.setenv("SIZE", size)
        result = project.run_tests(INCREASE, "--memray")
    result.stdout.fnmatch_lines(
        ["*Total memory allocated: 1.4MiB (limit 2.0MiB, * left; was 488.*"]
    )


def test_without_a_cache_fail_on_increase_says_so(project) -> None:
    project.monkeypatch.setenv("SIZE", "1000")
    result = project.run_tests(INCREASE, "--fail-on-increase", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["memray: fail-on-increase compares nothing, as pytest's cache is off"]
    )


def test_all_keys_and_options_are_in_the_help(project) -> None:
    text = project.run("--help").stdout.str()
    for name in ("--memray ", "--most-allocations", "--stacks", "--trace-python-allocators"):
        assert name in text
    for key in ("memray_basis", "memray_default_limit", "fail_on_increase", "verbosity_memray"):
        assert key in text
