"""Records and class hierarchies: dataclasses, named tuples, slots, exceptions, views of packed bytes."""

from __future__ import annotations

import contextlib
import copy
import enum
import struct
from collections import Counter, defaultdict, deque, namedtuple
from dataclasses import asdict, dataclass, replace

Trade = namedtuple("Trade", "day symbol amount price")


class Side(enum.Enum):
    BUY = 1
    SELL = 2


@dataclass(frozen=True, slots=True)
class Order:
    """One line of a ledger."""

    number: int
    side: Side
    amount: int
    notes: tuple[str, ...] = ()


def dataclasses_() -> int:
    """Frozen dataclasses made, replaced, compared, hashed, written as dicts."""
    orders = [Order(i, Side(1 + i % 2), i * 3, (f"n{i}",)) for i in range(12_000)]
    doubled = [replace(order, amount=order.amount * 2) for order in orders]
    seen = {order: order.number for order in doubled}
    plain = [asdict(order) for order in doubled[:3_000]]
    return len(seen) + len(plain) + sum(a == b for a, b in zip(orders, doubled, strict=True))


def tuples() -> float:
    """Named tuples grouped, counted and sorted, in deques and default dicts."""
    trades = [Trade(i % 250, f"S{i % 40}", i % 13, i / 3) for i in range(40_000)]
    by_symbol = defaultdict(list)
    window: deque[Trade] = deque(maxlen=500)
    for trade in trades:
        by_symbol[trade.symbol].append(trade._replace(price=trade.price * 1.01))
        window.append(trade)
    often = Counter((trade.symbol, trade.day) for trade in trades)
    ordered = sorted(trades, key=lambda trade: (trade.day, trade.price))
    return ordered[-1].price + len(often) + len(window)


class Shape:
    """The root of a small hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: list[str] = []

    def area(self) -> float:
        return 0.0

    def describe(self) -> str:
        return f"{self.name}: {self.area():.2f}"


class Named(Shape):
    def __init__(self, name: str, label: str) -> None:
        super().__init__(name)
        self.label = label


class Box(Named):
    def __init__(self, width: float, height: float) -> None:
        super().__init__("box", f"{width}x{height}")
        self.width, self.height = width, height

    def area(self) -> float:
        return self.width * self.height


class Stack(Box):
    def __init__(self, boxes: list[Box]) -> None:
        super().__init__(max(box.width for box in boxes), sum(box.height for box in boxes))
        self.boxes = boxes

    def area(self) -> float:
        return sum(box.area() for box in self.boxes) + super().area()


def hierarchies() -> int:
    """Instances four classes deep, made through super(), described and deep-copied."""
    size = 0
    stacks = []
    for i in range(4_000):
        stack = Stack([Box(i % 17 + j, j + 0.5) for j in range(4)])
        stack.tags.extend((stack.label, stack.name))
        stacks.append(stack)
        size += len(stack.describe())
    return size + len(copy.deepcopy(stacks[:500]))


class RowError(ValueError):
    """A row that cannot be read."""

    def __init__(self, row: int, text: str) -> None:
        super().__init__(f"row {row}: {text!r}")
        self.row = row


def _read(row: int, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise RowError(row, text) from error


def exceptions() -> int:
    """Errors raised two calls down, chained, caught, kept; context managers on the way."""
    kept: list[RowError] = []
    total = 0
    for row in range(40_000):
        try:
            with contextlib.suppress(KeyError):
                total += _read(row, "x7" if row % 2 else str(row))
        except RowError as error:
            if row % 40 == 1:
                kept.append(error)
    return total + len(kept)


def views() -> int:
    """Packed records read through memory views, patched in place, gathered again."""
    record = struct.Struct("<IHd")
    packed = bytearray(record.size * 20_000)
    for i in range(20_000):
        record.pack_into(packed, i * record.size, i, i % 500, i / 9)
    view = memoryview(packed)
    parts = [view[i : i + record.size] for i in range(0, len(packed), record.size)]
    numbers = [record.unpack(part) for part in parts]
    chosen = [
        bytes(part) for part, (_, short, _) in zip(parts, numbers, strict=True) if short < 250
    ]
    return len(b"".join(chosen)) + len({number[1] for number in numbers})
