"""Runs one program of programs/ again and again, measured, and checks its totals.

    python harness.py PROGRAM --folder BUILT --seconds 2 --events 1000000 [--seed 1]

It goes on until both the seconds are over and the measurements have seen so many events (an
allocation, a free; a resize is one of each). BUILT has the extensions of tests/fixtures/library.
Prints one line of JSON at the end; anything else that it prints is an error. A program hands itself
over as `round(stress)`; `NEEDS` names modules that it cannot do without.
"""

import argparse
import faulthandler
import importlib
import importlib.util
import itertools
import json
import os
import random
import sys
import sysconfig
import threading
import time
import traceback
import warnings
from pathlib import Path

import cmemray

LIBC, RAW, MAPS, PYTHON = 1, 2, 4, 8  # as in pound.h
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
#: What Python asks for besides what a program knows of, unless the program says otherwise.
SLACK = 64 << 20
#: Bytes of a block of keep().
KEPT = 1777
#: Options of the measurements, by turns.
MODES = (
    {"limit": "1 GB", "collect": None},
    {"attribution": "exact", "collect": True},
    {"basis": "system"},
    {"limit": "1 GB", "locate_from": "1 MB", "collect": None},
    {"attribution": "exact", "collect": 1 << 20},
    {"basis": "system", "trace_python_allocators": True},
)
SKIPPED = 77


def load(folder, name):
    """An extension, from the folder where it was built."""
    path = next(Path(folder).glob(f"{name}.*so"))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Tally:
    """What works have asked for, by their own count: see pound.h."""

    def __init__(self, taken):
        self.count, self.bytes, self.frees, self.peak, self.peaks, self.damaged, self.works = taken


def seen(usage):
    """Events behind these numbers: what was allocated, and of that what was freed."""
    # Blocks that were allocated after the count was closed may still be left at the end.
    return usage["count"] + max(0, usage["count"] - usage["current_blocks"])


class Measured:
    """A measurement around a block. Nothing is allocated between its start and the block."""

    def __init__(self, stress, options, counts, rows):
        self.stress, self.counts, self.rows = stress, counts, rows
        self.m = cmemray.measure(**options)
        self.exact = options.get("attribution") == "exact" or options.get("basis") == "system"
        self.usage = None

    def __enter__(self):
        self.m.start()
        return self

    def __exit__(self, kind, error, traceback):
        self.m.stop()
        if kind is None:
            self.close()

    def close(self):
        """Check what must hold of any measurement, and count its events."""
        m = self.m
        usage = self.usage = m._region.usage()
        assert not m.incomplete, m.incomplete_reason
        assert m.current >= 0 and usage["current_blocks"] >= 0, usage
        assert m.peak <= m.total, (m.peak, m.total)
        if self.exact and self.rows:
            at_peak = m.locations_at_peak()
            assert sum(row.size for row in at_peak) == m.peak, (at_peak, m.peak)
            assert sum(row.size for row in m.leaks()) == m.leaked
        if self.counts:
            self.stress.events += seen(usage)

    def expect(self, count, size, *, blocks_more=0, more=0):
        """So many blocks of so many bytes in all, and at most so much besides."""
        m = self.m
        strange = (m.count - count, m.total - size, [row for row in m.leaks() if row.frames][:3])
        assert count <= m.count <= count + blocks_more, (strange, blocks_more)
        assert size <= m.total <= size + more, (strange, more)
        slack = self.stress.slack
        slack["blocks_allowed"] = max(slack["blocks_allowed"], blocks_more)
        slack["bytes_allowed"] = max(slack["bytes_allowed"], more)
        slack["blocks_more"] = max(slack["blocks_more"], m.count - count)
        slack["bytes_more"] = max(slack["bytes_more"], m.total - size)

    def expect_alone(self, tally, *, left=0, left_blocks=0):
        """The block did nothing but these works, one after the other."""
        self.expect(tally.count, tally.bytes)
        assert self.m.peak == tally.peak, (self.m.peak, tally.peak)
        assert (self.m.current, self.usage["current_blocks"]) == (left, left_blocks)

    def left_by(self, function):
        """(blocks, bytes) of malloc that this function's own lines left. Exact measurements only."""
        rows = [
            row
            for row in self.m.leaks()
            if row.frames and row.frames[0].function == function and row.allocator == "malloc"
        ]
        return sum(row.count for row in rows), sum(row.size for row in rows)

    def kept_by(self):
        """Blocks that calls of keep() left, by the calling function. Exact measurements only."""
        by_caller = {}
        for row in self.m.leaks():
            names = [frame.function for frame in row.frames[:2]]
            if names[:1] == ["keep"] and row.allocator == "malloc":
                assert row.size == row.count * KEPT, row
                by_caller[names[1]] = by_caller.get(names[1], 0) + row.count
        return by_caller

    def expect_kept(self, tally, by_caller, *, blocks_more, more, named=True):
        """What works did, and the blocks that these functions got by keep(), not one of them lost; and
        at most so much besides. Frees what was kept. named: lines are known where it was kept."""
        kept = sum(by_caller.values())
        usage = self.usage
        self.expect(
            tally.count + kept, tally.bytes + kept * KEPT, blocks_more=blocks_more, more=more
        )
        assert usage["current_blocks"] >= kept and self.m.current >= kept * KEPT, (kept, usage)
        if self.exact and named:
            assert self.kept_by() == by_caller, (self.kept_by(), by_caller)
        self.stress.pound.drop()


