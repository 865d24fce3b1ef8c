import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmemray.sizes import format_size, format_sizes, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10 MB", 10 * 1024**2),
        ("10MiB", 10 * 1024**2),
        ("10 mib", 10 * 1024**2),
        ("1.5 GB", 3 * 512 * 1024**2),
        ("+1 KB", 1024),
        (".5 KB", 512),
        ("2. KB", 2048),
        ("1 TB", 1024**4),
        ("1 PiB", 1024**5),
        ("100 B", 100),
        ("0 B", 0),
        (" 1 KB ", 1024),
        # A limit of 1.5 bytes is passed by the second byte.
        ("1.5 B", 2),
        ("10.01 MB", 10496246),
        (1048576, 1048576),
        (0, 0),
    ],
)
def test_valid_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    (
        *("", "1 G", "10 KBANANAS", "1 KB junk", "1 B KB", "-1 KB", "100", "1e3 KB", "KB"),
        *("1,5 MB", "1 kib b", "0x10 B", "\u0661 B", "nan B", "inf MB", "1 MB\0", "\n"),
    ),
)
def test_texts_that_are_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        parse_size(text)


@pytest.mark.parametrize("value", [True, False, 1.0, None, b"1 KB", ["1 KB"]])
def test_other_types_are_no_size(value: object) -> None:
    with pytest.raises(TypeError, match='not a size such as "10 MB"'):
        parse_size(value)  # type: ignore[arg-type]


def test_a_negative_number_is_no_size() -> None:
    with pytest.raises(ValueError, match="-1 is negative"):
        parse_size(-1)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.0B"),
        (100, "100.0B"),
        (1023, "1023.0B"),
        (1024, "1.0KiB"),
        (2048, "2.0KiB"),
        (1024**2 - 1, "1.0MiB"),
        (1024**2, "1.0MiB"),
        (3 * 512 * 1024**2, "1.5GiB"),
        (5000 * 1024**5, "5000.0PiB"),
    ],
)
def test_shown_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


def test_different_sizes_of_one_sentence_look_different() -> None:
    assert format_sizes(1024, 2048) == ("1.0KiB", "2.0KiB")
    assert format_sizes(2048, 2048) == ("2.0KiB", "2.0KiB")
    assert format_sizes(500_000, 500_001) == (
        "488.3KiB (500000 bytes)",
        "488.3KiB (500001 bytes)",
    )


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_two_sizes_look_alike_only_when_they_are(one: int, other: int) -> None:
    first, second = format_sizes(one, other)
    assert (first == second) == (one == other)


@given(st.integers(0, 1024**5))
def test_a_shown_size_reads_back_to_about_itself(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06, abs=1)
