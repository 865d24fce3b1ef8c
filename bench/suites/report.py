"""What the runs of suites say, as text. Pure functions over run records."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import measure

if TYPE_CHECKING:
    from bench.suites.run import Run

#: Most tests named per suite and mode; the logs have all.
_MOST = 25


@dataclass(frozen=True)
class Difference:
    """A test that comes out differently: in `times` of `rounds` runs of the mode."""

    test: str
    plain: str
    measured: str
    times: int
    rounds: int
    why: str

    @property
    def is_verdict(self) -> bool:
        """True when the test failed on its memory limit: in mode "twice" that says that its peak
        differs from run to run, say because another test filled a cache, and is no mistake."""
        return self.why.startswith(("Test was limited to", "Test was allowed to leak"))


def unsteady(runs: Sequence[Run], suite: str) -> dict[str, str]:
    """Tests that come out differently among the plain runs: id -> 'failed/passed'."""
    seen: dict[str, set[str]] = {}
    plain = _of(runs, suite, "plain")
    for run in plain:
        for test, outcome in run.outcomes.items():
            seen.setdefault(test, set()).add(outcome)
    missing = {test for test in seen if any(test not in run.outcomes for run in plain)}
    return {
        test: "/".join(sorted(outcomes | ({"absent"} if test in missing else set())))
        for test, outcomes in seen.items()
        if len(outcomes) > 1 or test in missing
    }


def differences(runs: Sequence[Run], suite: str, mode: str) -> list[Difference]:
    """Steady tests of `suite` whose outcome in `mode` is not the plain one."""
    plain = _of(runs, suite, "plain")
    measured = _of(runs, suite, mode)
    if not plain or not measured:
        return []
    wobbly = unsteady(runs, suite)
    expected = plain[0].outcomes
    found = []
    for test in {**expected, **{test: "" for run in measured for test in run.outcomes}}:
        before = expected.get(test, "absent")
        bad = [run for run in measured if run.outcomes.get(test, "absent") != before]
        if bad and test not in wobbly:
            after = bad[0].outcomes.get(test, "absent")
            why = bad[0].why.get(test, "")
            found.append(Difference(test, before, after, len(bad), len(measured), why))
    return found


def mistakes(runs: Sequence[Run], suite: str, mode: str) -> list[Difference]:
    """Differences that are mistakes. The verdict of a limit is none in mode "twice", whose limits are
    close; where the limit is far above every test, it is one as well."""
    return [one for one in differences(runs, suite, mode) if mode != "twice" or not one.is_verdict]


def suite_text(suite: str, runs: Sequence[Run], modes: Sequence[str]) -> str:
    """One suite: a line per mode, then every difference."""
    text = [f"\n{suite}", f"  {'mode':<12}{'CPU s':>8}  {'ratio to plain':<20} outcomes"]
    plain = [run.seconds for run in _of(runs, suite, "plain")]
    for mode in modes:
        mine = _of(runs, suite, mode)
        if not mine:
            continue
        seconds = [run.seconds for run in mine]
        ratio = measure.ratio(seconds, plain)
        counts = Counter(mine[-1].outcomes.values())
        outcomes = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        endings = sorted({run.ending for run in mine} - {"exit 0", "exit 1"})
        ending = f"  ({', '.join(endings)})" if endings else ""
        middle = statistics.median(seconds)
        text.append(f"  {mode:<12}{middle:8.2f}  {ratio!s:<20} {outcomes}{ending}")
    wobbly = unsteady(runs, suite)
    if wobbly:
        text.append(f"  not compared, since plain runs already differ: {len(wobbly)} tests")
        text += [f"    {test} ({outcomes})" for test, outcomes in sorted(wobbly.items())[:_MOST]]
    for mode in modes:
        text += _difference_lines(mode, differences(runs, suite, mode))
    return "\n".join(text)


def _difference_lines(mode: str, found: Sequence[Difference]) -> list[str]:
    if mode == "plain":
        return []
    verdicts = sum(one.is_verdict for one in found)
    text = [f"  {mode}: {len(found)} tests come out differently, {verdicts} of them over a limit"]
    for one in found[:_MOST]:
        often = f"{one.times} of {one.rounds} runs"
        text.append(f"    {one.test}: {one.plain} -> {one.measured} ({often})")
        if one.why:
            text.append(f"      {one.why.splitlines()[-1][:200]}")
    if len(found) > _MOST:
        text.append(f"    ... and {len(found) - _MOST} more")
    return text


def summary_text(runs: Sequence[Run], suites: Sequence[str], modes: Sequence[str]) -> str:
    """All suites: ratios per mode, their geometric mean and the worst."""
    text = ["\nCPU time, ratio to plain (median of rounds)", ""]
    text.append("  " + f"{'mode':<12}" + "".join(f"{suite:>16}" for suite in suites))
    text[-1] += f"{'geo. mean':>12}{'worst':>8}{'differ':>8}"
    for mode in modes:
        ratios = []
        for suite in suites:
            plain = [run.seconds for run in _of(runs, suite, "plain")]
            ratio = measure.ratio([run.seconds for run in _of(runs, suite, mode)], plain)
            ratios.append(ratio.median if ratio is not None else math.nan)
        known = [one for one in ratios if not math.isnan(one)]
        mean = measure.mean(known)
        differ = sum(len(mistakes(runs, suite, mode)) for suite in suites)
        text.append("  " + f"{mode:<12}" + "".join(f"{one:16.2f}" for one in ratios))
        text[-1] += f"{mean:12.2f}{max(known, default=math.nan):8.2f}{differ:8}"
    return "\n".join(text)


def _of(runs: Sequence[Run], suite: str, mode: str) -> list[Run]:
    return [run for run in runs if run.suite == suite and run.mode == mode]
