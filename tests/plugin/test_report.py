"""What the end of a run shows, from hand-made data; and what is sent and kept to show it."""

import json
from types import SimpleNamespace

from pytest_cmemray import report, transport
from pytest_cmemray.outputs import github
from pytest_cmemray.results import Entry, Largest, Results
from pytest_cmemray.transport import Data

KB = 1024


def data(peak: int, **more: object) -> Data:
    return {"peak": peak, "total": 3 * peak, "count": 7, **more}  # type: ignore[typeddict-item]


def test_one_test_of_the_report() -> None:
    entry = Entry(
        "test_a.py::test_rows",
        "failed",
        data(
            3 * KB,
            limit=2 * KB,
            was=2 * KB,
            gc=250_000,
            sites=[("valloc:rows.py:3", 2 * KB, False), ("load:rows.py:9", 100, True)],
        ),
    )
    assert report.entry_lines(entry) == [
        "Allocation results for test_a.py::test_rows at the high watermark (failed)",
        "",
        "    Total memory allocated: 3.0KiB (limit 2.0KiB, 1.0KiB over; "
        "was 2.0KiB, +1.0KiB (+50%); 0.25 s in garbage collections)",
        "    Total allocations: 7 (9.0KiB in all)",
        "    Biggest allocating functions:",
        "        valloc:rows.py:3 -> 2.0KiB (67%)",
        "        load:rows.py:9 -> 100.0B (~3%)",
    ]


def test_a_test_that_allocates_nothing() -> None:
    entry = Entry("t", "passed", data(0, sites=[]))
    assert report.entry_lines(entry)[2:] == [
        "    Total memory allocated: 0.0B",
        "    Total allocations: 7 (0.0B in all)",
    ]


def test_zero_bytes_in_a_site_divide_by_nothing() -> None:
    entry = Entry("t", "passed", data(0, limit=10, sites=[("f:a.py:1", 0, False)]))
    assert report.entry_lines(entry)[-1] == "        f:a.py:1 -> 0.0B (0%)"


def test_the_report_shows_the_largest_and_the_tightest() -> None:
    results = Results(2)
    for number in range(1, 9):
        results.add(f"test_{number}", "passed", data(number * KB, limit=(10 - number) * 2 * KB))
    results.add("test_over", "failed", data(KB, limit=1, problem="too much"))
    lines = report.report_lines(results, "requested")
    named = [line.split()[3] for line in lines if line.startswith("Allocation results for")]
    assert named == ["test_8", "test_7"]
    start = lines.index("Closest to their limits:")
    assert lines[start + 1 : start + 6] == [
        "      peak    limit  used  test",
        "    8.0KiB   4.0KiB  200%  test_8",
        "    7.0KiB   6.0KiB  116%  test_7",
        "    6.0KiB   8.0KiB   75%  test_6",
        "    5.0KiB  10.0KiB   50%  test_5",
    ]
    assert lines[-1].startswith("9 tests measured in basis requested")
    assert [entry.nodeid for entry in results.problems] == ["test_over"]


def test_zero_reports_all_tests() -> None:
    results = Results(0)
    for number in range(50):
        results.add(f"test_{number}", "passed", data(number))
    assert len(results.highest()) == 50


def test_only_the_largest_are_kept() -> None:
    largest = Largest(2)
    entries = [Entry(str(value), "passed", data(value)) for value in (5, 1, 5, 7, 2)]
    for entry in entries:
        assert largest.takes(entry.data["peak"]) is (entry.nodeid not in "2")
        largest.add(entry.data["peak"], entry)
    assert [entry.nodeid for entry in largest.entries()] == ["7", "5"]


def test_equal_notes_are_said_once() -> None:
    results = Results(5)
    for number in range(5):
        results.add(f"test_{number}", "passed", data(1, notes=["1 child process"]))
    results.add_note("Python stacks are not available")
    assert report.note_lines(results.notes) == [
        "test_0, test_1, test_2 and 2 more: 1 child process",
        "Python stacks are not available",
    ]
    assert report.note_lines(results.notes, most=1)[-1] == "...and 1 more (-vv shows all)"


def test_what_travels_is_small_and_plain() -> None:
    sent = SimpleNamespace()
    long = "x" * 5000
    transport.attach(
        sent,
        data(2**40, limit=2**41, sites=[(long, 10**9, False)] * 50, notes=[long] * 50),
    )
    text = json.dumps(transport.read(sent))
    assert len(text) < 2048
    assert json.loads(text)["sites"][0][0].endswith("xxx")


def test_a_usual_passing_test_sends_less_than_half_a_kilobyte() -> None:
    sent = SimpleNamespace()
    sites = [(f"function_{n}:package/module_{n}.py:{n}", 1000, False) for n in range(5)]
    transport.attach(sent, data(12345678, sites=sites))
    assert len(json.dumps(transport.read(sent))) < 512
    transport.drop(sent)
    assert transport.read(sent) is None
    transport.drop(sent)


def test_annotations_of_github() -> None:
    entry = Entry("t.py::test_x", "failed", data(1, problem="96% a\nb", path="/r/a,b.py", line=3))
    bare = Entry("t.py::test_y", "failed", data(1, problem="p"))
    assert github.workflow_commands([entry, bare], "/r") == [
        "::error file=a%2Cb.py,line=3,title=Memory limit::t.py::test_x: 96%25 a%0Ab",
        "::error title=Memory limit::t.py::test_y: p",
    ]
