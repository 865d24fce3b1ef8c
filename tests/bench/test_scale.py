"""What measuring costs grows with the work, not faster: bench/scale.py at sizes that take seconds.

Counted are instructions under valgrind, of the same pattern plain and measured.
"""

import sys
import sysconfig

import pytest

from bench import scale
from bench.instructions import callgrind
from bench.results import Curve

#: Pattern: small and large size, modes. Valgrind runs threads one at a time and maps at most some GiB.
SIZES = {
    "live": ((2_000, 40_000), ("budgeted", "exact")),
    "live_large": ((1_000, 10_000), ("budgeted", "exact")),
    "stacks": ((128, 16_384), ("budgeted", "exact")),
    "depth": ((10, 200), ("budgeted",)),
    "threads": ((4, 100), ("budgeted", "exact")),
    "reservation": ((1, 16), ("budgeted", "exact")),
}
LIMIT = 100_000_000


def counts(pattern: str, modes: tuple[str, ...], sizes: tuple[int, ...]) -> dict[str, list[int]]:
    """Mode -> instructions of the pattern at each size."""
    chosen = [pattern, ",".join(("plain", *modes)), str(LIMIT), *map(str, sizes)]
    environment = {"PYTHONHASHSEED": "0", "BENCH_SCALE_BLOCKS": "8000"}
    command = [sys.executable, "-P", str(scale.WORKER), *chosen]
    labels, totals = callgrind.stretches(command, environment)
    found: dict[str, list[int]] = {}
    for label, total in zip(labels, totals, strict=True):
        if label != "-":
            found.setdefault(label.split()[0], []).append(total)
    return found


@pytest.fixture(scope="module")
def valgrind() -> None:
    if reason := callgrind.why_not():
        pytest.skip(reason)


@pytest.mark.usefixtures("valgrind")
@pytest.mark.parametrize("pattern", SIZES)
def test_the_ratio_to_plain_at_most_doubles(pattern: str) -> None:
    if pattern == "threads" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("threads wait for each other by turning round, which counts as instructions")
    (small, large), modes = SIZES[pattern]
    found = counts(pattern, modes, (small, large))
    plain = found["plain"]
    assert plain[0] > 0
    for mode in modes:
        measured = found[mode]
        assert measured[1] > plain[1]
        growth = (measured[1] / plain[1]) / (measured[0] / plain[0])
        assert growth <= 2, (mode, growth, found)


def test_curves_say_how_much_they_grow() -> None:
    curve = Curve(
        "x", "exact", "blocks", [1, 2], [1.0, 2.0], [2.0, 10.0], [0.0, 3e7], [4e7, 4e7], [1, 1]
    )
    assert curve.ratios() == [2.0, 5.0]
    assert curve.growth() == 2.5
    (first, second) = scale.lines([curve])
    assert first[:5] == ["x", "exact", "1", "1.00", "2.00"]
    assert second[:2] == ["", ""]
    assert "x" in scale.text([curve])
    assert list(scale.bars_of([curve])) == []  # nobody judges x
    judged = Curve("live small blocks", "exact", "blocks", *list(vars(curve).values())[3:])
    growth, memory = scale.bars_of([judged])
    assert (growth.verdict, growth.found) == ("NOT MET", 2.5)
    assert memory.found == pytest.approx((3e7 - 8e6 - 128) / 4e7)
    assert memory.verdict == "NOT MET"


def test_a_curve_ends_before_what_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, int]] = []

    def worker(environments, pattern, mode, size, limit=0):
        asked.append((mode, size, limit))
        if mode == "exact" and size == 100:
            return None
        return {"seconds": 2.0 if mode == "exact" else 1.0, "grown": 7, "peak": 50, "stacks": 1}

    monkeypatch.setattr(scale, "_worker", worker)
    curves = {mode: Curve("x", mode, "blocks") for mode in ("budgeted", "exact")}
    for size in (10, 100):
        scale._one_size(None, "live", size, 2, curves)  # type: ignore[arg-type]
    assert curves["exact"].sizes == [10]
    assert curves["exact"].ratios() == [2.0]
    assert curves["budgeted"].sizes == [10, 100]
    assert asked.count(("exact", 100, 100)) == 1  # not tried again; the limit is twice the peak
