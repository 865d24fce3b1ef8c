"""Programs that are measured: each a function that does the same work every time it is called.

`ALLOCATING` ask for much memory in different ways, `CALLING` call much and allocate little, and
`EXTREME` are the dearest cases known: 400 frames deep, and a block for every step of a tight loop
with nothing held. Nothing in the measured code
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
EXTREME: dict[str, Callable[[], object]] = {"deep": data.deep, "churn": mixed.churn}
PROGRAMS = {**ALLOCATING, **CALLING, **EXTREME}
