"""How the cost grows: the same pattern of memory use at growing sizes, plain and measured.

    python -m bench.scale                    all curves
    python -m bench.scale --only live,stacks --small

Each size runs in fresh processes, plain and measured in turn; a ratio is that of processor time of the
pattern alone, and may at most double from the smallest size to the largest. Own memory is the resident
growth above plain's. `--small` leaves out the largest sizes, which take gigabytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import bars, measure
from bench.environments import Environments, cache_folder
from bench.results import Curve
from bench.run import BASE

WORKER = Path(__file__).with_name("scale_worker.py")
_GROWTH = 2.0
#: Pattern: what it is, unit, sizes, modes that are judged, further ones that are shown.
CURVES: dict[str, tuple[str, str, tuple[int, ...], tuple[str, ...], tuple[str, ...]]] = {
    "live": (
        "live small blocks",
        "blocks",
        (500_000, 5_000_000, 50_000_000),
        ("budgeted", "exact"),
        (),
    ),
    "live_large": (
        "live blocks above 512 bytes",
        "blocks",
        (20_000, 200_000, 2_000_000),
        ("budgeted", "exact"),
        (),
    ),
    "stacks": (
        "distinct stacks",
        "stacks",
        (16_384, 196_608, 2_097_152),
        ("budgeted", "exact"),
        (),
    ),
    "depth": ("frames of depth", "frames", (10, 100, 1_000, 10_000), ("budgeted",), ("exact",)),
    "threads": ("threads at once", "threads", (5, 50, 500), ("budgeted", "exact"), ()),
    "reservation": ("reserved address space", "GiB", (1, 10, 100), ("budgeted", "exact"), ()),
}


def measured(
    wheel: Path | None = None, small: bool = False, rounds: int = 3, only: Sequence[str] = ()
) -> list[Curve]:
    """All curves, or those named in `only`."""
    environments = Environments(cache_folder("programs"), BASE)
    environments.prepare({"none", "ours"}, wheel)
    curves = []
    for pattern in only or CURVES:
        what, unit, sizes, judged, shown = CURVES[pattern]
        here = {mode: Curve(what, mode, unit) for mode in (*judged, *shown)}
        for size in sizes[:-1] if small else sizes:
            few = 1 if size >= 10_000_000 else rounds
            # What is shown only, since it is known to be dear, does without the largest size.
            chosen = judged if size == sizes[-1] else (*judged, *shown)
            _one_size(environments, pattern, size, few, {mode: here[mode] for mode in chosen})
        curves += here.values()
    return curves


def _one_size(
    environments: Environments, pattern: str, size: int, rounds: int, curves: dict[str, Curve]
) -> None:
    said: dict[str, list[dict[str, float]]] = {mode: [] for mode in ("plain", *curves)}
    # A limit of twice the peak; for the largest a bound that is near enough.
    far = _worker(environments, pattern, "far", size) if size < 10**7 else None
    limit = int(2 * far["peak"]) if far is not None else 128 * size
    cut: set[str] = set()
    for number in range(rounds):
        for mode in measure.rotated(list(said), number):
            if mode not in cut:
                run = _worker(environments, pattern, mode, size, limit)
                if run is None:
                    cut.add(mode)
                else:
                    said[mode].append(run)
    plain = said["plain"]
    for mode, curve in curves.items():
        runs = said[mode]
        if mode in cut or "plain" in cut:
            continue  # the curve ends before
        ratio = measure.ratio([run["seconds"] for run in runs], [run["seconds"] for run in plain])
        base = statistics.median(run["seconds"] for run in plain)
        curve.sizes.append(size)
        curve.plain.append(base)
        curve.measured.append(base * ratio.median if ratio is not None else float("nan"))
        grown = [statistics.median(run["grown"] for run in side) for side in (runs, plain)]
        curve.own.append(max(grown[0] - grown[1], 0))
        curve.heap.append(runs[0]["peak"])
        curve.stacks.append(int(runs[0]["stacks"]))
        text = f"scale: {curve.what}, {mode}, {size:,}: {base:.2f} s, {curve.ratios()[-1]:.2f}"
        print(f"{text}, {curve.own[-1] / 2**20:.1f} MiB", file=sys.stderr, flush=True)


def _worker(
    environments: Environments, pattern: str, mode: str, size: int, limit: int = 1 << 40
) -> dict[str, float] | None:
    """What the worker said; None when it took so long that it was cut off."""
    python = environments.for_plugin("none" if mode == "plain" else "ours")
    command = [str(python), str(WORKER), pattern, mode, str(limit), str(size)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            command, text=True, stdout=subprocess.PIPE, check=False, env=environment, timeout=300
        )
    except subprocess.TimeoutExpired:
        print(f"scale: {pattern}, {mode}, {size:,}: cut off", file=sys.stderr, flush=True)
        return None
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}")
    said: dict[str, float] = json.loads(done.stdout)
    return said


# --- what it says ---------------------------------------------------------------------------------


def lines(curves: Sequence[Curve]) -> list[list[str]]:
    """One line per curve and size: what, mode, size, plain s, ratio, own MiB, a block or stack, share."""
    found = []
    for curve in curves:
        for i, size in enumerate(curve.sizes):
            share = curve.own[i] / curve.heap[i] if curve.heap[i] else float("nan")
            found.append(
                [
                    curve.what if i == 0 else "",
                    curve.mode if i == 0 else "",
                    f"{size:,}",
                    f"{curve.plain[i]:.2f}",
                    f"{curve.ratios()[i]:.2f}",
                    f"{curve.own[i] / 2**20:.1f}",
                    f"{curve.own[i] / size:,.0f}" if curve.unit in ("blocks", "stacks") else "-",
                    f"{share:.0%}",
                ]
            )
    return found


HEAD = ["", "mode", "size", "plain s", "ratio", "own MiB", "own bytes each", "of tracked heap"]


def text(curves: Sequence[Curve]) -> str:
    """The curves as a table."""
    body = [HEAD, *lines(curves)]
    widths = [max(len(line[i]) for line in body) for i in range(len(HEAD))]
    rows = [
        f"  {line[0]:<{widths[0]}}  {line[1]:<{widths[1]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[2:], widths[2:], strict=True))
        for line in body
    ]
    return "\n".join(
        ["Growth: ratio of CPU time to plain of the same pattern, own memory", "", *rows]
    )


def bars_of(curves: Sequence[Curve]) -> Iterator[bars.Bar]:
    """Growth of the judged curves, and own memory at their largest size."""
    judged = {(what, mode) for what, _, _, modes, _ in CURVES.values() for mode in modes}
    for curve in curves:
        if (curve.what, curve.mode) not in judged or not curve.sizes:
            continue
        name = f"{curve.what}, {curve.mode}"
        sizes = f"{curve.sizes[0]:,} to {curve.sizes[-1]:,}"
        yield bars.Bar(f"{name}: growth of the ratio", _GROWTH, curve.growth(), "", sizes)
        if curve.heap[-1]:
            share = bars.own_share(curve.own[-1], curve.heap[-1], curve.stacks[-1])
            what = f"{name}: own memory above 8 MB and 128 B a stack"
            yield bars.Bar(what, bars.SHARES[curve.mode], share)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=f"comma separated, of: {','.join(CURVES)}")
    parser.add_argument(
        "--wheel", type=Path, help="measure this wheel instead of building the tree"
    )
    arguments = parser.parse_args()
    only = [name for name in arguments.only.split(",") if name]
    for name in only:
        if name not in CURVES:
            parser.error(f"{name} is none of {', '.join(CURVES)}")
    curves = measured(arguments.wheel, arguments.small, arguments.rounds, only)
    print(text(curves), "", bars.text(list(bars_of(curves))), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
