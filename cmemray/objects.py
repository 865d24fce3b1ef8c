"""Python objects that outlive a block, with the stacks that made them."""

from __future__ import annotations

from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from cmemray.location import Frames, LeakedObject

if TYPE_CHECKING:
    from cmemray._core import ObjectTracer


class track_objects:
    """Context manager that finds the objects created in its block which still live at its end.

    Works on CPython 3.13.3 and newer (not on free-threaded builds); RuntimeError elsewhere. One at a
    time. Call `gc.collect()` at the end of the block, or before stop(), to leave unreachable
    cycles out.
    """

    __slots__ = ("_survivors", "_tracer")

    def __init__(self) -> None:
        from cmemray._load import core

        if not core.OBJECT_TRACING:
            raise RuntimeError(
                "objects can be traced on CPython 3.13.3 and newer, not on free-threaded builds"
            )
        self._tracer: ObjectTracer = core.ObjectTracer()
        self._survivors: list[LeakedObject] = []

    def start(self, root: FrameType | None = None) -> None:
        """Begin. Stacks of this thread end above the frame `root`, which must outlive stop()."""
        self._tracer.start(root)

    def stop(self) -> list[LeakedObject]:
        """End. Returns the survivors, oldest first; the list keeps them alive."""
        raw = self._tracer.stop()
        frames = Frames()
        return [LeakedObject(obj, frames.stack(stack)) for obj, stack in raw]

    @property
    def survivors(self) -> list[LeakedObject]:
        """What the `with` block left behind, oldest first. Empty it to let them go."""
        return self._survivors

    def __enter__(self) -> track_objects:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._survivors = self.stop()
