"""The sentences of a passed limit, on hand-made locations."""

import os
import sysconfig
from typing import NamedTuple

import pytest

from cmemray import explain


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
