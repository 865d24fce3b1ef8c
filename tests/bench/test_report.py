"""The table, the bars and the documents of the benchmarks, from numbers made by hand."""

import math
from pathlib import Path

import pytest

from bench import bars, docs, measure, report
from bench.environments import _only_more
from bench.instructions import table as instructions
from bench.report import Row
from bench.results import Curve, Results
from bench.suites import catalog
from bench.suites import run as suites

ROOT = Path(__file__).resolve().parents[2]


def row(name: str, group: str, /, **seconds: list[float | None]) -> Row:
    made = Row(name, group)
    for mode, values in seconds.items():
        for number, value in enumerate(values):
            made.add(mode.replace("_", "-"), number, value, None, "")
    return made


def columns(*keys: str) -> list[report.Column]:
    return [column for column in report.COLUMNS if column.key in keys]


def test_a_ratio_is_of_the_same_round() -> None:
    ratio = measure.ratio([2.0, 6.0, 5.0], [1.0, 2.0, 5.0])
    assert ratio == measure.Ratio(2.0, 1.0, 3.0)
    assert str(ratio) == " 2.00 [1.00-3.00]"
    assert measure.ratio([None, 6.0], [1.0, 2.0, 3.0]) == measure.Ratio(3.0, 3.0, 3.0)
    assert measure.ratio([None, 6.0], [1.0]) is None
    assert measure.mean([2.0, 8.0]) == pytest.approx(4.0)
    assert math.isnan(measure.mean([]))


def test_order_turns() -> None:
    assert measure.rotated(["a", "b", "c"], 4) == ["b", "c", "a"]
    assert measure.ending_of(-11) == "killed by SIGSEGV"
    assert measure.Finished(0, 1.0, 1, True).ending == "cut off"


def test_what_the_table_says() -> None:
    rows = [
        row("quick", "allocating", plain=[1.0, 1.0], budgeted=[1.5, 1.1], memray=[2.0, None]),
        row("slow", "allocating", plain=[2.0, 2.0], budgeted=[8.0, 8.0]),
        row("suite", "suites", plain=[10.0], twice=[11.0], peer_memray=[]),
    ]
    rows[1].add("memray", 0, None, None, "cut off")
    rows[2].differ["twice"] = 3
    lines = report.table(rows, columns("twice", "far", "peer")).splitlines()
    told = {line.strip().split("  ")[0]: line.split() for line in lines if line.strip()}
    assert told["quick"] == ["quick", "1.000", "1.30", "[1.10-1.50]", "-", "2.00", "[2.00-2.00]"]
    assert told["slow"][1:] == ["2.000", "4.00", "[4.00-4.00]", "-", "cut", "off"]
    assert told["allocating, geometric mean"][-3:] == ["2.28", "-", "2.00"]
    assert told["allocating, worst"][-3:] == ["4.00", "-", "2.00"]
    assert told["suite"][1:] == ["10.000", "1.10", "[1.10-1.10]", "-", "-"]
    assert "did not end well: slow, memray: cut off" in lines
    assert "tests that come out differently: suite, twice: 3" in lines


def test_own_memory_is_above_plain() -> None:
    here = row("p", "allocating", plain=[1.0, 1.0, 1.0])
    here.grown = {"plain": [10.0, 10.0, None], "exact": [30.0, 50.0]}
    here.peak = 2 * report.MIB
    assert here.own_memory("exact") == 30.0
    assert here.own_memory("system") is None
    here.grown["system"] = [1.0]
    assert here.own_memory("system") == 0.0
    text = report.memory_table([here], ["plain", "exact", "budgeted"])
    assert text.splitlines()[-1].split() == ["p", "2.0", "0.0", "(0%)", "-"]
    here.peak = 100
    assert report.memory_lines([here], ["exact"]) == []


def bar(found: list[bars.Bar], what: str) -> bars.Bar:
    (one,) = (one for one in found if one.what == what)
    return one


