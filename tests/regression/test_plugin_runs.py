"""Defects known from other memory plugins, by the number they have in our list: whole runs."""

import importlib.util
import sys
import xml.etree.ElementTree as ElementTree

import pytest

BIG = "    bytearray(50_000_000)\n"


def test_22_the_junit_file_has_verdict_sections_and_numbers(project) -> None:
    project.write(
        "test_it.py",
        "@pytest.mark.limit_memory('1 MB')\ndef test_over():\n    bytearray(50_000_000)\n"
        "@pytest.mark.limit_memory('100 MB')\ndef test_within():\n    bytearray(50_000_000)\n",
    )
    cases = project.junit("-o", "junit_logging=all")
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
    assert ElementTree.tostring(cases["test_over"])


FLAKY = """
import itertools

_runs = itertools.count()

@pytest.mark.{marker}
@pytest.mark.limit_memory("1 MB")
def test_second_run_keeps_its_limit():
    if next(_runs) == 0:
        bytearray(50_000_000)

@pytest.mark.{marker}
@pytest.mark.limit_memory("1 MB")
def test_never_keeps_its_limit():
    bytearray(50_000_000)
"""


@pytest.mark.parametrize(
    ("plugin", "marker"),
    [
        ("pytest_rerunfailures", "flaky(reruns=2)"),
        ("flaky.flaky_pytest_plugin", "flaky(max_runs=3)"),
    ],
)
def test_23_reruns_measure_again_and_see_passed_limits(
    project, need, plugin: str, marker: str
) -> None:
    result = project.run_tests(
        FLAKY.format(marker=marker), "--memray", "-rA", plugins=(need(plugin),)
    )
    assert project.outcomes(result) == {
        "test_second_run_keeps_its_limit": "PASSED",
        "test_never_keeps_its_limit": "MEMORY PROBLEMS",
    }
    result.stdout.fnmatch_lines(["2 tests measured in basis requested*"])
    lines = result.stdout.str()
    assert "already" not in lines
    small = lines.index("results for test_it.py::test_second_run_keeps_its_limit")
    assert " left)" in lines[small : small + 150]


def test_24_long_names_are_no_problem(project) -> None:
    result = project.run_tests(
        f"@pytest.mark.limit_memory('1 MB')\ndef test_{'x' * 300}():\n{BIG}"
        "@pytest.mark.limit_memory('1 MB')\n"
        f"@pytest.mark.parametrize('text', ['y/' * 5000])\ndef test_it(text):\n{BIG}",
        "--memray",
    )
    result.assert_outcomes(failed=2)
    sentences = [line for line in result.outlines if line.startswith("MEMORY PROBLEMS")]
    assert len(sentences) == 2
    # Not cut where no terminal is, however long the name before it.
    assert all(line.endswith("py:7)") or line.endswith("py:11)") for line in sentences)


def test_25_no_warning_is_raised(project) -> None:
    project.ini("memray_default_limit = 100 MB", "memray = true")
    result = project.run_tests(
        f"import unittest\n\ndef test_it():\n{BIG}\n"
        "class TestIt(unittest.TestCase):\n    def test_it(self):\n        pass\n\n"
        "@pytest.mark.limit_leaks('100 MB')\ndef test_leaks():\n    pass\n",
        "--strict-markers",
        "--strict-config",
        "-Werror",
    )
    result.assert_outcomes(passed=3)


def test_26_empty_allocations_divide_by_nothing(project) -> None:
    result = project.run_tests(
        "@pytest.mark.limit_memory('1 MB')\ndef test_it():\n    bytearray(0)\n"
        "@pytest.mark.limit_leaks('0 B')\ndef test_nothing():\n    pass\n",
        "--memray",
    )
    assert "ZeroDivisionError" not in result.stdout.str()
    result.stdout.fnmatch_lines(["*results for test_it.py::test_it at *"])


@pytest.mark.parametrize(
    ("plugin", "marker", "extra"),
    [
        (
            "anyio.pytest_plugin",
            "anyio",
            "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n",
        ),
        ("pytest_asyncio.plugin", "asyncio", ""),
    ],
)
def test_27_coroutines_are_run_and_measured(
    project, need, plugin: str, marker: str, extra: str
) -> None:
    result = project.run_tests(
        f"import asyncio\n{extra}\n"
        "async def load():\n    await asyncio.sleep(0)\n    return bytearray(50_000_000)\n\n"
        f"@pytest.mark.{marker}\n@pytest.mark.limit_memory('1 MB')\nasync def test_over():\n"
        "    await load()\n\n"
        f"@pytest.mark.{marker}\n@pytest.mark.limit_memory('100 MB')\nasync def test_within():\n"
        "    await load()\n",
        "-rA",
        "-Wignore",
        plugins=(need(plugin),),
    )
    assert project.outcomes(result) == {"test_over": "MEMORY PROBLEMS", "test_within": "PASSED"}
    result.stdout.fnmatch_lines(["MEMORY PROBLEMS *from load (test_it.py:*)"])


