"""Measures one program with one tool in this process and prints what it saw as JSON.

    against_memray.py memray|cmemray PROGRAM system|python

"python" traces the interpreter's allocators too. Both tools see the same imports and a program that
has run before, with collections off, so that nothing but the tool differs.
"""

import gc
import importlib.util
import json
import os
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path

import memray

import cmemray

FREES = ("FREE", "MUNMAP", "PYMALLOC_FREE")


def load(name):
    path = Path(__file__).with_name("programs") / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_program(frames, filename):
    """The frames from the innermost one to the outermost of the program; () when there is none."""
    frames = [tuple(frame) for frame in frames]
    last = max((i for i, frame in enumerate(frames) if frame[1] == filename), default=-1)
    return tuple(frames[: last + 1])


def with_memray(filename, python):
    """The measurement, and what reads it afterwards."""
    frees = {int(getattr(memray.AllocatorType, name)) for name in FREES}
    path = os.path.join(tempfile.mkdtemp(), "capture.bin")

    def read():
        reader = memray.FileReader(path)
        rows = Counter(), Counter()
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            frames = in_program(record.stack_trace(), filename)
            add(rows, frames, record.size, record.n_allocations)
        sizes = Counter(r.size for r in reader.get_allocation_records() if r.allocator not in frees)
        os.unlink(path)
        return rows, sizes

    return memray.Tracker(path, trace_python_allocators=python), read


def with_cmemray(filename, python):
    m = cmemray.measure(basis="system", trace_python_allocators=python)

    def read():
        rows = Counter(), Counter()
        for row in m.locations_at_peak():
            add(rows, in_program(row.frames, filename), row.size, row.count)
        return rows, (m.count, m.total)

    return m, read


def add(rows, frames, size, count):
    # One row for a stack: memray joins the allocators.
    rows[0][frames] += size
    rows[1][frames] += count


def hold_arenas():
    """Objects that keep arenas of pymalloc alive, mostly empty: no new one will be needed."""
    return [object() for _ in range(800_000)][::5000]


def own_sizes():
    """Sizes of what memray allocates itself: on 3.11, under the program's stacks, bytecode copies; from
    3.14 on one byte when a thread gets its name."""
    if sys.version_info >= (3, 14):
        return {1}
    if sys.version_info >= (3, 12):
        return set()
    functions = (x for x in gc.get_objects() if isinstance(x, types.FunctionType))
    codes = [function.__code__ for function in functions]
    sizes = set()
    while codes:
        code = codes.pop()
        sizes.add(len(code.co_code))
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return sizes


def main(tool, name, mode):
    program = load(name)
    filename = program.__file__
    program.run()
    gc.disable()
    gc.collect()
    prepare = {"memray": with_memray, "cmemray": with_cmemray}[tool]
    ballast = hold_arenas()
    measurement, read = prepare(filename, mode == "python")
    # From the same frame: its depth and size decide when the interpreter's stack needs memory.
    with measurement:
        program.run()
    (sizes, counts), allocated = read()
    del ballast
    rows = [[frames, size, counts[frames]] for frames, size in sorted(sizes.items()) if frames]
    result = {"rows": rows, "outside": sizes[()]}
    if tool == "memray":
        result["sizes"] = sorted(allocated.items())
        result["own"] = sorted(own_sizes())
    else:
        result["count"], result["total"] = allocated
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
