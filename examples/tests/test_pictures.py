import pytest
from gallery import pictures


@pytest.fixture
def picture() -> pictures.Picture:
    return pictures.take(1024, 1024)


@pytest.mark.limit_leaks("10 KB")
def test_a_thumbnail_is_a_sixteenth(picture: pictures.Picture) -> None:
    assert len(pictures.thumbnail(picture).pixels) == len(picture.pixels) // 16


@pytest.mark.limit_leaks("10 KB")
def test_a_picture_that_is_cut_off_is_refused(picture: pictures.Picture) -> None:
    cut = picture._replace(pixels=picture.pixels[:1000])
    for _ in range(3):
        with pytest.raises(ValueError, match="cut off"):
            pictures.thumbnail(cut)


@pytest.mark.limit_memory("30 MB")
def test_a_contact_sheet_by_two_threads() -> None:
    assert len(pictures.contact_sheet(range(12), workers=2)) == 12


@pytest.mark.limit_memory("3 MB")
def test_a_contact_sheet_takes_little_memory() -> None:
    assert len(pictures.contact_sheet(range(12), workers=4)) == 12
