"""The sentences of a passed limit, on hand-made locations."""

import os
import sysconfig
from typing import NamedTuple

import pytest

from cmemray import explain
from cmemray.estimate import Samples, error_of_lead, together


class Frame(NamedTuple):
    function: str
    filename: str
    lineno: int


class Location(NamedTuple):
    size: int
    count: int
    frames: tuple[Frame, ...]
    allocator: str = "malloc"
    estimated: bool = False
    error: float = 0.0
    samples: Samples | None = None


ROOT = "/home/me/shop"
PATHS = explain.Paths(ROOT)
ROWS = Frame("make_rows", f"{ROOT}/shop/rows.py", 31)
TEST = Frame("test_import", f"{ROOT}/tests/test_rows.py", 7)
JSON = Frame("loads", f"{sysconfig.get_path('stdlib')}/json/__init__.py", 346)
NUMPY = Frame("zeros", "/venv/lib/python3.11/site-packages/numpy/core.py", 5)
PYTEST = Frame("runtest", "/venv/lib/python3.11/site-packages/_pytest/python.py", 1627)


@pytest.mark.parametrize(
    ("filename", "own", "hidden"),
    [
        (f"{ROOT}/shop/rows.py", True, False),
        (f"{ROOT}/.venv/lib/python3.12/site-packages/numpy/core.py", False, False),
        (f"{ROOT}er/rows.py", False, False),
        ("shop/rows.py", True, False),
        (JSON.filename, False, False),
        (NUMPY.filename, False, False),
        (PYTEST.filename, False, True),
        ("/usr/lib/python3/dist-packages/pluggy/_callers.py", False, True),
        (explain.__file__, False, True),
        ("<frozen importlib._bootstrap>", False, True),
        ("<string>", False, False),
        ("<doctest shop.rows[0]>", True, False),
    ],
)
def test_whose_code_a_file_is(filename: str, own: bool, hidden: bool) -> None:
    assert PATHS.is_own(filename) is own
    assert PATHS.is_hidden(filename) is hidden


def test_tests_of_an_installed_package_are_their_users_code() -> None:
    paths = explain.Paths(ROOT, also=["/venv/lib/python3.11/site-packages/numpy"])
    assert paths.is_own(NUMPY.filename)
    assert not paths.is_own("/venv/lib/python3.11/site-packages/numpydoc/core.py")


def test_files_below_the_root_are_shown_relative_to_it() -> None:
    assert PATHS.shown(f"{ROOT}/shop/rows.py") == os.path.join("shop", "rows.py")
    assert PATHS.shown(NUMPY.filename) == NUMPY.filename


def test_what_reports_a_subtest_is_machinery_and_a_namesake_is_not() -> None:
    site = "/venv/lib/python3.12/site-packages"
    case = Frame("subTest", os.path.join(os.path.dirname(os.__file__), "unittest", "case.py"), 1)
    for report in (
        Frame("addSubTest", f"{site}/_pytest/unittest.py", 1),
        Frame("__exit__", f"{site}/_pytest/subtests.py", 1),
        Frame("_addSubTest", f"{site}/pytest_subtests/plugin.py", 1),
    ):
        assert explain.is_machinery((JSON, report, case, TEST, PYTEST), PATHS)
    for other in (Frame("addSubTest", ROWS.filename, 1), Frame("f", f"{ROOT}/subtests.py", 1)):
        assert not explain.is_machinery((JSON, other, TEST, PYTEST), PATHS)


def test_the_innermost_own_frame_is_to_blame() -> None:
    assert explain.own_frame((JSON, ROWS, TEST, PYTEST), PATHS) == ROWS


def test_without_an_own_frame_the_innermost_shown_one_is() -> None:
    assert explain.own_frame((PYTEST, NUMPY, JSON), PATHS) == NUMPY
    assert explain.own_frame((PYTEST,), PATHS) == PYTEST
    assert explain.own_frame((), PATHS) is None


