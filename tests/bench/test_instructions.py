"""No event takes over a tenth more instructions than bench/instructions/table.json says, or less.

Skipped where nothing can be said: no valgrind, or a compiler, machine or CPython that is not in the
table. `make instructions` adds what is missing, and takes what changed on purpose into the table.
"""

import sys
from pathlib import Path

import pytest

from bench.instructions import __main__ as command
from bench.instructions import build, callgrind, table

MEND = "if that is meant, say why in the commit and run: make instructions"


@pytest.fixture(scope="module")
def valgrind() -> None:
    if reason := callgrind.why_not():
        pytest.skip(reason)


def kept(key: str) -> dict[str, float]:
    known = table.load()
    if key not in known:
        pytest.skip(f"the table has no {key!r}, only {', '.join(map(repr, known))}")
    return known[key]


def driver() -> Path:
    if not command.DRIVER.exists():
        pytest.skip("bench/micro/micro_events is not built: make check builds it")
    return command.DRIVER


@pytest.mark.usefixtures("valgrind")
def test_events_of_the_core() -> None:
    before = kept(build.key_of(driver()))
    _, counts = command.count_driver()
    assert not [str(one) for one in table.changed(before, counts)], MEND
    assert set(before) == set(counts), MEND


@pytest.mark.usefixtures("valgrind")
def test_events_of_python() -> None:
    before = kept(command.key_of_python(sys.executable))
    _, counts = command.count_python(sys.executable)
    assert not [str(one) for one in table.changed(before, counts)], MEND
    assert set(before) == set(counts), MEND


# --- the check itself -----------------------------------------------------------------------------

PROGRAM = """
import os, sys
work = int(sys.argv[1])
def turns(n):
    for _ in range(n):
        for _ in range(work):
            pass
def mark(text):
    os.getpriority(os.PRIO_PROCESS, 0)
    print(text, flush=True)
turns(2000)
mark("-")
turns(2000)
mark("turn\\t2000")
turns(4000)
mark("turn\\t4000")
"""


@pytest.mark.usefixtures("valgrind")
def test_a_fifth_more_work_is_found() -> None:
    def count(work: int) -> dict[str, float]:
        return callgrind.count([sys.executable, "-S", "-c", PROGRAM, str(work)])

    before = count(200)
    assert table.changed(before, count(200)) == []
    (found,) = table.changed(before, count(240))
    assert found.event == "turn"
    assert found.counted == pytest.approx(1.2 * before["turn"], rel=0.05)


@pytest.mark.usefixtures("valgrind")
def test_a_program_that_fails_is_an_error() -> None:
    with pytest.raises(callgrind.CountingError, match="ended with 3"):
        callgrind.count([sys.executable, "-S", "-c", "raise SystemExit(3)"])
    with pytest.raises(callgrind.CountingError, match="fewer dumps"):
        callgrind.count([sys.executable, "-S", "-c", "print('-')"])


def test_change_is_judged_by_share_and_by_little() -> None:
    before = {"much": 100.0, "little": 1.0, "gone": 5.0}
    assert table.changed(before, {"much": 110.0, "little": 3.0}) == []
    changed = table.changed(before, {"much": 110.5, "little": 3.5, "new": 1.0})
    assert [one.event for one in changed] == ["much", "little", "new"]
    # So much less would let it grow back unseen.
    assert [one.event for one in table.changed(before, {"much": 89.0})] == ["much"]
    assert str(changed[0]) == "much: 110.5 instructions, 100.0 in the table (+10%)"
    assert "not in the table" in str(changed[2])
    assert "gone: in the table, not counted" in table.text(before, {"much": 90.0})


def test_turns_are_differences() -> None:
    labels = ["-", "a\t10", "a\t20", "-", "b\t1", "b\t3"]
    assert callgrind.per_turn(labels, [9, 150, 250, 9, 7, 11]) == {"a": 10.0, "b": 2.0}
    with pytest.raises(callgrind.CountingError, match="only once: a"):
        callgrind.per_turn(["a\t10"], [1])


def test_plain_is_taken_off() -> None:
    counts = {"x: plain": 40.0, "x: exact": 100.0, "y": 7.0, "z: exact": 5.0}
    assert callgrind.above_plain(counts) == {"x: exact": 60.0, "y": 7.0, "z: exact": 5.0}


@pytest.mark.parametrize(
    ("producers", "symbols", "key"),
    [
        (
            " <c> DW_AT_producer : (indirect string): GNU C11 12.2.0 -mtune=generic -g -O2 -std=gnu11",
            "malloc",
            "m gcc-12 -O2 ndebug",
        ),
        (
            "DW_AT_producer : (index): Debian clang version 14.0.6\n"
            "DW_AT_producer : (index): Debian clang version 14.0.6\n"
            "DW_AT_producer : GNU AS 2.40",
            "__assert_fail@GLIBC",
            "m clang-14 debug",
        ),
        (
            "DW_AT_producer : GNU C17 13.1.0 -O0 -fsanitize=thread -g",
            "",
            "m gcc-13 -O0 -fsanitize=thread ndebug",
        ),
        ("", "", "m unknown"),
    ],
)
def test_key_of_a_build(producers: str, symbols: str, key: str) -> None:
    assert build.key("m", producers, symbols) == key


def test_table_is_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert table.load(path) == {}
    table.save({"b": {"z": 1.04, "a": 2.0}, "a": {"x": 3.0}}, path)
    assert list(table.load(path)) == ["a", "b"]
    assert table.load(path)["b"] == {"z": 1.0, "a": 2.0}
    assert list(table.load(path)["b"]) == ["z", "a"]
