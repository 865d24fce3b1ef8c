"""Programs that are measured: each a function that does the same work every time it is called.

`ALLOCATING` ask for much memory in different ways, `CALLING` call much and allocate little, and
`DEEP` allocates 400 frames deep, where looking at a stack is dearest. Nothing in the measured code
knows them; a program from anywhere else should show the same ratios.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.programs import calling, data, mixed, text

ALLOCATING: dict[str, Callable[[], object]] = {
    "rows": data.rows,
    "json": data.json_documents,
    "objects": data.objects,
    "recursion": data.recursion,
    "words": text.words,
    "tokens": text.tokens,
    "decimals": mixed.decimals,
    "buffers": mixed.buffers,
    "arrays": mixed.arrays,
    "threads": mixed.threads,
}
CALLING: dict[str, Callable[[], object]] = {
    "fibonacci": calling.fibonacci,
    "methods": calling.methods,
}
DEEP: dict[str, Callable[[], object]] = {"deep": data.deep}
PROGRAMS = {**ALLOCATING, **CALLING, **DEEP}
