"""mmap: what of it is in the peak, and what stands apart."""

import mmap
import signal
import sys
import tempfile

import pytest
from native_extension import program
from shared_fixtures import needs_gil

import cmemray

READ_WRITE = 3
PRIVATE, SHARED, ANONYMOUS, NORESERVE = 2, 1, 0x20, 0x4000
MB = 1 << 20


def mapping(size, *, prot=READ_WRITE, flags=PRIVATE | ANONYMOUS, slot=0):
    return ("mmap", slot, size, prot | flags << 8)


def run(native, *steps, **options):
    whole = program(*steps)
    # A test runner's own thread allocates when a message comes.
    with cmemray.measure(threads="test", **options) as m:
        native.run(whole)
    native.clear()
    return m


@needs_gil
def test_private_writable_counts(native):
    m = run(native, mapping(5 * MB))
    assert (m.peak, m.leaked, m.count) == (5 * MB, 5 * MB, 1)


@pytest.mark.parametrize("blocked", [False, True])
def test_where_a_handler_may_run_no_frame_is_read_that_may_not_be_there(native, blocked):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2} if blocked else set())
    try:
        m = run(native, mapping(5 * MB), attribution="exact")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    [row] = [row for row in m.locations_at_peak() if row.size >= 5 * MB]
    # CPython 3.13 and newer have their top frame in place at any moment.
    assert bool(row.frames) == (not blocked or sys.version_info >= (3, 13))


@pytest.mark.parametrize("prot", [0, 1])
def test_unwritable_counts_from_mprotect(native, prot):
    assert run(native, mapping(5 * MB, prot=prot)).peak == 0
    m = run(native, mapping(5 * MB, prot=prot), ("mprotect", 0, 0, READ_WRITE))
    assert (m.peak, m.count) == (5 * MB, 1)


def test_large_reserves_stand_apart(native):
    m = run(native, mapping(64 * MB, flags=PRIVATE | ANONYMOUS | NORESERVE))
    assert m.peak == 0
    assert m.apart["reserved"] == (64 * MB, 0)
    m = run(native, mapping(63 * MB, flags=PRIVATE | ANONYMOUS | NORESERVE))
    assert m.peak == 63 * MB
    assert m.apart["reserved"] == (0, 0)


def test_shared_stands_apart(native):
    m = run(native, mapping(2 * MB, flags=SHARED | ANONYMOUS))
    assert m.peak == 0
    assert m.apart["shared"] == (2 * MB, 0)


def test_touched_pages_are_resident():
    with cmemray.measure() as m:
        shared = mmap.mmap(-1, 64 * 4096)
        shared[: 16 * 4096] = b"x" * (16 * 4096)
    mapped, resident = m.apart["shared"]
    assert mapped == 64 * 4096
    assert resident == 16 * 4096
    shared.close()


def test_files_stand_apart():
    with tempfile.TemporaryFile() as file:
        file.truncate(MB)
        with cmemray.measure() as m:
            mapped = mmap.mmap(file.fileno(), MB)
        assert m.peak < 10_000
        assert m.apart["file"][0] == MB
        mapped.close()


def test_all_of_them_count_in_basis_system(native):
    for step in (
        mapping(5 * MB, prot=0),
        mapping(64 * MB, flags=PRIVATE | ANONYMOUS | NORESERVE),
        mapping(2 * MB, flags=SHARED | ANONYMOUS),
    ):
        m = run(native, step, basis="system")
        assert m.peak == step[2]


def test_python_s_own_stock_does_not_count():
    """Arenas and frame stacks are not asked for by the program."""

    def deep(depth):
        return deep(depth - 1) if depth else None

    with cmemray.measure(attribution="exact") as m:
        held = [(i, i) for i in range(60_000)]
        deep(800)
    assert not any(row.allocator == "mmap" for row in m.locations_at_peak())
    del held
