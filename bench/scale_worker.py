"""One pattern of memory use at one size, in a fresh process; prints JSON, or counts under callgrind.

    python bench/scale_worker.py PATTERN MODE LIMIT SIZE [SIZE...]

One size: processor seconds of the pattern alone, bytes by which the resident size rose at the most, the
peak in requested bytes, and how many stacks it has. Several: each is marked as bench/instructions says,
for counting instructions; MODE may then be several too, with commas between them, "plain" first. LIMIT
in bytes is for mode "budgeted", whose sampling period follows it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable

#: So many call lines has a function of the tree of stacks.
BRANCHES = 128
#: Blocks that patterns with another size make.
_BLOCKS = int(os.environ.get("BENCH_SCALE_BLOCKS", "400000"))
_MAP_NORESERVE = 0x4000


def live(n: int) -> int:
    """N small objects live at once, made and dropped in order."""
    kept: list[object] = [None] * n
    make = object
    for i in range(n):
        kept[i] = make()
    kept.clear()
    return 1


def live_large(n: int) -> int:
    """N blocks above 512 bytes live at once: they are kept in another table."""
    kept: list[object] = [None] * n
    make = "x".ljust
    for i in range(n):
        kept[i] = make(520)
    kept.clear()
    return 1


_TREE = "def tree(depth, keep):\n    if not depth:\n        keep(make())\n        return\n" + (
    "    tree(depth - 1, keep)\n" * BRANCHES
)


def stacks(n: int) -> int:
    """N distinct stacks, each with one block that stays: calls three deep from 128 lines each."""
    namespace: dict[str, object] = {"make": object}
    exec(compile(_TREE, "tree.py", "exec"), namespace)
    below = BRANCHES**2
    source = "def root(keep):\n" + "    tree(2, keep)\n" * max(n // below, 1)
    exec(compile(source, "root.py", "exec"), namespace)
    kept: list[object] = []
    if n < below:
        namespace["tree"](1, kept.append)  # type: ignore[operator]
    else:
        namespace["root"](kept.append)  # type: ignore[operator]
    return len(kept)


def _descend(depth: int, out: list[object]) -> None:
    if depth:
        _descend(depth - 1, out)
        return
    for i in range(_BLOCKS // 4):
        out.append([str(i), (i, i)])


def depth(n: int) -> int:
    """So many blocks, N frames down."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), n + 500))
    out: list[object] = []
    _descend(n, out)
    return 4


def threads(n: int) -> int:
    """The same number of blocks in all, in N threads that live at once."""
    begin = threading.Barrier(n)
    each = max(_BLOCKS // n, 1)

    def work() -> None:
        begin.wait()
        mine = [str(i) for i in range(each)]
        mine.sort()

    workers = [threading.Thread(target=work) for _ in range(n)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return 4


def reservation(n: int) -> int:
    """Address space of N GiB, of which a thousand pages are written; small blocks beside it."""
    size = n << 30
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    with mmap.mmap(-1, size, flags=flags) as space:
        for i in range(1000):
            space[i * (size // 1000)] = 1
        kept = [str(i) for i in range(_BLOCKS)]
    return len(kept) > 0


Pattern = Callable[[int], int]
PATTERNS: dict[str, Pattern] = {
    "live": live,
    "live_large": live_large,
    "stacks": stacks,
    "depth": depth,
    "threads": threads,
    "reservation": reservation,
}
#: Patterns whose size is a number of blocks: a hundredth of them warms up.
COUNTED = (live, live_large, stacks)


def measured(mode: str, limit: int) -> contextlib.AbstractContextManager[object]:
    """The measurement of a mode, not yet started."""
    if mode == "plain":
        return contextlib.nullcontext()
    import cmemray

    if mode == "exact":
        return cmemray.measure(attribution="exact")
    return cmemray.measure(limit=max(limit, 64 * 1024))


def resident(what: str) -> int:
    """VmRSS (now) or VmHWM (the most) of this process in bytes."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))


def one(mode: str, limit: int, pattern: Pattern, size: int) -> None:
    """Seconds and bytes."""
    with measured(mode, limit):
        pattern(max(min(size, 1000), size // 100) if pattern in COUNTED else size)
    measurement = measured(mode, limit)
    gc.collect()
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the most so far is what there is now
    before = resident("VmRSS")
    with measurement:
        start = time.process_time()
        n_stacks = pattern(size)
        seconds = time.process_time() - start
    said = {"seconds": seconds, "grown": resident("VmHWM") - before, "stacks": n_stacks}
    print(json.dumps({**said, "peak": getattr(measurement, "peak", 0)}))


def several(modes: list[str], limit: int, pattern: Pattern, sizes: list[int]) -> None:
    """Marks for callgrind: "MODE SIZE"."""
    pattern(sizes[0])
    for mode in modes:
        with measured(mode, limit):
            pattern(sizes[0])
        for size in sizes:
            with measured(mode, limit):
                os.getpriority(os.PRIO_PROCESS, 0)
                os.write(1, b"-\n")
                pattern(size)
                os.getpriority(os.PRIO_PROCESS, 0)
                os.write(1, f"{mode} {size}\t1\n".encode())


def main() -> None:
    pattern, mode = PATTERNS[sys.argv[1]], sys.argv[2]
    limit, *sizes = map(int, sys.argv[3:])
    if len(sizes) == 1:
        one(mode, limit, pattern, sizes[0])
    else:
        several(mode.split(","), limit, pattern, sizes)


if __name__ == "__main__":
    main()
