"""Random programs of allocations, over the real hooks, count as a naive model says."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from model import ANONYMOUS, NORESERVE, PAGE, PRIVATE, PROT_READ, PROT_WRITE, SHARED, Model
from native_extension import program
from shared_fixtures import FREE_THREADED, SANITIZED, undisturbed

from cmemray._load import core

SLOTS = 12
LIBC = ("malloc", "calloc", "posix_memalign", "aligned_alloc", "memalign", "reallocarray", "valloc")
PYTHON = ("raw_malloc", "mem_malloc", "obj_malloc", "raw_calloc", "mem_calloc", "obj_calloc")
#: A sanitizer has one of its own, and takes its memory from inside.
STRDUP = () if SANITIZED else ("strdup",)
READ_WRITE = PROT_READ | PROT_WRITE
#: Where nothing keeps other threads from running, those of the test runner are left out.
OWN_THREADS = core.THREADS_TEST if FREE_THREADED else core.THREADS_ALL
FLAGS = (PRIVATE | ANONYMOUS, PRIVATE | ANONYMOUS | NORESERVE, SHARED | ANONYMOUS)

BASES = {"requested": core.BASIS_REQUESTED, "system": core.BASIS_SYSTEM}
NAMES = ("peak", "peak_blocks", "current", "current_blocks", "total", "count")

small = st.integers(1, 600)
sizes = st.one_of(small, small, st.integers(1, 40_000), st.integers(100_000, 3_000_000))


def aligned_size(operation, size, alignment):
    """A size that `operation` takes: a sanitizer has aligned_alloc take multiples only."""
    if SANITIZED and operation == "aligned_alloc":
        return -(-size // alignment) * alignment
    return size


@st.composite
def block(draw, slot, operations):
    operation = draw(st.sampled_from(operations))
    size = draw(sizes)
    if operation.endswith("calloc") or operation == "reallocarray":
        return operation, slot, draw(st.integers(1, 2000)), draw(st.integers(1, 200))
    if operation in ("posix_memalign", "aligned_alloc", "memalign"):
        alignment = draw(st.sampled_from([16, 32, 64, 4096]))
        return operation, slot, aligned_size(operation, size, alignment), alignment
    if operation == "strdup":
        return operation, slot, draw(st.integers(1, 2000)), 0
    return operation, slot, size, 0


@st.composite
def programs(draw, operations=LIBC + PYTHON + STRDUP):
    """Steps that fit their slots: blocks of all kinds."""
    steps, used = [], {}
    for _ in range(draw(st.integers(1, 60))):
        slot = draw(st.integers(0, SLOTS - 1))
        if slot not in used:
            step = draw(block(slot, operations))
            used[slot] = step[0]
        elif draw(st.booleans()):
            step = ("realloc", slot, draw(sizes), 0)
        else:
            step = ("free", slot, 0, 0)
            del used[slot]
        steps.append(step)
    return steps


@st.composite
def mapping_programs(draw):
    """Steps on mappings only."""
    steps, whole = [], {}
    for _ in range(draw(st.integers(1, 30))):
        slot = draw(st.integers(0, 5))
        if slot not in whole:
            size = draw(st.one_of(st.integers(1, 20), st.just(17 << 10))) * PAGE
            size -= draw(st.sampled_from([0, 0, 1, 100]))
            prot = draw(st.sampled_from([READ_WRITE, READ_WRITE, PROT_READ, 0]))
            flags = draw(st.sampled_from(FLAGS))
            steps.append(("mmap", slot, size, prot | flags << 8))
            whole[slot] = (size, prot, flags)
            continue
        size, prot, flags = whole[slot]
        n_pages = -(-size // PAGE)
        writable = prot & PROT_WRITE and flags == PRIVATE | ANONYMOUS
        kind = draw(st.sampled_from(["munmap", "munmap_part", "mremap", "mprotect", "mmap_fixed"]))
        if kind in ("munmap_part", "mmap_fixed") and n_pages > 1 and writable:
            offset = draw(st.integers(0, n_pages - 1))
            length = draw(st.integers(1, n_pages - offset)) * PAGE
            steps.append((kind, slot, length, offset))
            # What is left may be in several pieces: only unmap it then.
            steps.append(("munmap", slot, 0, 0))
            del whole[slot]
        elif kind == "mremap" and writable:
            size = draw(st.integers(1, 40)) * PAGE
            steps.append(("mremap", slot, size, 0))
            whole[slot] = (size, prot, flags)
        elif kind == "mprotect" and not prot & PROT_WRITE and flags == PRIVATE | ANONYMOUS:
            if size % PAGE:
                continue
            steps.append(("mprotect", slot, 0, READ_WRITE))
            whole[slot] = (size, READ_WRITE, flags)
        else:
            steps.append(("munmap", slot, 0, 0))
            del whole[slot]
    return steps


def measured(native, steps, program, *, basis="requested", exact=True):
    """A region around the program, and what it should have counted."""
    region = core.Region(basis=BASES[basis], exact=exact, threads=OWN_THREADS)
    with undisturbed():
        region.start()
        native.run(program)
        region.stop()
    native.clear()
    return region, Model(basis).run(steps)


def check(region, model):
    usage = region.usage()
    assert [usage[name] for name in NAMES] == [
        *(model.peak, model.peak_blocks, model.current, model.blocks, model.total, model.count)
    ]
    assert not any(region.losses().values())
    held = region.leaks()
    exact = usage["sampling_period"] == 1
    # What is left of a large program may be so little that none of it was sampled.
    assert sum(row[0] for row in held) == model.current or (not exact and not held)
    if exact:
        assert sum(row[1] for row in held) == model.blocks
        assert sum(row[0] for row in region.locations_at_peak()) == model.peak


@pytest.mark.parametrize("exact", [True, False])
@given(data=st.data())
def test_blocks_requested(native, data, exact):
    steps = data.draw(programs())
    check(*measured(native, steps, program(*steps), exact=exact))


@given(steps=programs(operations=(*LIBC, *STRDUP, "raw_malloc", "raw_calloc")))
def test_blocks_system(native, steps):
    check(*measured(native, steps, program(*steps), basis="system"))


@pytest.mark.parametrize("basis", ["requested", "system"])
@given(data=st.data())
def test_mappings(native, data, basis):
    steps = data.draw(mapping_programs())
    check(*measured(native, steps, program(*steps), basis=basis))


@given(steps=programs(operations=(*LIBC, *STRDUP, "raw_malloc", "raw_calloc")))
def test_a_foreign_thread(native, steps):
    whole = program(*steps)
    region = core.Region(exact=True, threads=OWN_THREADS)
    with undisturbed():
        region.start()
        native.run_in_thread(whole)
        region.stop()
    native.clear()
    check(region, Model("requested").run(steps))
    assert all(row[3] == () for row in region.leaks())


@given(inner=programs(), outer=programs())
def test_nested(native, inner, outer):
    """The inner measurement sees its own program only; the outer one sees both."""
    moved = [(op, slot + 100, *rest) for op, slot, *rest in inner]
    before, after = program(*outer), program(*moved)
    regions = [core.Region(exact=True, threads=OWN_THREADS) for _ in range(2)]
    with undisturbed():
        regions[0].start()
        native.run(before)
        regions[1].start()
        native.run(after)
        regions[1].stop()
        regions[0].stop()
    native.clear()
    both = Model("requested").run(outer).run(moved)
    alone = Model("requested").run(inner)
    check(regions[0], both)
    check(regions[1], alone)
