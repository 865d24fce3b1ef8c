"""`measure`: the memory that a block of code asks for."""

from __future__ import annotations

from binascii import crc32
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn

from cmemray.errors import LimitExceeded, MeasurementError
from cmemray.location import Location, OldThread, locations
from cmemray.sizes import format_size, parse_size

if TYPE_CHECKING:
    from cmemray._core import Apart, Losses, Region, Usage

_BASES = ("requested", "system")
_ATTRIBUTIONS = ("exact", "budgeted", None)
_THREADS = ("all", "test", "current")
#: Largest sampling period, bytes; and so many samples, at least, make up a peak that reaches its
#: limit.
_MAX_PERIOD = 65536
_SAMPLES = 2048


#: What a loss of each kind means.
_LOST = {
    "blocks": "{} blocks",
    "stacks": "{} stacks",
    "threads": "{} threads",
    "mappings": "{} mappings",
    "hooks": "{} libraries' calls",
    "allocators": "Python's objects since another tool removed the tracker's hooks ({} times)",
}


class measure:
    """Context manager that counts the memory its block asks for. All sizes are bytes.

    limit: fail (`LimitExceeded`) when the peak reaches this many bytes; a number, or a text such as
        "50 MB".
    basis: "requested" counts every request once, where it is made: Python objects at the size asked
        for, else malloc and its kin, else private writable mappings. "system" counts malloc and
        mmap wherever they are called from, the stock of Python's own allocator included.
    attribution: "exact" keeps the location of every block; "budgeted" samples large peaks, so that
        a measurement stays cheap. None: exact in basis "system", else budgeted. Totals are exact
        in each.
    threads: "all" counts every thread, "test" the calling one and those started after it began,
        "current" the calling one only.
    trace_python_allocators: in basis "system", count Python's objects one by one too.
    root: stacks of this thread end above this frame, which must outlive the block.
    seed: for the samples; an equal seed gives equal estimates for an equal run.
    locate_from: locations are of interest only for peaks of so many bytes or more. Sampling then
        begins as coarse as that allows, which spares small blocks and small peaks the work.
    collect: collect garbage fully before leaks are read. A number: only when at least so many bytes
        are live after the young garbage is gone, since a full collection takes long in a large
        program. None: leaks are of no interest, so nothing is collected at the end.

    Blocks may nest and overlap, in one thread or several; each is right for itself. Numbers may be
    read inside the block (for the moment) and after it. A measurement runs once.
    """

    __slots__ = (
        "__weakref__",
        "_collect",
        "_limit",
        "_old_threads",
        "_region",
        "root",
    )

    def __init__(
        self,
        *,
        limit: int | str | None = None,
        basis: str = "requested",
        attribution: str | None = None,
        threads: str = "all",
        trace_python_allocators: bool = False,
        root: FrameType | None = None,
        seed: int | str | None = None,
        locate_from: int | str = 0,
        collect: bool | int | None = False,
    ) -> None:
        from cmemray._load import core

        self._limit = _check_limit(limit)
        _check_choice("basis", basis, _BASES)
        _check_choice("attribution", attribution, _ATTRIBUTIONS)
        _check_choice("threads", threads, _THREADS)
        _check_type("trace_python_allocators", trace_python_allocators, bool)
        if collect is not None:
            _check_type("collect", collect, int)
        if root is not None:
            _check_type("root", root, FrameType)
        #: Stacks of the starting thread end above this frame; may be set until start().
        self.root = root
        self._collect = collect
        self._old_threads: list[OldThread] | None = None
        exact = basis == "system" if attribution is None else attribution == "exact"
        self._region: Region = core.Region(
            basis=_BASES.index(basis),
            exact=exact,
            max_period=_MAX_PERIOD if self._limit is None else _period(self._limit),
            first_period=_period(parse_size(locate_from)),
            threads=_THREADS.index(threads),
            trace_python_allocators=trace_python_allocators,
            seed=_seed(seed),
        )

    def again(self, *, seed: int | str | None = None, locate_from: int = 0) -> measure:
        """A new measurement with the settings of this one, but for `root`, and these two.

        Cheaper than to make one anew. `locate_from` is a number of bytes.
        """
        new = object.__new__(measure)
        new._limit = self._limit
        new._collect = self._collect
        new._old_threads = None
        new.root = None
        new._region = self._region.again(_seed(seed), _period(locate_from))
        return new

    # --- run ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to count; what `with` does first."""
        # Empties the interpreter's free lists: what comes from them is never requested. Nothing of
        # ours may come after this. Nor may objects be made before it, or in stop(): other
        # measurements that run would count them.
        self._region.begin(self.root)

    def stop(self) -> None:
        """End. First the peak is closed, then free lists are emptied, then leaks are read.

        The second call and later ones do nothing. Does not compare with the limit; see check().
        """
        try:
            self._region.end(self._collect)
        finally:
            self.root = None

    def check(self) -> None:
        """Raise `LimitExceeded` if the limit was reached, `MeasurementError` if that is unknown.

        Memory held by threads older than the measurement does not count against the limit. In the
        child of a fork, where nothing is measured, nothing is checked.
        """
        if self._limit is None or self._region.is_forked():
            return
        if self.peak_without_old_threads >= self._limit:
            self._raise_over(self._limit)
        if self.incomplete:
            raise MeasurementError(
                f"the limit of {format_size(self._limit)} cannot be checked: "
                f"{self.incomplete_reason}"
            )

    def __enter__(self) -> measure:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None:
            self.check()

    def _raise_over(self, limit: int) -> NoReturn:
        from cmemray import explain

        paths = explain.Paths()
        try:
            held = self.locations_at_peak()
        except MemoryError:
            held = []  # the limit was reached, whoever did it
        largest = self.largest_located()
        text = explain.limit_sentence(
            limit, self.peak, held, paths, subject="Block", largest=largest
        )
        listed = explain.location_list(explain.by_own_line(held, paths), self.peak, paths)
        raise LimitExceeded(f"{text}\nList of allocations:\n{listed}" if listed else text)

    # --- numbers ------------------------------------------------------------------------------

    # Nothing is kept here: what the interpreter frees when a measurement is dropped, maybe inside
    # another one, would go to its free lists.
    def _numbers(self) -> Usage:
        return self._region.usage()

    @property
    def is_forked(self) -> bool:
        """Whether this is the child of a fork, and the measurement its parent's."""
        return self._region.is_forked()

    @property
    def figures(self) -> tuple[int, int, int, int, int, bool]:
        """The numbers that matter most, read at once: peak, total, count, left at the end (inside:
        now), microseconds of collections at the end, and whether there is more to say.

        More is to be said of children, losses, memory apart, threads older than the measurement, and
        in the child of a fork.
        """
        return self._region.figures()

    @property
    def peak(self) -> int:
        """The most bytes that were live at once. Always exact."""
        return self._numbers()["peak"]

    @property
    def peak_blocks(self) -> int:
        """Blocks that were live at the peak."""
        return self._numbers()["peak_blocks"]

    @property
    def total(self) -> int:
        """Bytes allocated in all, freed or not."""
        return self._numbers()["total"]

    @property
    def count(self) -> int:
        """Number of allocations."""
        return self._numbers()["count"]

    @property
    def current(self) -> int:
        """Bytes live now, or at the end."""
        return self._numbers()["current"]

    @property
    def leaked(self) -> int:
        """Bytes allocated in the block and still live at its end (inside: now). Always exact."""
        return self._numbers()["current"]

    @property
    def largest_block(self) -> int:
        """Bytes of the largest single allocation."""
        return self._numbers()["largest_block"]

    @property
    def resized_old_bytes(self) -> int:
        """New sizes of blocks that are older than the measurement and were resized in it.

        They count as new blocks of their full size, so this much of the total (and maybe of the
        peak) may have been there before.
        """
        return self._numbers()["resized_old_bytes"]

    @property
    def peak_without_old_threads(self) -> int:
        """The peak of what threads older than the measurement did not allocate, bytes."""
        return self._numbers()["peak_without_old_threads"]

    @property
    def old_threads_at_peak(self) -> int:
        """Bytes of the peak that threads older than the measurement had allocated."""
        return self._numbers()["old_threads_at_peak"]

    @property
    def old_threads(self) -> list[OldThread]:
        """Threads older than the measurement that allocated in it, and how much (freed or not)."""
        if self._old_threads is not None:
            return list(self._old_threads)
        raw = self._region.old_threads()
        names = _thread_names() if raw else {}
        found = [
            OldThread(names.get(number) or _task_name(number), number, size, count)
            for number, size, count in raw
        ]
        if not self._region.is_running():
            self._old_threads = found
        return list(found)

    @property
    def sampling_period(self) -> int:
        """Locations stand for one in so many bytes; 1: every block has its location."""
        return self._numbers()["sampling_period"]

    @property
    def estimated(self) -> bool:
        """Whether sizes by location are estimates. Totals never are."""
        return self.sampling_period > 1

    @property
    def apart(self) -> Apart:
        """Mappings of basis "requested" beside the peak: (bytes mapped at most, resident at the end).

        "reserved": address space reserved without memory (MAP_NORESERVE, 64 MiB or more); "shared":
        shared anonymous mappings; "file": file mappings.
        """
        return self._region.apart()

    @property
    def losses(self) -> Losses:
        """How many events of each kind could not be recorded, because memory was refused."""
        return self._region.losses()

    @property
    def incomplete(self) -> bool:
        """Whether something could not be recorded; then a limit cannot be relied on."""
        return any(self.losses.values())

    @property
    def incomplete_reason(self) -> str:
        """What could not be recorded, as text; "" when complete."""
        losses = self.losses
        replaced = losses["replaced"]
        lost = [_LOST[kind].format(n) for kind, n in losses.items() if n and kind in _LOST]
        said = [f"{', '.join(lost)} could not be recorded"] if lost else []
        if replaced:
            libraries, them = ("libraries", "them") if replaced > 1 else ("library", "it")
            said.append(
                f"another tool has replaced malloc in {replaced} {libraries}: calls from {them} "
                "are not measured"
            )
        return "; ".join(said)

    @property
    def children(self) -> dict[str, int]:
        """Child processes started meanwhile, which were not measured, by the function that did."""
        return self._region.children()

    @property
    def collection_time(self) -> float:
        """Seconds spent at the end in collecting garbage and emptying free lists, 0.0 before."""
        return self._region.closing_time()

    def locations_at_peak(self) -> list[Location]:
        """Who held the peak, largest first. Inside the block: the peak so far."""
        return locations(self._region.locations_at_peak())

    def largest_located(self) -> Location | None:
        """The largest single block that was sampled, of those ever allocated; None in exact mode.

        For a small peak that no sample is left of, since much was allocated and freed before it.
        """
        row = self._region.largest_located()
        return locations([row])[0] if row else None

    def leaks(self) -> list[Location]:
        """Who allocated what is live at the end (inside: now), largest first."""
        return locations(self._region.leaks())


