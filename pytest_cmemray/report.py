"""The blocks at the end of a run: the MEMRAY REPORT and the notes. Pure text, plain ASCII."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmemray.explain import share
from cmemray.sizes import format_size
from pytest_cmemray.results import Entry, Note, Results

_OUTCOMES = {"passed": "", "failed": " (failed)", "skipped": " (skipped)"}
#: Collections that took less are not worth a word.
_LONG_GC = 10_000


def report_lines(results: Results, basis: str) -> list[str]:
    """The lines of the MEMRAY REPORT."""
    lines: list[str] = []
    for entry in results.highest():
        lines += [*entry_lines(entry), ""]
    tight = [entry for entry in results.tightest() if _used(entry) >= 0.5]
    if tight:
        lines += [*_tight_lines(tight), ""]
    tests = "1 test" if results.measured == 1 else f"{results.measured} tests"
    lines.append(f"{tests} measured in basis {basis}; sizes are peaks, 1 KiB = 1024 bytes")
    return lines


def entry_lines(entry: Entry) -> list[str]:
    """One test: its peak, how many allocations, and where the peak lay."""
    data = entry.data
    peak = data["peak"]
    remarks = []
    if "limit" in data:
        left = data["limit"] - entry.judged
        room = f"{format_size(left)} left" if left > 0 else f"{format_size(-left)} over"
        remarks.append(f"limit {format_size(data['limit'])}, {room}")
    if "was" in data:
        remarks.append(f"was {format_size(data['was'])}, {change(data['was'], entry.judged)}")
    if data.get("gc", 0) >= _LONG_GC:
        remarks.append(f"{data['gc'] / 1e6:.2f} s in garbage collections")
    lines = [
        f"Allocation results for {entry.nodeid} at the high watermark{_OUTCOMES[entry.outcome]}",
        "",
        f"    Total memory allocated: {format_size(peak)}"
        + (f" ({'; '.join(remarks)})" if remarks else ""),
        f"    Total allocations: {data['count']} ({format_size(data['total'])} in all)",
    ]
    sites = data.get("sites")
    if sites:
        lines.append("    Biggest allocating functions:")
        for site, size, estimated in sites:
            lines.append(f"        {site} -> {format_size(size)} ({share(size, peak, estimated)})")
    return lines


def note_lines(notes: dict[str, Note], most: int | None = 20) -> list[str]:
    """What was not measured, or is to be known of a verdict: one line per note."""
    lines = []
    for text, note in list(notes.items())[:most]:
        if not note.tests:
            lines.append(text)
            continue
        named = ", ".join(note.tests)
        if note.count > len(note.tests):
            named += f" and {note.count - len(note.tests)} more"
        lines.append(f"{named}: {text}")
    if most is not None and len(notes) > most:
        lines.append(f"...and {len(notes) - most} more (-vv shows all)")
    return lines


def marker_error_lines(errors: Mapping[str, str]) -> list[str]:
    """Tests whose markers are not valid, for --collect-only."""
    return [f"ERROR {nodeid} - {text}" for nodeid, text in errors.items()]


def change(was: int, now: int) -> str:
    """'+1.0MiB (+10%)', '-3.0B', 'the same'."""
    if was == now:
        return "the same"
    sign = "+" if now > was else "-"
    percent = f" ({(now - was) * 100 / was:+.0f}%)" if was else ""
    return f"{sign}{format_size(abs(now - was))}{percent}"


def _tight_lines(entries: Sequence[Entry]) -> list[str]:
    rows = [("peak", "limit", "used", "test")]
    for entry in entries:
        peak, limit = entry.judged, entry.data["limit"]
        used = f"{peak * 100 // limit}%"
        rows.append((format_size(peak), format_size(limit), used, entry.nodeid))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["Closest to their limits:"]
    for *figures, test in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths, strict=True)]
        lines.append(f"    {'  '.join(cells)}  {test}")
    return lines


def _used(entry: Entry) -> float:
    return entry.judged / entry.data["limit"]