class Stress:
    """What a program works with."""

    def __init__(self, folder, seed):
        self.folder = Path(folder)
        self.pound = load(folder, "pound")
        self.rough = load(folder, "rough")
        self.guest = next(self.folder.glob("guest.*so"))
        self.random = random.Random(seed)
        self.events = self.rounds = 0
        self.first_mode = seed
        self.failures = []
        self.firsts = {}
        #: The most that a total was allowed to be more than what is known, and was.
        self.slack = {"blocks_allowed": 0, "bytes_allowed": 0, "blocks_more": 0, "bytes_more": 0}

    @property
    def mode(self):
        """The options of this round's measurements."""
        return MODES[(self.first_mode + self.rounds) % len(MODES)]

    def options(self, **options):
        """Those of this round, with these instead of its own."""
        return {**self.mode, **options}

    def measured(self, counts=True, rows=True, **options):
        """A measurement for a with block.

        counts: its events are nobody else's. rows: few enough that it can be asked for all stacks.
        """
        return Measured(self, self.options(**options), counts, rows)

    def families(self, *, python=False):
        """What works may use: all that this round's basis counts."""
        whole = self.mode.get("trace_python_allocators") or "basis" not in self.mode
        return LIBC | RAW | MAPS | (PYTHON if python and whole else 0)

    def seed(self):
        """A number for a work."""
        return self.random.getrandbits(48)

    def take(self, module=None):
        """The tally of all works since the last call; nothing may be damaged."""
        tally = Tally((module or self.pound).take())
        assert tally.damaged == 0, f"{tally.damaged} blocks lost their contents"
        return tally

    def same(self, function, *arguments):
        """Call a function; its result must be that of its first call, which is not measured."""
        key = function, arguments
        result = function(*arguments)
        assert self.firsts.get(key, result) == result, (function, result, self.firsts[key])
        return result

    def first(self, function, *arguments):
        """Call it unmeasured, unless that was done."""
        key = function, arguments
        if key not in self.firsts:
            self.firsts[key] = function(*arguments)

    def threads(self, *functions, daemon=False):
        """Start a thread for each; what they raise fails the program."""

        def guarded(function):
            try:
                function()
            except BaseException as error:
                self.failures.append(error)

        made = [
            threading.Thread(target=guarded, args=(function,), daemon=daemon)
            for function in functions
        ]
        for thread in made:
            thread.start()
        return made

    def at_once(self, *functions):
        """Run each in a thread of its own, to its end."""
        for thread in self.threads(*functions):
            thread.join()
        self.check()

    def check(self):
        """Raise what threads raised."""
        if self.failures:
            raise self.failures[0]

    def beside_crew(self, steps, released):
        """A measurement between two pauses of the crew, with a work of so many steps here: every
        number is known."""
        with self.measured(collect=None) as measured:
            self.pound.crew_resume(1)
            self.pound.pound(1, steps, 1, released)
            self.pound.crew_pause()
        own = self.take()
        count, size, _, live, blocks, peak, peaks, damaged = self.pound.crew_numbers()
        measured.expect(count + own.count, size + own.bytes)
        assert (measured.m.current, measured.usage["current_blocks"]) == (live, blocks)
        assert max(peak, own.peak) <= measured.m.peak <= peaks + own.peak
        assert damaged == 0

    def keep(self, blocks):
        """Get so many blocks that stay; expect_kept() looks for them, by who called this."""
        self.pound.keep(KEPT, blocks)

    def quiet(self):
        """A work with nothing beside it, after all that came before: every number is known."""
        families, seed, steps, no = self.families(python=True), self.seed(), 5_000, 0
        with self.measured(collect=None) as measured:
            self.pound.pound(seed, steps, families, no)
        measured.expect_alone(self.take())

    def told(self):
        """The line in which a child says its events, and its slack, to its parent."""
        return " ".join(["events", *map(str, (self.events, *self.slack.values()))]) + "\n"

    def events_of_child(self, text):
        """A child's events count as ours: its line is that of told(), or of as many words."""
        words = text.split()
        assert words[:1] == ["events"], text
        self.events += int(words[1])
        for name, number in zip(self.slack, map(int, words[2:]), strict=False):
            self.slack[name] = max(self.slack[name], number)