def _check_limit(limit: int | str | None) -> int | None:
    if limit is None:
        return None
    size = parse_size(limit)
    if size == 0:
        raise ValueError(f"limit {limit!r} is reached by any block: it must be at least 1 byte")
    return size


def _check_choice(name: str, value: str | None, valid: tuple[str | None, ...]) -> None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} {value!r} is a {type(value).__name__}, not {_either(valid)}")
    if value not in valid:
        raise ValueError(f"{name} {value!r} is not {_either(valid)}")


def _either(valid: tuple[str | None, ...]) -> str:
    *most, last = [repr(choice) for choice in valid]
    return f"{', '.join(most)} or {last}"


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        wanted = {FrameType: "a frame", int: "a number"}.get(kind, f"a {kind.__name__}")
        raise TypeError(f"{name} {value!r} is a {type(value).__name__}, not {wanted}")


def _period(peak: int) -> int:
    """The largest sampling period that leaves a peak of so many bytes its samples."""
    if peak >= _SAMPLES * _MAX_PERIOD:
        return _MAX_PERIOD
    return 1 << (peak // _SAMPLES).bit_length() >> 1 or 1


def _seed(seed: int | str | None) -> int:
    if seed is None:
        return 0
    if isinstance(seed, bool) or not isinstance(seed, (int, str)):
        raise TypeError(f"seed {seed!r} is a {type(seed).__name__}, not a number or text")
    if isinstance(seed, int):
        return seed % 2**64
    return crc32(seed.encode("utf-8", "surrogatepass"))


def _thread_names() -> dict[int, str]:
    import threading

    return {t.native_id: t.name for t in threading.enumerate() if t.native_id is not None}


def _task_name(native_id: int) -> str:
    """The system's name of a thread that Python does not know (or no more)."""
    if native_id == 0:
        return "other threads"
    try:
        with open(f"/proc/self/task/{native_id}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().rstrip("\n") or f"thread {native_id}"
    except OSError:
        return f"thread {native_id}"