XDIST = """
import subprocess, sys

@pytest.mark.parametrize("n", range(6))
@pytest.mark.limit_memory("5 MB")
def test_it(n):
    bytearray(1_000_000 * (n + 1))

@pytest.mark.limit_leaks("1 MB")
def test_leak():
    _kept.append(bytearray(2_000_000))

def test_child():
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


def test_28_results_of_xdist_workers_are_enforced_and_reported(project, need) -> None:
    result = project.run_tests(
        XDIST, "-n2", "--memray", "--most-allocations=3", "-rA", plugins=(need("xdist.plugin"),)
    )
    words = project.outcomes(result)
    assert [words[f"test_it[{n}]"] for n in range(6)] == ["PASSED"] * 5 + ["MEMORY PROBLEMS"]
    assert words["test_leak"] == "MEMORY PROBLEMS"
    reported = [line.split()[3] for line in result.outlines if "Allocation results for" in line]
    assert reported == [f"test_it.py::test_it[{n}]" for n in (5, 4, 3)]
    result.stdout.fnmatch_lines(
        [
            "*Total memory allocated: 5.7MiB (limit 5.0MiB, * over)*",
            "        test_it:test_it.py:11 -> 5.7MiB (~100%)",
            "8 tests measured in basis requested*",
            "test_it.py::test_child: 1 child process was not measured (*)",
            "MEMORY PROBLEMS test_it.py::test_it[[]5[]] - Test was limited to 5.0MiB but all*",
        ]
    )


def test_28_under_xdist_the_numbers_are_those_of_one_process(project, need) -> None:
    def peaks(*args: str, plugins: tuple[str, ...] = ()) -> dict[str, str]:
        result = project.run_tests(
            XDIST, "--memray", "--most-allocations=0", *args, plugins=plugins
        )
        lines = result.outlines
        return {
            line.split()[3]: lines[number + 2].partition(" (")[0]
            for number, line in enumerate(lines)
            # What starting a process takes depends on the environment, which xdist adds to.
            if line.startswith("Allocation results for") and "test_child" not in line
        }

    assert peaks("-n2", plugins=(need("xdist.plugin"),)) == peaks()


def test_28_the_baseline_works_across_workers(project, need) -> None:
    plugins = (need("xdist.plugin"),)
    for size, outcomes in ((500_000, {"passed": 4}), (600_000, {"failed": 4})):
        result = project.run_tests(
            "@pytest.mark.parametrize('n', range(4))\n@pytest.mark.limit_memory('2 MB')\n"
            f"def test_it(n):\n    bytearray({size})\n",
            "-n2",
            "--fail-on-increase",
            plugins=plugins,
        )
        result.assert_outcomes(**outcomes)


MANY = """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4

@pytest.mark.parametrize("n", range(5000))
@pytest.mark.limit_memory("1 MB")
def test_it(n):
    bytearray(1000 + n % 7)
    if n == 1000:
        _kept.append(resident())

def test_growth():
    print("GROWN", resident() - _kept[0])
"""


def test_29_five_thousand_tests_leave_no_memory_behind(project) -> None:
    def growth(*args: str, plugin: str = "pytest_cmemray.plugin") -> int:
        result = project.run_tests(MANY, "-s", "-q", "-Wignore", *args, plugin=plugin)
        result.assert_outcomes(passed=5001)
        [line] = [line for line in result.outlines if "GROWN" in line]
        return int(line.split()[-1])

    # Plain pytest keeps its items and reports too. 200 bytes for each test, and what the
    # tracker's tables touch once; kibibytes.
    assert growth() - growth(plugin="") < 800 + 1500


def test_30_late_warnings_of_a_measured_test_do_no_harm(project) -> None:
    result = project.run_tests(
        """
import gc

class Late:
    def __del__(self):
        raise ValueError("late")

@pytest.mark.limit_leaks("10 MB")
def test_it():
    cycle = Late()
    cycle.self = cycle
    open(__file__)

@pytest.mark.limit_memory("10 MB")
def test_after():
    gc.collect()
""",
        "--memray",
    )
    result.assert_outcomes(passed=2, warnings=result.parseoutcomes()["warnings"])
    assert result.ret == 0


PROFILED = """
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

@pytest.mark.parametrize("n", range(5))
def test_fib(n):
    fib(10)

@pytest.mark.limit_memory("1 MB")
def test_over():
    bytearray(50_000_000)
"""


def test_52a_under_cprofile_tests_pass_and_the_profile_is_whole(project) -> None:
    project.write("test_it.py", PROFILED)
    result = project._pytester.run(
        *(sys.executable, "-m", "cProfile", "-o", "out.prof", "-m", "pytest"),
        *("-p", "pytest_cmemray.plugin", "--memray"),
    )
    result.assert_outcomes(passed=5, failed=1)
    result = project._pytester.run(
        sys.executable, "-c", "import pstats; pstats.Stats('out.prof').print_stats('fib')"
    )
    calls = [line.split()[0] for line in result.outlines if "(fib)" in line]
    assert calls == ["885/5"]


@pytest.mark.parametrize("tracer", ["ctrace", "pytrace", "sysmon"])
def test_52a_coverage_is_whole_with_every_tracer(project, need, tracer: str) -> None:
    need("pytest_cov")
    if tracer == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("sys.monitoring is of CPython 3.12")
    if tracer == "ctrace" and importlib.util.find_spec("coverage.tracer") is None:
        pytest.skip("coverage has no C tracer for this interpreter")
    project.monkeypatch.setenv("COVERAGE_CORE", tracer)
    result = project.run_tests(
        PROFILED, "--memray", "--cov=test_it", "--cov-report=term-missing", plugins=("pytest_cov",)
    )
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["test_it.py * 100%*"])