def churn(seed):
    """What Python programs do: small objects of all kinds; a number that depends on all of it."""
    state, held, total = seed, [], 0
    for i in range(300):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        kind = state >> 16 & 7
        if kind < 2:
            held.append(str(state) * (state & 15))
        elif kind < 4:
            held.append({j: (j, [state]) for j in range(state & 31)})
        elif kind == 4:
            held.append(bytearray(state & 4095))
        elif kind == 5:
            held.append(sorted((state * j & 255 for j in range(state & 63)), reverse=True))
        elif held:
            total += len(held.pop(state % len(held)))
        total += i * len(held)
    return total + sum(map(len, held))


def descend(depth, function):
    """The function's result, so many calls down."""
    return function() if depth == 0 else descend(depth - 1, function)


def run(program, stress, seconds, events, rounds):
    """Rounds of a program until it has done enough."""
    end = time.monotonic() + seconds
    for _ in itertools.count():
        program.round(stress)
        stress.check()
        stress.rounds += 1
        if time.monotonic() >= end and stress.events >= events and stress.rounds >= rounds:
            break


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120)
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.dump_traceback_later(options.patience, exit=True)
    # One module, whoever imports it.
    sys.modules["harness"] = sys.modules["__main__"]
    sys.path.insert(0, str(Path(__file__).resolve().parent / "programs"))
    program = importlib.import_module(options.program)
    # An extension that cannot do without the interpreter's lock turns it on; that is no failure, but
    # said with the results.
    warnings.filterwarnings("ignore", ".*global interpreter lock", RuntimeWarning)
    for module in getattr(program, "NEEDS", ()):
        try:
            importlib.import_module(module)
        except ImportError as error:
            print(f"{options.program} needs {module}: {error}", flush=True)
            os._exit(SKIPPED)
    stress = Stress(options.folder, options.seed)
    unraisable = []
    sys.unraisablehook = unraisable.append
    started = time.monotonic()
    try:
        run(program, stress, options.seconds, options.events, options.rounds)
        assert not unraisable, unraisable
    except BaseException:
        # Threads of the program may go on for ever.
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    seconds = time.monotonic() - started
    told = {"events": stress.events, "rounds": stress.rounds, "seconds": round(seconds, 2)}
    told |= stress.slack
    told["gil"] = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
