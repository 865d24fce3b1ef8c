"""Counted under callgrind by bench.instructions: objects of Python, made and dropped.

Runs with the interpreter that has cmemray installed. Marks and lines as bench/instructions/callgrind.py
says. Each turn makes and drops two objects on two lines of one function.
"""

import os
from itertools import repeat

import cmemray

BALLAST = 256 << 20
FEW, DEEP = 10, 400


def small(turns):
    make = object
    for _ in repeat(None, turns):
        make()
        make()


def large(turns):
    make = "x".ljust
    for _ in repeat(None, turns):
        make(900)
        make(900)


def at_depth(depth, function):
    return at_depth(depth - 1, function) if depth else function()


def mark(name="", turns=0):
    os.getpriority(os.PRIO_PROCESS, 0)
    # Not print: the first time it makes the encoder and what not.
    os.write(1, f"{name}\t{turns}\n".encode() if turns else b"-\n")


def stretches(name, loop, turns):
    loop(turns)
    mark()
    loop(turns)
    mark(name, turns)
    loop(2 * turns)
    mark(name, 2 * turns)


WAYS = {
    "unsampled": {},
    "sampled": {"limit": 2048},
    "weighted": {"limit": 65536},
    "exact": {"attribution": "exact"},
    "system": {"basis": "system"},
}
EVENTS = {
    "two object()": (small, FEW, ("unsampled", "sampled", "weighted", "exact", "system")),
    "two str of 900": (large, FEW, ("unsampled", "exact", "system")),
    "two object(), 50 frames": (small, 50, ("exact",)),
    "two object(), 200 frames": (small, 200, ("exact",)),
    "two object(), 400 frames": (small, DEEP, ("sampled", "exact")),
}


def count(event, way):
    loop, depth, _ = EVENTS[event]
    name = f"{event}: {way}"
    if way in ("plain", "closed"):
        at_depth(depth, lambda: stretches(name, loop, 500))
        return
    measured = cmemray.measure(**WAYS[way])
    measured.start()
    ballast = bytearray(BALLAST) if way == "unsampled" else None
    if way == "weighted":
        loop(20_000)  # of one period so many samples are taken, then it grows to what it remains at
    at_depth(depth, lambda: stretches(name, loop, 500))
    del ballast
    measured.stop()


def main():
    for event in EVENTS:  # before anything is patched
        count(event, "plain")
    with cmemray.measure():
        pass
    for event, (_, _, ways) in EVENTS.items():
        for way in ("closed", *ways):
            count(event, way)


main()
