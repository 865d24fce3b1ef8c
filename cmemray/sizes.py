"""Sizes in bytes, as people write them and as reports show them.

All units are powers of 1024, whichever way they are written: "1 KB", "1 KiB" and 1024 are the same.
"""

from __future__ import annotations

import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_EXPONENT = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE = re.compile(r"\s*\+?(\d+(?:\.\d*)?|\.\d+)\s*(b|[kmgtp]i?b)\s*", re.IGNORECASE | re.ASCII)

#: What parse_size accepts, for error messages.
VALID_SIZES = 'a size such as "10 MB", "1.5 GiB" or "100 B", or a whole number of bytes'


def parse_size(value: int | str) -> int:
    """Number of bytes meant by `value`: a text with a unit, or a whole number of bytes.

    A fraction of a byte counts as a whole one. Raises TypeError for another type (bool and
    float among them) and ValueError for a negative number or a text that is no size; the
    message says what is valid.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{value!r} is a {type(value).__name__}, not {VALID_SIZES}")
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} is negative, not {VALID_SIZES}")
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not {VALID_SIZES}")
    number, unit = match.groups()
    whole, _, fraction = number.partition(".")
    factor: int = 1024 ** _EXPONENT[unit[0].lower()]
    # Rounded up, in whole numbers: a float would not hold each.
    divisor: int = 10 ** len(fraction)
    return -(-int(whole + fraction) * factor // divisor)


def format_size(size: float) -> str:
    """`size` bytes with one decimal and no space: 2048 -> "2.0KiB"."""
    number, unit = _scale(size)
    return f"{number:.1f}{unit}"


def format_sizes(*sizes: int) -> tuple[str, ...]:
    """Several sizes as format_size has them, but with exact bytes where different ones would look alike.

    The sizes of one sentence are compared by its reader: "488.3KiB but now 488.3KiB" tells nothing.
    """
    texts = tuple(format_size(size) for size in sizes)
    if len(set(texts)) == len(set(sizes)):
        return texts
    return tuple(
        f"{text} ({size} bytes)" if texts.count(text) > 1 else text
        for text, size in zip(texts, sizes, strict=True)
    )


def _scale(size: float) -> tuple[float, str]:
    number = float(size)
    for unit in _UNITS[:-1]:
        # 1023.96 would be shown as 1024.0 of the smaller unit.
        if abs(round(number, 1)) < 1024:
            return number, unit
        number /= 1024
    return number, _UNITS[-1]
