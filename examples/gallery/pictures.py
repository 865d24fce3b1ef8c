"""Grey pictures, their thumbnails, and sheets of thumbnails."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from gallery import _scale


class Picture(NamedTuple):
    pixels: bytes
    width: int
    height: int


def take(width: int, height: int) -> Picture:
    """A picture of a grey wall."""
    return Picture(bytes([128]) * (width * height), width, height)


def thumbnail(picture: Picture, factor: int = 4) -> Picture:
    small = _scale.shrink(picture.pixels, picture.width, picture.height, factor)
    return Picture(small, picture.width // factor, picture.height // factor)


def develop(number: int) -> Picture:
    """One picture of a film: 2 MB until it is a thumbnail."""
    return thumbnail(take(2048, 1024))


def contact_sheet(numbers: Sequence[int], workers: int) -> list[Picture]:
    """Thumbnails of a film, made by several threads at once."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(develop, numbers))