def test_bars_are_judged() -> None:
    rows = [
        row("a", "allocating", plain=[1.0], budgeted=[1.0], exact=[1.3], system=[1.1]),
        row("b", "allocating", plain=[1.0], budgeted=[1.21], exact=[1.3]),
        row("c", "calling", plain=[1.0], budgeted=[1.0], exact=[1.03]),
        row("deep 400", "extreme", plain=[1.0], exact=[5.0]),
        row("s", "suites", plain=[1.0], twice=[1.05], limit=[1.5]),
    ]
    found = bars.judged(rows, {"installed ratio": 1.0, "per test ms, limit": 0.2})
    told = {one.what: one.verdict for one in found}
    assert told["plugin installed, nothing measured"] == "met"
    assert told["suites, every test under limit_memory, limit 2x peak, worst"] == "met"
    assert told["suites, every test under limit_memory, far limit, worst"] == "NOT MET"
    mean = bar(found, "allocating programs, limit 2x peak, geometric mean")
    assert (mean.found, mean.verdict) == (pytest.approx(1.1), "met")
    assert told["allocating programs, exact (leaks), geometric mean"] == "met"
    assert told["allocating programs, basis system, geometric mean"] == "NOT MET"
    assert told["exact at 400 frames"] == "NOT MET"
    worst = bar(found, "call-heavy programs, every mode, worst")
    assert worst.cells()[2:] == ["1.03 (c, exact (leaks))", "NOT MET"]
    assert told["the plugin, per trivial test with a limit"] == "NOT MET"
    assert told["the first one: import and patching"] == "not measured"
    assert "NOT MET" in bars.text(found)


def test_own_memory_has_a_fixed_part() -> None:
    assert bars.own_share(8_000_000, 100.0) == 0.0
    assert bars.own_share(9_000_000, 10_000_000.0) == pytest.approx(0.1)
    assert bars.own_share(9_000_000, 10_000_000.0, stacks=7_812) == pytest.approx(0.0, abs=1e-4)
    here = row("p", "allocating", plain=[1.0])
    here.grown, here.peak = {"plain": [0.0], "exact": [16e6]}, 10_000_000
    found = bars.judged([here], {})
    exact = bar(found, "own memory above 8 MB, share of the peak, exact, worst program")
    assert (exact.found, exact.where, exact.verdict) == (pytest.approx(0.8), "p", "NOT MET")


# --- suites ---------------------------------------------------------------------------------------


def run(
    mode: str, number: int, seconds: float, ending: str = "exit 0", **outcomes: str
) -> suites.Run:
    return suites.Run("s", mode, number, seconds, ending, outcomes=outcomes)


def test_a_suite_is_a_row() -> None:
    runs = [
        run("plain", 0, 2.0, a="passed", b="failed"),
        run("plain", 1, 2.0, "exit 1", a="passed", b="failed"),
        run("limit", 0, 3.0, "exit 1", a="failed", b="failed"),
        run("peer-leaks", 0, 9.0, "cut off"),
    ]
    made = suites.row_of("s", runs)
    assert made.ratio("limit") == measure.Ratio(1.5, 1.5, 1.5)
    assert (made.tests, made.differ["limit"]) == (2, 1)
    assert made.cell("peer-leaks") == "cut off"


def test_every_column_of_suites_is_a_mode() -> None:
    known = {mode.name for mode in catalog.MODES}
    assert {column.suite for column in report.COLUMNS if column.suite} <= known
    parts = [suite.partly() for suite in catalog.SUITES]
    assert all(part.args and not part.part for part in parts)
    assert any(suite.quick for suite in catalog.SUITES)


