"""Budgets against hand-made numbers: verdict, text, and what travels."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cmemray import Frame, Location, OldThread
from cmemray.estimate import Samples
from cmemray.explain import Paths
from pytest_cmemray import leaked_objects, sections, verdict
from pytest_cmemray.markers import LimitLeaks, LimitMemory, Plan
from pytest_cmemray.types import Stack, StackFrame

PATHS = Paths("/shop")
MB = 1024**2


@dataclass
class Numbers:
    """What a measurement says."""

    peak: int = 1000
    peak_blocks: int = 4
    total: int = 3000
    count: int = 12
    leaked: int = 0
    old_threads: list[OldThread] = field(default_factory=list)
    peak_without_old_threads: int = 1000
    apart: Mapping[str, Any] = field(default_factory=dict)
    incomplete: bool = False
    incomplete_reason: str = "2 blocks could not be recorded"
    children: dict[str, int] = field(default_factory=dict)
    resized_old_bytes: int = 0
    at_peak: list[Location] = field(default_factory=list)
    left: list[Location] = field(default_factory=list)
    largest: Location | None = None

    def locations_at_peak(self) -> list[Location]:
        return self.at_peak

    def leaks(self) -> list[Location]:
        return self.left

    def largest_located(self) -> Location | None:
        return self.largest


def memory(limit: int | None) -> Plan:
    return Plan(memory=LimitMemory(limit, "all"))


def leaks(limit: int, keep: Callable[[Any], bool] | None = None) -> Plan:
    return Plan(leaks=LimitLeaks(limit, keep, "all"))


def at(line: int, size: int, count: int = 1) -> Location:
    return Location(size, count, (Frame("load", "/shop/load.py", line),))


@pytest.mark.parametrize(("peak", "over"), [(999, False), (1000, True), (1001, True)])
def test_a_peak_that_equals_its_limit_fails(peak: int, over: bool) -> None:
    finding = verdict.judge_memory(memory(1000), Numbers(peak=peak), None)
    assert isinstance(finding, verdict.Over) is over
    assert (finding is None) is not over


def test_without_a_limit_nothing_is_wrong() -> None:
    for plan in (Plan(), memory(None)):
        assert verdict.judge_memory(plan, Numbers(peak=10**12, incomplete=True), 1) is None


def test_an_incomplete_measurement_keeps_no_limit() -> None:
    finding = verdict.judge_memory(memory(2000), Numbers(incomplete=True), None)
    assert isinstance(finding, verdict.Incomplete)
    problem = sections.describe(finding, PATHS, sections.Style())
    assert problem.sentence == (
        "Memory was not measured completely, so the limit cannot be checked: "
        "2 blocks could not be recorded"
    )


def test_an_incomplete_measurement_that_is_over_anyway_is_over() -> None:
    numbers = Numbers(peak=5000, incomplete=True)
    assert isinstance(verdict.judge_memory(memory(2000), numbers, None), verdict.Over)


def test_an_incomplete_measurement_without_a_limit_is_noted() -> None:
    assert verdict.notes(Plan(), Numbers(incomplete=True)) == [
        "incomplete measurement: 2 blocks could not be recorded"
    ]


@pytest.mark.parametrize(("before", "grew"), [(None, False), (999, True), (1000, False)])
def test_an_increase_is_one_byte_more_than_before(before: int | None, grew: bool) -> None:
    finding = verdict.judge_memory(memory(2000), Numbers(), before)
    assert isinstance(finding, verdict.Increase) is grew


def test_the_text_of_an_increase() -> None:
    numbers = Numbers(500_001, peak_without_old_threads=500_001, at_peak=[at(5, 500_001)])
    problem = sections.describe(verdict.Increase(500_000, numbers), PATHS, sections.Style())
    assert problem.sentence == (
        "Test uses more memory than previous run. Test previously used 488.3KiB (500000 bytes) "
        "but now uses 488.3KiB (500001 bytes) (+1.0B, 100%); 100% from load (load.py:5)"
    )


def test_memory_of_older_threads_does_not_fail_a_test_but_is_named() -> None:
    thread = OldThread("prefetch", 77, 30 * MB, 30)
    numbers = Numbers(31 * MB, old_threads=[thread], peak_without_old_threads=MB)
    assert verdict.judge_memory(memory(5 * MB), numbers, None) is None
    assert verdict.notes(memory(5 * MB), numbers) == [
        "the peak of 31.0MiB is within the limit of 5.0MiB only without thread prefetch "
        "(30.0MiB), older than the test"
    ]


def test_a_test_over_its_limit_even_without_older_threads_fails() -> None:
    thread = OldThread("prefetch", 77, 30 * MB, 30)
    numbers = Numbers(40 * MB, old_threads=[thread], peak_without_old_threads=10 * MB)
    finding = verdict.judge_memory(memory(5 * MB), numbers, None)
    assert isinstance(finding, verdict.Over)
    problem = sections.describe(finding, PATHS, sections.Style())
    assert "Part of it is of thread prefetch (30.0MiB), older than the test." in problem.section


def test_child_processes_are_noted() -> None:
    numbers = Numbers(children={"fork": 1})
    assert verdict.notes(Plan(), numbers) == ["1 child process was not measured (fork)"]
    numbers = Numbers(children={"posix_spawn": 2, "fork": 1})
    assert verdict.notes(Plan(), numbers) == [
        "3 child processes were not measured (fork, posix_spawn)"
    ]


def test_mappings_apart_are_noted_when_they_could_change_the_verdict() -> None:
    numbers = Numbers(apart={"file": (477 * MB, 4096), "shared": (0, 0), "reserved": (0, 0)})
    assert verdict.notes(memory(5 * MB), numbers) == [
        "not counted against the limit: file mappings 477.0MiB (4.0KiB resident)"
    ]
    assert verdict.notes(memory(500 * MB), numbers) == []
    assert verdict.notes(Plan(), numbers) == []


@pytest.mark.parametrize(("size", "leaked"), [(1023, False), (1024, True)])
def test_a_leak_is_judged_for_each_location(size: int, leaked: bool) -> None:
    numbers = Numbers(left=[at(5, size), at(6, 1000)], leaked=size + 1000)
    assert (verdict.judge_leaks(leaks(1024), numbers, PATHS) is not None) is leaked


def test_at_a_limit_of_zero_any_leak_fails() -> None:
    assert verdict.judge_leaks(leaks(0), Numbers(), PATHS) is None
    assert verdict.judge_leaks(leaks(0), Numbers(left=[at(5, 1)]), PATHS) is not None


def test_a_filter_sees_stacks_and_decides() -> None:
    seen: list[Stack] = []

    def keep(stack: Stack) -> bool:
        seen.append(stack)
        return stack.frames[0].lineno == 6

    numbers = Numbers(left=[at(5, 9000), at(6, 8000), at(7, 10)])
    finding = verdict.judge_leaks(leaks(1024, keep), numbers, PATHS)
    assert isinstance(finding, verdict.Leak)
    assert [location.size for location in finding.locations] == [8000]
    # Smaller leaks do not count, so the filter is not asked.
    assert seen == [
        Stack((StackFrame("load", "/shop/load.py", 5),)),
        Stack((StackFrame("load", "/shop/load.py", 6),)),
    ]


def test_an_error_in_a_filter_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        verdict.judge_leaks(leaks(0, lambda stack: 1 // 0), Numbers(left=[at(5, 9)]), PATHS)  # type: ignore[arg-type,return-value]


def test_leaks_cannot_be_acquitted_by_an_incomplete_measurement() -> None:
    assert isinstance(
        verdict.judge_leaks(leaks(9), Numbers(incomplete=True), PATHS), verdict.Incomplete
    )


def test_the_text_of_a_leak() -> None:
    numbers = Numbers(left=[at(5, 9 * 1024, 3), at(6, 2048), at(7, 10)], leaked=11 * 1024 + 10)
    finding = verdict.judge_leaks(leaks(1024), numbers, PATHS)
    assert finding is not None
    problem = sections.describe(finding, PATHS, sections.Style())
    assert problem.title == "memray-leaked-memory"
    assert (problem.path, problem.line) == ("/shop/load.py", 5)
    assert problem.sentence == (
        "Test was allowed to leak 1.0KiB per location but at least one location leaked more: "
        "9.0KiB from load (load.py:5), 2 locations with 11.0KiB together"
    )
    assert problem.section == (
        "List of leaked allocations:\n"
        "    - 9.0KiB allocated here: 82%, 3 allocations\n"
        "        load:load.py:5\n"
        "    - 2.0KiB allocated here: 18%, 1 allocation\n"
        "        load:load.py:6\n"
        "11.0KiB were left allocated in all."
    )


@pytest.mark.parametrize(("verbosity", "listed", "more"), [(-1, 0, 0), (0, 10, 1), (2, 12, 0)])
def test_verbosity_decides_how_many_locations_are_listed(
    verbosity: int, listed: int, more: int
) -> None:
    numbers = Numbers(12_000, at_peak=[at(line, 1000) for line in range(12)])
    style = sections.Style(verbosity)
    problem = sections.describe(verdict.Over(500, numbers), PATHS, style)
    assert problem.section.count("allocated here") == listed
    assert problem.section.count("...and 2 more") == more
    assert problem.section.endswith(
        "Peak 11.7KiB in 4 blocks; 12 allocations of 2.9KiB in all. "
        "Counted is the test itself, not its fixtures."
    )


def test_estimates_are_explained() -> None:
    location = Location(1000, 3, (Frame("load", "/shop/load.py", 5),), estimated=True)
    finding = verdict.Over(500, Numbers(at_peak=[location]))
    problem = sections.describe(finding, PATHS, sections.Style())
    assert "    - 1000.0B allocated here: ~100%, 3 allocations" in problem.section
    assert problem.section.endswith("the peak itself is exact.")


def test_estimates_that_may_be_off_say_so() -> None:
    locations = [
        at(line, size)._replace(estimated=True, samples=Samples(size, 1000, 1000, 1000))
        for line, size in ((5, 520), (6, 480))
    ]
    problem = sections.describe(
        verdict.Over(500, Numbers(at_peak=locations)), PATHS, sections.Style()
    )
    assert problem.sentence.endswith("; ~52% from load (load.py:5) or ~48% from load (load.py:6)")
    assert (problem.path, problem.line) == ("/shop/load.py", 5)
    assert "    - 520.0B allocated here: ~52% (+-3), 1 allocation" in problem.section
    assert problem.section.endswith(
        "\n~: the lines' parts are estimated from samples, in 95 of 100 cases within +- per cent; "
        "the peak itself is exact."
    )


def test_a_peak_without_samples_points_at_the_largest_sampled_block() -> None:
    problem = sections.describe(
        verdict.Over(500, Numbers(largest=at(9, 700))), PATHS, sections.Style()
    )
    assert problem.sentence.endswith(
        "; too few samples to tell from where, the largest sampled block was 700.0B "
        "from load (load.py:9)"
    )
    assert (problem.path, problem.line) == ("/shop/load.py", 9)


def test_resized_old_blocks_and_mappings_apart_are_named() -> None:
    numbers = Numbers(resized_old_bytes=4096, apart={"shared": (8192, 4096)})
    problem = sections.describe(verdict.Over(500, numbers), PATHS, sections.Style())
    assert "4.0KiB are blocks older than the test that it resized" in problem.section
    assert (
        "Not part of the peak: shared anonymous mappings 8.0KiB (4.0KiB resident)."
        in problem.section
    )


class Node:
    pass


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclass
class Survivor:
    obj: object
    frames: tuple[Frame, ...]


def test_the_text_of_leaked_objects() -> None:
    here, there = Frame("build", "/shop/tree.py", 3), Frame("other", "/shop/tree.py", 9)
    survivors = [Survivor([0] * 100, (there,)), *(Survivor(Node(), (here,)) for _ in range(11))]
    problem = leaked_objects.describe(survivors, PATHS, sections.Style())
    name = f"{__name__}.Node"
    assert problem.sentence == (
        f"Test leaked 12 objects: 11 {name}, 1 list; 11 of them made in build (tree.py:3)"
    )
    lines = problem.section.splitlines()
    assert lines[:3] == [
        "Object types that leaked:",
        f"    - 11 instance(s) of {name}",
        "    - 1 instance(s) of list",
    ]
    assert lines[4] == "    - [" + "0, " * 32 + "..."
    assert len(lines[4]) == 106
    assert "    ... and 2 more" in lines
    assert lines[-5:] == [
        "Where they were made:",
        f"    - 11 instance(s) of {name} made here:",
        "        build:tree.py:3",
        "    - 1 instance(s) of list made here:",
        "        other:tree.py:9",
    ]


def test_a_class_that_cannot_be_shown_is_named() -> None:
    text = leaked_objects.safe_repr(Rude())
    assert text.startswith(f"<{__name__}.Rude at 0x")
    assert text.endswith("repr raised RuntimeError>")
    assert leaked_objects.safe_repr("\u00e9\n") == "'\\xe9\\n'"


def test_a_filter_keeps_objects() -> None:
    survivors = [Survivor(1, ()), Survivor("x", ())]
    assert leaked_objects.kept(survivors, None, PATHS) == survivors
    kept = leaked_objects.kept(survivors, lambda obj: isinstance(obj, str), PATHS)
    assert kept == survivors[1:]


def test_what_pytest_holds_to_call_a_test_is_no_leak() -> None:
    machinery = (Frame("_multicall", "/venv/lib/python3/site-packages/pluggy/_callers.py", 9),)
    numbers = Numbers(left=[Location(64, 1, machinery)])
    assert verdict.judge_leaks(leaks(0), numbers, PATHS) is None
    assert leaked_objects.kept([Survivor([], machinery)], None, PATHS) == []
    # Nor is what the library that runs a test keeps, or that sets a variable for pytest.
    library = Path(os.__file__).parent
    runner = Frame("run", str(library / "unittest" / "case.py"), 3)
    for frames in ((Frame("encode", "<frozen os>", 8), *machinery), (runner, *machinery)):
        assert verdict.judge_leaks(leaks(0), Numbers(left=[Location(64, 1, frames)]), PATHS) is None
        assert leaked_objects.kept([Survivor([], frames)], None, PATHS) == []
    # But what is made on a test's behalf: in its own code, a package, a mock, a thread.
    for made in (
        (runner, Frame("test_it", "/shop/test_it.py", 4), runner, *machinery),
        (Frame("load", "/venv/lib/python3/site-packages/shop/data.py", 3), runner, *machinery),
        (Frame("patched", str(library / "unittest" / "mock.py"), 5), runner, *machinery),
        (Frame("run", str(library / "threading.py"), 5),),
    ):
        numbers = Numbers(left=[Location(64, 1, made)])
        assert verdict.judge_leaks(leaks(0), numbers, PATHS) is not None
        assert len(leaked_objects.kept([Survivor([], made)], None, PATHS)) == 1
    # A thread that Python does not know has no frames at all.
    numbers = Numbers(left=[Location(64, 1, ())])
    assert verdict.judge_leaks(leaks(0), numbers, PATHS) is not None
