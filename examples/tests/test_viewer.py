import pytest
from gallery.viewer import Page, Viewer


def look_at_some() -> None:
    viewer = Viewer()
    for number in range(5):
        assert viewer.show(number).number == number


@pytest.mark.limit_leaks("10 KB")
def test_looking_leaves_no_memory_behind() -> None:
    look_at_some()


def is_a_page(obj: object) -> bool:
    return isinstance(obj, Page)


@pytest.mark.limit_leaked_objects(filter_fn=is_a_page)
def test_looking_leaves_no_page_behind() -> None:
    look_at_some()


def test_pages_are_numbered() -> None:
    assert Viewer().show(3).number == 3