def test_locations_add_up_by_their_own_line() -> None:
    lines = explain.by_own_line(
        [
            Location(100, 1, (TEST,)),
            Location(300, 3, (JSON, ROWS, TEST)),
            Location(200, 2, (ROWS, TEST), estimated=True),
            Location(50, 1, (ROWS, TEST), "calloc"),
            Location(7, 1, ()),
        ],
        PATHS,
    )
    assert [(line.frame, line.size, line.count) for line in lines] == [
        (ROWS, 550, 6),
        (TEST, 100, 1),
        (None, 7, 1),
    ]
    assert lines[0].stacks == 2
    assert lines[0].estimated
    assert lines[0].largest.frames == (JSON, ROWS, TEST)


def test_the_sentence_names_limit_peak_excess_and_line() -> None:
    locations = [Location(2_900_000, 10, (JSON, ROWS, TEST)), Location(100_000, 1, (TEST,))]
    assert explain.limit_sentence(1024**2, 3_000_000, locations, PATHS) == (
        "Test was limited to 1.0MiB but allocated 2.9MiB (+1.9MiB, 286%); "
        "97% from make_rows (shop/rows.py:31)"
    )


def test_an_estimated_share_is_marked() -> None:
    locations = [Location(3_000_000, 10, (ROWS,), estimated=True)]
    sentence = explain.limit_sentence(1024, 3_000_000, locations, PATHS, subject="Block")
    assert sentence.startswith("Block was limited to 1.0KiB but allocated")
    assert "; ~100% from make_rows" in sentence


def estimated(*counts: float, size: int = 1000) -> list[Location]:
    """Locations of one line each, by their number of samples, of `size` bytes a sample."""
    whole = sum(counts)
    return [
        Location(
            int(own * size),
            1,
            (Frame("f", f"{ROOT}/a.py", i),),
            estimated=True,
            samples=Samples(own, whole, whole * size, whole * size),
        )
        for i, own in enumerate(counts, 1)
    ]


def blamed(*counts: float) -> str:
    return explain.blame(estimated(*counts), int(sum(counts) * 1000), PATHS)


def test_a_line_that_leads_by_four_errors_is_named_alone() -> None:
    # The difference of 1300 and 700 of 2000 has a standard error of 42.7 samples.
    assert blamed(1300, 700) == "; ~65% from f (a.py:1)"
    assert blamed(1080, 920) == "; ~54% from f (a.py:1) or ~46% from f (a.py:2)"
    assert blamed(1100, 900) == "; ~55% from f (a.py:1)"


def test_lines_that_are_too_close_are_all_named_up_to_ten() -> None:
    assert blamed(500, 490, 480, 100) == (
        "; ~32% from f (a.py:1), ~31% from f (a.py:2) or ~31% from f (a.py:3)"
    )
    text = blamed(*range(500, 380, -10), 5)
    assert text.startswith("; ~9% from f (a.py:1), ~9% from f (a.py:2), ")
    assert text.endswith(" or ~8% from f (a.py:10), and 2 more as close")
    assert text.count(" from f ") == 10


def test_exact_lines_are_never_too_close() -> None:
    locations = [Location(51, 1, (ROWS,)), Location(50, 1, (TEST,))]
    assert explain.blame(locations, 101, PATHS) == "; 50% from make_rows (shop/rows.py:31)"


def test_few_samples_are_said_to_be_few() -> None:
    assert blamed(19) == "; ~100% from f (a.py:1), by few samples"
    assert blamed(20) == "; ~100% from f (a.py:1)"


def test_without_samples_the_largest_sampled_block_is_named() -> None:
    block = Location(4096, 1, (JSON, ROWS, TEST))
    told = (
        "; too few samples to tell from where, the largest sampled block was 4.0KiB from "
        "make_rows (shop/rows.py:31)"
    )
    assert explain.blame([], 5000, PATHS, block) == told
    assert explain.blame([], 5000, PATHS) == ""
    # A block that was certain to be counted says nothing of the rest, if that is most.
    counted = Location(5000, 1, (TEST,), estimated=True, samples=Samples(0, 0, 4900, 5000))
    assert explain.blame([counted], 5000, PATHS, block) == told
    counted = counted._replace(samples=Samples(0, 0, 100, 5000))
    assert explain.blame([counted], 5000, PATHS, block).startswith("; ~100% from test_import")
    sentence = explain.limit_sentence(4096, 5000, [], PATHS, largest=block)
    assert sentence.endswith(told)


