"""The compiled part of cmemray: one measured region, and what could not be measured.

Everything here is private; `cmemray.measure` is the public door. Sizes are bytes.
"""

from types import CodeType, FrameType
from typing import Any, TypedDict, final, type_check_only

#: (function, filename, line), innermost call first in a stack.
_Frame = tuple[str, str, int]

#: What an estimate rests on: `Samples` of cmemray.estimate.
_Samples = tuple[float, float, float, float]

#: (bytes, blocks, allocator name, frames, estimated, samples). For estimated rows bytes are already
#: corrected so that all rows of one list add up to the exact total; samples are None for the others.
_Row = tuple[int, int, str, tuple[_Frame, ...], bool, _Samples | None]

BASIS_REQUESTED: int
BASIS_SYSTEM: int
THREADS_ALL: int
THREADS_TEST: int
THREADS_CURRENT: int
#: True when Python frames can be read on this interpreter (layout self-test passed).
PYTHON_STACKS: bool
#: Why PYTHON_STACKS is False, else "".
PYTHON_STACKS_REASON: str
#: True where `ObjectTracer` works: CPython 3.13.3 and newer.
OBJECT_TRACING: bool
#: True when compiled for a free-threaded build.
FREE_THREADED: bool

@type_check_only
class Usage(TypedDict):
    """Numbers of one region, all exact."""

    current: int  # live bytes now
    current_blocks: int
    peak: int  # high water mark, bytes
    peak_blocks: int  # blocks live at the high water mark
    total: int  # sum of all requested sizes
    count: int  # number of allocations
    sampling_period: int  # bytes; 1 = every block has its location
    peak_without_old_threads: int  # high water mark of blocks that no older thread allocated
    old_threads_at_peak: int  # bytes held at the high water mark by threads older than the region
    resized_old_bytes: int  # new sizes of blocks resized here that are older than the region
    largest_block: int  # bytes

@type_check_only
class Apart(TypedDict):
    """Mappings of basis "requested" that stand apart from the peak: (bytes mapped at the most,
    bytes resident at the end)."""

    reserved: tuple[int, int]  # writable MAP_NORESERVE of at least 64 MiB
    shared: tuple[int, int]  # shared anonymous
    file: tuple[int, int]  # file mappings

@type_check_only
class Losses(TypedDict):
    """What the tracker could not record; any non-zero number makes a region incomplete."""

    blocks: int  # blocks that found no room in the block table
    stacks: int  # stacks that found no room, or could not be read
    threads: int  # threads for which no state could be allocated
    mappings: int
    hooks: int  # objects whose relocation slots could not be patched
    replaced: int  # objects in whose slots another tool put its functions
    allocators: int  # times that another tool took the hooks of Python's allocators away

@final
class Region:
    """A stretch of the program whose allocations are counted apart from all others.

    A region counts from start() to stop(). At most 16 are open at a time; each is right for itself.
    """

    def __init__(
        self,
        *,
        basis: int = ...,
        exact: bool = ...,
        max_period: int = ...,
        first_period: int = ...,
        threads: int = ...,
        trace_python_allocators: bool = ...,
        seed: int = ...,
    ) -> None: ...
    def again(self, seed: int, first_period: int, /) -> Region:
        """A new one with the options of this one, but for these two and the root."""
    def start(self, root: FrameType | None = None) -> None:
        """Begin. `root`: stacks of this thread end above this frame, which must outlive stop()."""
    def begin(self, root: FrameType | None = None) -> None:
        """start(), with the free lists emptied before if no region runs."""
    def end(self, collect: bool | int | None, /) -> None:
        """seal(), collect garbage, empty the free lists, stop(). No effect when not running.

        `collect`: True for a full collection; a number for one if so many bytes are live when the
        young garbage is gone; None to leave garbage and free lists alone.
        """
    def figures(self) -> tuple[int, int, int, int, int, bool]:
        """(peak, total, count, current, microseconds from seal() to stop(), is more to be said).

        More is to be said of children, losses, memory apart and old threads, and before stop().
        """
    def seal(self) -> None:
        """Close the peak: peak, total, count and the locations at the peak no longer change."""
    def stop(self) -> None:
        """End; what is live now are the leaks. Seals if seal() was not called."""
    def is_running(self) -> bool:
        """Has it been started, and not stopped?"""
    def is_forked(self) -> bool:
        """Is this a child process, forked after start()?"""
    def closing_time(self) -> float:
        """Seconds from seal() to stop(); 0.0 before stop()."""
    def usage(self) -> Usage: ...
    def apart(self) -> Apart: ...
    def losses(self) -> Losses: ...
    def locations_at_peak(self) -> list[_Row]:
        """Largest first. Right after seal() or stop(); before that, for the peak so far."""
    def leaks(self) -> list[_Row]:
        """Live blocks by location, largest first. After stop(): the leaks."""
    def largest_located(self) -> _Row | None:
        """The largest of all blocks that were sampled, in a region that is not exact; else None."""
    def old_threads(self) -> list[tuple[int, int, int]]:
        """(native thread id, bytes allocated here, blocks) of threads older than the region."""
    def children(self) -> dict[str, int]:
        """Child processes started while the region was open, by the function that started them
        ("fork", "vfork", "posix_spawn", "system", "popen"); only non-zero counts."""

@final
class ObjectTracer:
    """Python objects created, and not destroyed, between start() and stop() (3.13.3+)."""

    def __init__(self) -> None: ...
    def start(self, root: FrameType | None = None) -> None: ...
    def stop(self) -> list[tuple[Any, tuple[_Frame, ...]]]:
        """(object, creation stack) of every survivor, oldest first; the list keeps them alive."""

def install() -> dict[str, int]:
    """Patch the relocation slots of all loaded objects, once. Called by the first start().

    Returns {"objects", "slots", "failed"}: counts of patched objects, slots, and failures.
    """

def n_running() -> int:
    """Number of regions that run now."""

def status() -> dict[str, int]:
    """Own memory and table sizes, in bytes and entries, for tests and diagnostics."""

def private_allocators() -> list[tuple[str, str]]:
    """(file, allocator) of loaded objects with an allocator of their own, which is not measured."""

def lookups() -> list[tuple[str, str]]:
    """(file, function) of intercepted functions whose address was taken with dlsym.

    The file is the one of the first caller, "" if it is gone. Only lookups of objects whose slots
    were patched by then are known: those after the first measurement has begun.
    """

def empty_free_lists() -> bool:
    """Drop the interpreter's free lists and reset the collection counters (about 0.3 microseconds).

    False, and nothing done, when the program holds frozen objects of its own, or on a
    free-threaded build.
    """

def decode_lines(code: CodeType, /) -> list[int]:
    """Line of every code unit of `code`, by the decoder that reports use (for tests)."""
