"""Looks at pictures, and remembers them."""

from gallery.pictures import Picture, take


class Page:
    """A picture on the screen."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.picture: Picture = take(320, 200)


class Viewer:
    #: Shared by all viewers, and never emptied.
    _history: list[Page] = []  # noqa: RUF012

    def show(self, number: int) -> Page:
        page = Page(number)
        self._history.append(page)
        return page