def test_the_error_of_a_line_is_not_the_sum_of_its_parts() -> None:
    one, other, rest = estimated(30, 20, 50)
    [line, last] = explain.by_own_line(
        [one, other._replace(frames=one.frames), rest._replace(size=1)], PATHS
    )
    assert line.samples == Samples(50, 100, 100_000, 100_000)
    assert line.error == pytest.approx(100_000 * (0.5 * 0.5 / 100) ** 0.5)
    assert last.error == line.error
    assert together([None, None]) is None
    assert together([None, one.samples]) == one.samples


def test_an_interval_is_wilson_s() -> None:
    # 5 of 10: 0.5 +- 0.263, by any table; 0 of 10: up to 0.278.
    low, high = Samples(5, 10, 10_000, 10_000).interval(5000)
    assert (round(low, -1), round(high, -1)) == (2370, 7630)
    low, high = Samples(0, 10, 10_000, 10_000).interval(0)
    assert (low, round(high, -1)) == (0, 2780)
    low, high = Samples(10, 10, 10_000, 10_000).interval(10_000)
    assert (round(low, -1), round(high)) == (7220, 10_000)
    # What was certain to be counted stays; what is not seen may be anywhere.
    assert Samples(0, 10, 10_000, 20_000).interval(700)[0] == 700
    assert Samples(0, 0, 300, 1000).interval(50) == (50, 350)


def test_a_lead_over_nothing_has_an_error_too() -> None:
    assert error_of_lead(None, None) == 0
    assert error_of_lead(Samples(1, 1, 100, 100), None) > 50
    many = error_of_lead(Samples(500, 1000, 1000, 1000), Samples(500, 1000, 1000, 1000))
    assert many == pytest.approx(1000**0.5, rel=0.01)


def test_a_list_says_how_far_estimates_may_be_off() -> None:
    lines = explain.by_own_line(estimated(300, 100), PATHS)
    text = explain.location_list(lines, 400_000, PATHS)
    assert "allocated here: ~75% (+-4), 1 allocation\n" in text
    lines = explain.by_own_line(estimated(1999, 1), PATHS)
    assert "allocated here: ~100%, 1 allocation\n" in explain.location_list(lines, 2_000_000, PATHS)


def test_one_byte_too_much_is_told_apart() -> None:
    sentence = explain.limit_sentence(500_000, 500_001, [], PATHS)
    assert "488.3KiB (500000 bytes) but allocated 488.3KiB (500001 bytes) (+1.0B, 100%)" in sentence


def test_reaching_the_limit_is_said_to_be_enough() -> None:
    sentence = explain.limit_sentence(2048, 2048, [], PATHS)
    assert sentence == (
        "Test was limited to 2.0KiB but allocated 2.0KiB (reaching the limit counts as passing it)"
    )


def test_a_peak_without_python_frames_is_said_to_be_so() -> None:
    sentence = explain.limit_sentence(1024, 4096, [Location(4096, 1, ())], PATHS)
    assert sentence.endswith("; 100% from code without a Python frame")


def test_a_stack_is_shown_up_to_the_own_line() -> None:
    assert explain.stack_lines((JSON, NUMPY, ROWS, TEST, PYTEST), PATHS) == [
        f"loads:{JSON.filename}:346",
        f"zeros:{NUMPY.filename}:5",
        "make_rows:shop/rows.py:31",
        "...",
    ]
    assert explain.stack_lines((ROWS, TEST, PYTEST), PATHS, at_least=2) == [
        "make_rows:shop/rows.py:31",
        "test_import:tests/test_rows.py:7",
    ]


def test_a_list_of_locations_ends_with_how_many_more() -> None:
    locations = [Location(1000 * (20 - i), 1, (Frame("f", f"{ROOT}/a.py", i),)) for i in range(12)]
    text = explain.location_list(explain.by_own_line(locations, PATHS), 174_000, PATHS)
    assert text.count("allocated here") == 10
    assert text.startswith(
        "    - 19.5KiB allocated here: 11%, 1 allocation\n        f:a.py:0\n    - 18.6KiB"
    )
    assert text.endswith("    ...and 2 more, 18.6KiB together")
    everything = explain.location_list(
        explain.by_own_line(locations, PATHS), 174_000, PATHS, most=None
    )
    assert everything.count("allocated here") == 12
