"""The dearest cases known: deep stacks, blocks that live for one step, threads that all allocate."""

from __future__ import annotations

import sqlite3
import sys
import threading
import zlib
from collections.abc import Callable


def _descend(depth: int, out: list[list[object]], n: int) -> None:
    if depth:
        _descend(depth - 1, out, n)
        return
    for i in range(n):
        out.append([i, str(i), (i, i)])


def _deep(depth: int, times: int, n: int) -> int:
    out: list[list[object]] = []
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, depth + 200))
    try:
        for _ in range(times):
            _descend(depth, out, n)
    finally:
        sys.setrecursionlimit(limit)
    return len(out)


def deep_50() -> int:
    """Small blocks 50 frames down."""
    return _deep(50, 120, 400)


def deep_200() -> int:
    """Small blocks 200 frames down."""
    return _deep(200, 120, 400)


def deep_400() -> int:
    """Small blocks 400 frames down."""
    return _deep(400, 120, 400)


def deep_10000() -> int:
    """Small blocks 10,000 frames down."""
    return _deep(10_000, 3, 16_000)


def _leaf(depth: int, i: int, out: list[str]) -> None:
    if depth:
        _leaf(depth - 1, i + depth % 3, out)
    out.append(f"{depth}-{i}")


def ladder() -> int:
    """Up and down a stack of 60 frames, a block at every step: no two walks are alike."""
    out: list[str] = []
    for i in range(900):
        _leaf(60, i, out)
    return len(out)


def churn() -> int:
    """Numbers that live for one step of a loop: nothing is ever held, so nothing to sample less."""
    total = 0
    for i in range(300_000):
        total += (i * 3) % 1_000_003
    return total


def temporaries() -> int:
    """Strings and lists that live for one step of a loop."""
    total = 0
    for i in range(60_000):
        total += len([str(i), f"{i}-{i}"]) + len((i, i + 0.5))
    return total


def _together(workers: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _fill(out: list[list[str]], n: int) -> None:
    mine = []
    for i in range(n):
        mine.append(f"{n}-{i}")
        if i % 3 == 0:
            mine.append("x" * (i % 900))
    out.append(sorted(mine))


def threads_2() -> int:
    """Two threads that fill lists of strings."""
    out: list[list[str]] = []
    _together(2, lambda i: _fill(out, 60_000 + i))
    return len(out)


def threads_8() -> int:
    """Eight threads that fill lists of strings."""
    out: list[list[str]] = []
    _together(8, lambda i: _fill(out, 15_000 + i))
    return len(out)


def _query(results: list[int]) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id integer primary key, name text, other text)")
    for _ in range(3):
        db.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 12000) "
            "insert into t (name, other) select 'name ' || i, upper('other ' || i * 7) from n"
        )
    (n,) = db.execute("select count(distinct name || other) from t").fetchone()
    db.close()
    results.append(n)


def threads_unlocked() -> int:
    """Four threads inside a library that allocates while the interpreter's lock is free."""
    results: list[int] = []
    _together(4, lambda i: _query(results))
    return sum(results)


def threads_packing() -> int:
    """Four threads that compress and unpack buffers, which lets go of the interpreter's lock."""
    data = [bytes(range(256)) * (20 + i) for i in range(60)]
    sizes: list[int] = []

    def pack(number: int) -> None:
        packed = [zlib.compress(one, 3) for one in data * 4]
        sizes.append(sum(len(zlib.decompress(one)) for one in packed) + number)

    _together(4, pack)
    return sum(sizes)
