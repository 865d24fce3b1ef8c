"""What a failed test says about memory: the sentence, and the section below it. Pure text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cmemray import explain
from cmemray.sizes import format_size, format_sizes
from pytest_cmemray import verdict
from pytest_cmemray.markers import Plan

MAX_MEMORY = "memray-max-memory"
LEAKED_MEMORY = "memray-leaked-memory"
TRACKED_OBJECTS = "memray-tracked-objects"
#: Fewer sampling periods than this in a peak within its limit, and no line is named.
_ENOUGH_SAMPLES = 8


@dataclass(frozen=True)
class Problem:
    """One finding as text. `path` and `line` point at the reader's own code, when it is known."""

    sentence: str
    title: str
    section: str
    path: str | None = None
    line: int = 0


@dataclass(frozen=True)
class Style:
    """How much is shown: pytest's verbosity for memory, and the frames of a stack at least."""

    verbosity: int = 0
    stacks: int = 1

    @property
    def most(self) -> int | None:
        """Locations to list, None for all."""
        return None if self.verbosity >= 2 else 10


def describe(finding: verdict.Finding, paths: explain.Paths, style: Style) -> Problem:
    """The text of a finding."""
    if isinstance(finding, verdict.Over):
        return _over(finding, paths, style)
    if isinstance(finding, verdict.Increase):
        return _increase(finding, paths, style)
    if isinstance(finding, verdict.Leak):
        return _leak(finding, paths, style)
    reason = finding.reason or finding.numbers.incomplete_reason
    return Problem(
        sentence=f"Memory was not measured completely, so the limit cannot be checked: {reason}",
        title=MAX_MEMORY,
        section=_figures(finding.numbers),
    )


def refused(reason: str) -> Problem:
    """The text for a test with a limit that could not be measured at all."""
    sentence = f"Memory was not measured, so the limit cannot be checked: {reason}"
    return Problem(sentence, MAX_MEMORY, "The test itself ran to its end, and passed.")


def _over(finding: verdict.Over, paths: explain.Paths, style: Style) -> Problem:
    numbers = finding.numbers
    locations = verdict.at_peak(numbers)
    largest = numbers.largest_located()
    sentence = explain.limit_sentence(
        finding.limit, numbers.peak, locations or [], paths, largest=largest
    )
    return _at_peak(sentence, numbers, locations, paths, style)


def _increase(finding: verdict.Increase, paths: explain.Paths, style: Style) -> Problem:
    numbers = finding.numbers
    locations = verdict.at_peak(numbers)
    peak = verdict.judged_peak(numbers)
    before, now = format_sizes(finding.before, peak)
    more = format_size(peak - finding.before)
    percent = f", {peak * 100 // finding.before}%" if finding.before else ""
    sentence = (
        "Test uses more memory than previous run. "
        f"Test previously used {before} but now uses {now} (+{more}{percent})"
    )
    sentence += explain.blame(locations or [], numbers.peak, paths, numbers.largest_located())
    return _at_peak(sentence, numbers, locations, paths, style)


def _at_peak(
    sentence: str,
    numbers: verdict.Measured,
    locations: list[Any] | None,
    paths: explain.Paths,
    style: Style,
) -> Problem:
    lines = explain.by_own_line(locations or [], paths)
    section = _figures(numbers)
    if style.verbosity >= 0:
        listed = explain.location_list(
            lines, numbers.peak, paths, most=style.most, frames=style.stacks
        )
        if locations is None:
            listed = "    not available: the system refused memory for it"
        section = f"List of allocations:\n{listed}\n{section}"
        if any(line.estimated for line in lines):
            off = ", in 95 of 100 cases within +- per cent" if "(+-" in listed else ""
            section += (
                f"\n~: the lines' parts are estimated from samples{off}; the peak itself is exact."
            )
    largest = numbers.largest_located()
    if largest and explain.says_nothing(lines, numbers.peak):
        lines = explain.by_own_line([largest], paths)
    return _problem(sentence, MAX_MEMORY, section, lines)


def _leak(finding: verdict.Leak, paths: explain.Paths, style: Style) -> Problem:
    lines = explain.by_own_line(finding.locations, paths)
    first = finding.locations[0]
    count = len(finding.locations)
    sentence = (
        f"Test was allowed to leak {format_size(finding.limit)} per location but at least one "
        f"location leaked more: {format_size(first.size)} from "
        f"{explain.where(explain.own_frame(first.frames, paths), paths)}"
    )
    if count > 1:
        together = sum(location.size for location in finding.locations)
        sentence += f", {count} locations with {format_size(together)} together"
    listed = explain.location_list(
        lines, finding.numbers.leaked, paths, most=style.most, frames=max(style.stacks, 5)
    )
    section = (
        f"List of leaked allocations:\n{listed}\n"
        f"{format_size(finding.numbers.leaked)} were left allocated in all."
    )
    return _problem(sentence, LEAKED_MEMORY, section, lines)


def _problem(sentence: str, title: str, section: str, lines: list[explain.Line]) -> Problem:
    frame = lines[0].frame if lines else None
    if frame is None:
        return Problem(sentence, title, section)
    return Problem(sentence, title, section, frame.filename, frame.lineno)


def unjudged(plan: Plan, numbers: verdict.Measured, paths: explain.Paths) -> str:
    """The memory section of a test that failed for another reason and kept its limit, if any."""
    text = f"Peak {format_size(numbers.peak)}"
    if plan.limit is not None:
        peak, limit = format_sizes(numbers.peak, plan.limit)
        text = f"Peak {peak}, within the limit of {limit}"
    # The sampling is laid out for a peak that reaches the limit; few samples name no line.
    if numbers.sampling_period * _ENOUGH_SAMPLES <= max(numbers.peak, _ENOUGH_SAMPLES):
        held, largest = verdict.at_peak(numbers) or [], numbers.largest_located()
        text += explain.blame(held, numbers.peak, paths, largest)
    if plan.leaks is not None or plan.objects is not None:
        text += (
            f"\n{format_size(numbers.leaked)} were left allocated; not judged, as the exception "
            "of a failed test keeps its variables alive."
        )
    return text


def _figures(numbers: verdict.Measured) -> str:
    text = [
        f"Peak {format_size(numbers.peak)} in {explain.plural(numbers.peak_blocks, 'block')}; "
        f"{explain.plural(numbers.count, 'allocation')} of {format_size(numbers.total)} in all. "
        "Counted is the test itself, not its fixtures."
    ]
    older = verdict.old_threads(numbers)
    if older:
        text.append(f"Part of it is of {older}.")
    if numbers.resized_old_bytes * 100 >= max(numbers.peak, 1):
        text.append(
            f"{format_size(numbers.resized_old_bytes)} are blocks older than the test that it "
            "resized; they count with their new size."
        )
    aside = verdict.apart(numbers)
    if aside:
        text.append(f"Not part of the peak: {aside}.")
    return "\n".join(text)
