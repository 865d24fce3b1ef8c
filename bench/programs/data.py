"""Containers, objects, JSON, recursion."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field


def rows() -> int:
    """A table of dicts: made, grouped, sorted by several keys, joined with another."""
    table = [
        {"id": i, "name": f"customer {i}", "city": i % 97, "total": i * 1.25, "tags": (i, i + 1)}
        for i in range(60_000)
    ]
    groups: dict[int, list[dict[str, object]]] = {}
    for row in table:
        groups.setdefault(row["city"], []).append(row)  # type: ignore[arg-type]
    ordered = sorted(table, key=lambda row: (row["city"], -row["total"], row["name"]))  # type: ignore[operator]
    names = {city: f"city {city}" for city in groups}
    joined = [{**row, "where": names[row["city"]]} for row in ordered]  # type: ignore[index]
    return len(joined)


def json_documents() -> int:
    """Documents written as text and read back."""
    document = {
        "orders": [
            {"id": i, "lines": [{"sku": f"S{j:05}", "n": j, "price": j / 7} for j in range(8)]}
            for i in range(1_500)
        ]
    }
    size = 0
    for _ in range(4):
        written = json.dumps(document, indent=1, sort_keys=True)
        document = json.loads(written)
        size += len(written)
    return size


@dataclass
class Node:
    """A node of a binary search tree."""

    key: int
    note: str
    left: Node | None = None
    right: Node | None = None
    history: list[int] = field(default_factory=list)


class Point:
    """Two numbers, in slots."""

    __slots__ = ("x", "y")

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y

    def __add__(self, other: Point) -> Point:
        return Point(self.x + other.x, self.y + other.y)


def _insert(root: Node, key: int) -> None:
    here = root
    while True:
        here.history.append(key)
        if key < here.key:
            if here.left is None:
                here.left = Node(key, f"n{key}")
                return
            here = here.left
        else:
            if here.right is None:
                here.right = Node(key, f"n{key}")
                return
            here = here.right


def objects() -> float:
    """A tree of instances with attributes, and short-lived instances with slots."""
    key, root = 1, Node(1 << 30, "root")
    for _ in range(20_000):
        key = (key * 1_103_515_245 + 12_345) % (1 << 31)
        _insert(root, key)
    total = Point(0.0, 0.0)
    for i in range(150_000):
        total = total + Point(i, 0.5)
    return total.x


def _permutations(rest: tuple[int, ...], done: tuple[int, ...], out: list[tuple[int, ...]]) -> None:
    if not rest:
        out.append(done)
        return
    for i, one in enumerate(rest):
        _permutations(rest[:i] + rest[i + 1 :], (*done, one), out)


def recursion() -> int:
    """All orders of eight things, by recursion that copies tuples at every step."""
    out: list[tuple[int, ...]] = []
    _permutations(tuple(range(8)), (), out)
    merged = {}
    for order in out:
        merged[order] = sum(a * b for a, b in itertools.pairwise(order))
    return len(merged)
