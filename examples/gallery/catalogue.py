"""The catalogue: one line of text per photo."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Photo(NamedTuple):
    name: str
    camera: str
    size: int


def read_all(lines: Iterable[str]) -> list[Photo]:
    """Every photo of a catalogue, at once."""
    rows = [line.rstrip("\n").split(";") for line in lines]
    return [Photo(name, camera, int(size)) for name, camera, size in rows]


def read(lines: Iterable[str]) -> Iterator[Photo]:
    """The photos of a catalogue, one by one."""
    for line in lines:
        name, camera, size = line.rstrip("\n").split(";")
        yield Photo(name, camera, int(size))


def total_size(photos: Iterable[Photo]) -> int:
    return sum(photo.size for photo in photos)
