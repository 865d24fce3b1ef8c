"""Measurements that start and stop in any order on any thread, while threads allocate across each other.

Rules only write a plan, which is then run in one go: between its steps nothing is allocated but what they
say. Threads take turns, in the order of the plan, so that every number is known. A naive model of each
measurement runs the steps it was open for.

Free-threaded builds have no stock of bound methods: each turn makes one, of fewer than 64 bytes, and drops
it, which every open measurement sees. What is left at the end is the same to the byte.
"""

import functools
import threading

import hypothesis.strategies as st
import native_extension
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import ANONYMOUS, PAGE, PRIVATE, PROT_READ, PROT_WRITE, Model
from native_extension import program
from shared_fixtures import FREE_THREADED
from test_hooks_model import BASES, LIBC, PYTHON, STRDUP, aligned_size

from cmemray._load import core

THREADS = 4
OF_A_TURN = 64 if FREE_THREADED else 0
SLOTS = 24
MOST_OPEN = 8
READ_WRITE = PROT_READ | PROT_WRITE
sizes = st.one_of(st.integers(1, 600), st.integers(1, 40_000), st.integers(100_000, 2_000_000))
threads = st.integers(0, THREADS - 1)


class Session(Model):
    """A model that does not know what is older than itself."""

    def step(self, operation, slot, size=0, extra=0):
        if slot in self.slots or operation not in ("free", "munmap", "realloc", "mremap"):
            super().step(operation, slot, size, extra)
        elif operation == "realloc":
            # What is resized counts as new, with its full size.
            self.slots[slot] = size
            self.add(size)
        elif operation == "mremap":
            self.slots[slot] = [[0, size, size]]
            self.add(size)


def nothing():
    pass


def take_turns(plan):
    """Run (thread, call) in order, each on its thread; thread 0 is this one."""
    # A first and a last turn of each, so that none begins or ends beside a measurement.
    turns = [(number, nothing) for number in range(1, THREADS)]
    plan = [*turns, *plan, *turns]
    go = [threading.Lock() for _ in range(THREADS)]
    done = threading.Lock()
    for lock in (*go, done):
        lock.acquire()
    failed = []

    def work(number, calls):
        for call in calls:
            go[number].acquire()
            try:
                call()
            except BaseException as error:
                failed.append(error)
            done.release()

    workers = [
        threading.Thread(target=work, args=(number, [call for one, call in plan if one == number]))
        for number in range(1, THREADS)
    ]
    for worker in workers:
        worker.start()
    for number, call in plan:
        if number == 0:
            call()
        else:
            go[number].release()
            done.acquire()
    for worker in workers:
        worker.join()
    assert failed == []


class Sessions(RuleBasedStateMachine):
    """All kinds of blocks, basis requested."""

    operations = (*LIBC, *PYTHON, *STRDUP)
    bases = ("requested",)

    def __init__(self):
        super().__init__()
        self.native = native_extension.load()
        self.plan = []
        self.open = []
        self.ended = []
        self.blocks = {}
        self.mappings = {}

    def do(self, thread, *step):
        self.plan.append((thread, functools.partial(self.native.run, program(step))))
        for _, model in self.open:
            model.step(*step)

    @initialize(data=st.data(), thread=threads)
    def at_least_one(self, data, thread):
        self.start(data, thread, True)

    @precondition(lambda self: len(self.open) < MOST_OPEN)
    @rule(data=st.data(), thread=threads, exact=st.booleans())
    def start(self, data, thread, exact):
        basis = data.draw(st.sampled_from(self.bases))
        region = core.Region(basis=BASES[basis], exact=exact)
        self.plan.append((thread, region.start))
        self.open.append((region, Session(basis)))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), thread=threads)
    def stop(self, data, thread):
        number = data.draw(st.integers(0, len(self.open) - 1))
        region, model = self.open.pop(number)
        self.plan.append((thread, region.stop))
        self.ended.append((region, model))

    @rule(data=st.data(), thread=threads, size=sizes)
    def allocate(self, data, thread, size):
        slot = data.draw(st.integers(0, SLOTS - 1))
        if slot in self.blocks:
            return
        operation = data.draw(st.sampled_from(self.operations))
        extra = 0
        if operation.endswith("calloc") or operation == "reallocarray":
            size, extra = size % 2000 + 1, 1 + size % 150
        elif operation in ("posix_memalign", "aligned_alloc", "memalign"):
            extra = 64
            size = aligned_size(operation, size, extra)
        elif operation == "strdup":
            size = size % 2000 + 1
        self.blocks[slot] = operation
        self.do(thread, operation, slot, size, extra)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data(), thread=threads, size=sizes)
    def resize(self, data, thread, size):
        slot = data.draw(st.sampled_from(sorted(self.blocks)))
        self.do(thread, "realloc", slot, size, 0)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data(), thread=threads)
    def free(self, data, thread):
        slot = data.draw(st.sampled_from(sorted(self.blocks)))
        del self.blocks[slot]
        self.do(thread, "free", slot, 0, 0)

    @rule(data=st.data(), thread=threads, pages=st.integers(1, 40))
    def map(self, data, thread, pages):
        slot = data.draw(st.integers(100, 105))
        size = pages * PAGE
        if slot in self.mappings:
            self.do(thread, "mremap", slot, size, 0)
        else:
            self.do(thread, "mmap", slot, size, READ_WRITE | (PRIVATE | ANONYMOUS) << 8)
        self.mappings[slot] = size

    @precondition(lambda self: self.mappings)
    @rule(data=st.data(), thread=threads)
    def unmap(self, data, thread):
        slot = data.draw(st.sampled_from(sorted(self.mappings)))
        del self.mappings[slot]
        self.do(thread, "munmap", slot, 0, 0)

    def teardown(self):
        while self.open:
            region, model = self.open.pop()
            self.plan.append((0, region.stop))
            self.ended.append((region, model))
        try:
            take_turns(self.plan)
        finally:
            self.native.clear()
        for region, model in self.ended:
            check(region, model, turns=len(self.plan))


def check(region, model, turns):
    usage = region.usage()
    assert (usage["current"], usage["current_blocks"]) == (model.current, model.blocks)
    blocks = turns if FREE_THREADED else 0
    # One thread is at its turn, and the others may still hold what they called last.
    assert 0 <= usage["peak"] - model.peak <= OF_A_TURN * THREADS
    assert 0 <= usage["peak_blocks"] - model.peak_blocks <= min(blocks, THREADS)
    assert 0 <= usage["total"] - model.total <= OF_A_TURN * turns
    assert 0 <= usage["count"] - model.count <= blocks
    assert not any(region.losses().values())
    if usage["sampling_period"] == 1:
        assert sum(row[0] for row in region.leaks()) == model.current
        assert sum(row[1] for row in region.leaks()) == model.blocks
        assert sum(row[0] for row in region.locations_at_peak()) == usage["peak"]


class MixedSessions(Sessions):
    """Measurements of both bases at once: of blocks that do not come from Python's arenas."""

    operations = (*LIBC, *STRDUP, "raw_malloc", "raw_calloc")
    bases = ("requested", "system")


def untraced():
    """Settings without the phase that explains failures: its trace function allocates as well."""
    phases = [phase for phase in Phase if phase is not Phase.explain]
    return settings(phases=phases, deadline=None)


class TestSessions:
    """Skipped where the extension cannot be built."""

    def test_requested(self, native):
        run_state_machine_as_test(Sessions, settings=untraced())

    def test_both_bases(self, native):
        run_state_machine_as_test(MixedSessions, settings=untraced())
