"""A naive model of what a measurement counts, over the programs of fixtures/library/native.c."""

import mmap

PAGE = 4096
PROT_READ, PROT_WRITE = 1, 2
SHARED, PRIVATE, ANONYMOUS, NORESERVE = 1, 2, 0x20, 0x4000
RESERVED_FROM = 64 << 20
PYTHON = ("raw_malloc", "mem_malloc", "obj_malloc", "raw_calloc", "mem_calloc", "obj_calloc")
assert mmap.PAGESIZE == PAGE


def pages(size):
    """Size rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


class Model:
    """Bytes and blocks, from a list of (operation, slot, size, extra)."""

    def __init__(self, basis):
        self.basis = basis
        self.current = self.blocks = self.peak = self.peak_blocks = self.total = self.count = 0
        self.slots = {}

    def add(self, size):
        self.current += size
        self.blocks += 1
        self.total += size
        self.count += 1
        if self.current >= self.peak:
            self.peak, self.peak_blocks = self.current, self.blocks

    def sub(self, size, blocks=1):
        self.current -= size
        self.blocks -= blocks

    def run(self, steps):
        for step in steps:
            self.step(*step)
        return self

    def step(self, operation, slot, size=0, extra=0):
        if operation in ("mmap", "munmap", "munmap_part", "mremap", "mprotect", "mmap_fixed"):
            getattr(self, operation)(slot, size, extra)
        elif operation == "free":
            self.sub(self.slots.pop(slot))
        elif operation == "realloc":
            self.sub(self.slots[slot])
            self.slots[slot] = size
            self.add(size)
        else:
            asked = size * extra if operation.endswith("calloc") or "array" in operation else size
            self.slots[slot] = asked
            self.add(asked)

    # A mapping is a list of page-aligned pieces [start, end, bytes counted] relative to its start.
    # A piece whose bytes are None is not in the peak.

    def mmap(self, slot, size, extra):
        counted = self.counts(size, extra & 255, extra >> 8)
        self.slots[slot] = [[0, pages(size), size if counted else None]]
        if counted:
            self.add(size)

    def counts(self, size, prot, flags):
        if self.basis == "system":
            return True
        if flags & SHARED or not prot & PROT_WRITE:
            return False
        return not (flags & NORESERVE and size >= RESERVED_FROM)

    def munmap(self, slot, size, extra):
        self.cut(self.slots.pop(slot), 0, 1 << 60)

    def munmap_part(self, slot, size, extra):
        self.cut(self.slots[slot], extra * PAGE, extra * PAGE + pages(size))

    def mmap_fixed(self, slot, size, extra):
        start = extra * PAGE
        self.cut(self.slots[slot], start, start + pages(size))
        self.slots[slot].append([start, start + pages(size), size])
        self.slots[slot].sort()
        self.add(size)

    def mremap(self, slot, size, extra):
        [[_, _, counted]] = self.slots[slot]
        if counted is None:
            self.slots[slot] = [[0, pages(size), None]]
            return
        self.sub(counted)
        self.slots[slot] = [[0, pages(size), size]]
        self.add(size)

    def mprotect(self, slot, size, extra):
        if self.basis == "system" or not extra & PROT_WRITE:
            return
        for piece in self.slots[slot]:
            if piece[2] is None:
                piece[2] = piece[1] - piece[0]
                self.add(piece[2])

    def cut(self, pieces, start, end):
        """Take [start, end) out of the pieces, each of which is one mapping."""
        kept = []
        for low, high, counted in pieces:
            below, above = max(min(high, start) - low, 0), max(high - max(low, end), 0)
            parts = []
            if below:
                parts.append([low, low + below, counted])
            if above:
                parts.append([high - above, high, counted])
            if below + above == high - low:
                kept.append([low, high, counted])
                continue
            kept += parts
            if counted is not None:
                # What remains is in whole pages, but for the very end of the mapping.
                for part in parts:
                    part[2] = part[1] - part[0]
                if above:
                    parts[-1][2] -= (high - low) - counted
                rest = sum(part[2] for part in parts)
                self.sub(counted - rest, 1 - len(parts))
        pieces[:] = kept
