"""Numbers, buffers, arrays, threads."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction


def _prices(n: int) -> Iterator[Decimal]:
    for i in range(n):
        yield Decimal(i) / Decimal(7) + Decimal("0.01")


def _taxed(prices: Iterator[Decimal]) -> Iterator[tuple[Decimal, Decimal]]:
    for price in prices:
        yield price, (price * Decimal("0.19")).quantize(Decimal("0.0001"))


def decimals() -> Decimal:
    """Decimals and fractions through a pipeline of generators."""
    pairs = list(_taxed(_prices(60_000)))
    total = sum((price + tax for price, tax in pairs), Decimal(0))
    series = [Fraction(1, i) + Fraction(i, i + 1) for i in range(1, 6_000)]
    return total + len({part.denominator for part in series})


def buffers() -> int:
    """Bytes: growing, slicing, packing, compressing."""
    grown = bytearray()
    packets = []
    for i in range(30_000):
        packet = struct.pack("<IHB", i, i % 1000, i % 7) + bytes(i % 700)
        packets.append(packet)
        grown += packet
    parts = [bytes(grown[i : i + 900]) for i in range(0, len(grown), 900)]
    packed = [zlib.compress(b"".join(packets[i : i + 100]), 1) for i in range(0, len(packets), 100)]
    return len(parts) + sum(len(zlib.decompress(one)) for one in packed)


def arrays() -> float:
    """numpy: many small temporaries, some large ones."""
    import numpy

    total = 0.0
    for i in range(1, 6_000):
        a = numpy.arange(i % 500 + 8, dtype=float)
        b = (a * 2 + 1) / (a + 3)
        total += float(numpy.sort(b[::-1] - a).sum())
    large = numpy.ones((700, 700))
    for _ in range(12):
        large = (large @ large.T) / 700 + numpy.eye(700)
    return total + float(large.mean())


def _work(out: list[list[str]], n: int) -> None:
    mine = []
    for i in range(n):
        mine.append(f"{n}-{i}")
        if i % 3 == 0:
            mine.append("x" * (i % 900))
    out.append(sorted(mine))


def threads() -> int:
    """Four threads that fill lists of strings."""
    out: list[list[str]] = []
    workers = [threading.Thread(target=_work, args=(out, 50_000 + i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(len(one) for one in out)