def test_a_base_that_lacks_something_is_not_made_anew(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert not _only_more(stamp, "3.11\na\nb")
    stamp.write_text("3.11\na")
    assert _only_more(stamp, "3.11\na\nb")
    assert not _only_more(stamp, "3.12\na\nb")
    assert not _only_more(stamp, "3.11\nb")


# --- results and documents ------------------------------------------------------------------------


def results() -> Results:
    found = Results.new(3)
    found.rows = [
        row("p", "calling", plain=[1.0, 1.0], exact=[1.5, 1.25]),
        row("s", "suites", plain=[4.0], twice=[5.0]),
    ]
    found.fixed = {"ours, 0 objects": 7.25, "per test ms, limit": 0.05}
    found.curves = [Curve("c", "exact", "blocks", [10], [1.0], [2.0], [1024.0], [4096.0], [1])]
    found.threads = {"3.14.0 with GIL": {"1": ["1.10 (1.0-1.2)"] * 4, "8": ["1.30 (1.0-1.4)"] * 4}}
    return found


def test_results_are_read_back(tmp_path: Path) -> None:
    before = results()
    assert Results.load(before.save(tmp_path)) == before
    assert Results.load(tmp_path / "latest.json") == before


def test_parts_of_several_runs_come_together() -> None:
    newer = Results.new(5)
    newer.rows = [row("q", "calling", plain=[1.0])]
    newer.fixed = {"per test ms, limit": 0.01}
    both = newer.merged(results())
    assert [one.name for one in both.rows] == ["q", "s"]
    assert both.fixed == {"ours, 0 objects": 7.25, "per test ms, limit": 0.01}
    assert [one.what for one in both.curves] == ["c"]
    assert both.rounds == 5


def test_modes_of_an_earlier_run_are_further_rounds() -> None:
    older = row("q", "calling", plain=[2.0, 1.0], exact=[9.0, 9.0], memray=[None, 3.0])
    older.add("tracemalloc", 0, None, None, "cut off")
    newer = row("q", "calling", plain=[1.0], exact=[1.5])
    whole = Results({}, 1, rows=[newer]).merged(Results({}, 1, rows=[older])).rows[0]
    assert whole.seconds["plain"] == [1.0, 2.0, 1.0]
    assert whole.ratio("exact") == measure.Ratio(1.5, 1.5, 1.5)
    assert whole.ratio("memray") == measure.Ratio(3.0, 3.0, 3.0)
    assert whole.cell("tracemalloc") == "cut off"
    assert newer.seconds["plain"] == [1.0] and newer.completed(newer) is newer


def test_stretches_of_a_document_are_written_anew() -> None:
    names = (
        "machine",
        "bars",
        "programs",
        "suites",
        "memory",
        "fixed",
        "threads",
        "growth",
        "instructions",
    )
    before = "\n".join(f"<!-- table: {name} -->\nold\n<!-- end of table -->" for name in names)
    table = {"m gcc": {"x": 3.0}, "m clang": {"x": 4.0, "y": 5.0}}
    after = docs.written(f"Head\n{before}\nTail\n", results(), table)
    assert after.startswith("Head\n") and after.endswith("Tail\n") and "old" not in after
    assert "| p | 1.000 | - | - | - | 1.38 [1.25-1.50] |" in after
    assert "| s | 4.000 | 1.25 [1.25-1.25] |" in after
    assert "| start and stop, 0 more objects loaded, us | 7.2 | - |" in after
    assert "| c | exact | 10 | 1.00 | 2.00 | 0.0 | 102 | 25% |" in after
    assert "| x | 3 | 4 |\n| y |  | 5 |" in after
    assert (
        "| 3.14.0 with GIL | 1 | 1.10 (1.0-1.2) |" in after
        and "\n|  | 8 | 1.30 (1.0-1.4) |" in after
    )
    assert docs.written(after, results(), table) == after


def test_the_document_has_the_figures_of_its_data() -> None:
    text = docs.DOCUMENT.read_text()
    written = docs.written(text, Results.load(docs.DATA), instructions.load())
    assert text == written, "run: make bench-docs"
