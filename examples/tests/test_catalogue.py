from collections.abc import Iterator

import pytest
from gallery import catalogue


def lines(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"IMG_{number:06}.JPG;X100 no. {number % 7};{number * 1000}\n"


@pytest.mark.limit_memory("100 KB")
def test_size_of_all_photos_one_by_one() -> None:
    assert catalogue.total_size(catalogue.read(lines(20_000))) == 199_990_000_000


@pytest.mark.limit_memory("1 MB")
def test_size_of_all_photos_at_once() -> None:
    assert catalogue.total_size(catalogue.read_all(lines(20_000))) == 199_990_000_000
