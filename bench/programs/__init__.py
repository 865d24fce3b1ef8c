"""Programs that are measured: each a function that does the same work every time it is called.

`ALLOCATING` ask for much memory in different ways, `CALLING` call much and allocate little, and
`EXTREME` are the dearest cases known: deep stacks, blocks that live for one step of a tight loop,
threads that all allocate at once. Nothing in the measured code knows them; a program from anywhere
else should show the same ratios.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.programs import algorithms, calling, data, extreme, mixed, parsing, records, text

Program = Callable[[], object]

ALLOCATING: dict[str, Program] = {
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
    "dataclasses": records.dataclasses_,
    "tuples": records.tuples,
    "hierarchies": records.hierarchies,
    "exceptions": records.exceptions,
    "views": records.views,
    "csv": parsing.csv_files,
    "xml": parsing.xml_trees,
    "pickles": parsing.pickles,
    "configurations": parsing.configurations,
    "syntax trees": parsing.syntax_trees,
    "databases": parsing.databases,
    "paths": parsing.paths,
    "graphs": algorithms.graphs,
    "matrices": algorithms.matrices,
    "sets": algorithms.sets,
    "pipelines": algorithms.pipelines,
    "logs": algorithms.logs,
    "concatenation": algorithms.concatenation,
    "fractions": algorithms.fractions,
    "tasks": algorithms.tasks,
}
CALLING: dict[str, Program] = {
    "fibonacci": calling.fibonacci,
    "methods": calling.methods,
    "sieve": calling.sieve,
    "automaton": calling.automaton,
}
EXTREME: dict[str, Program] = {
    "deep 50": extreme.deep_50,
    "deep 200": extreme.deep_200,
    "deep 400": extreme.deep_400,
    "deep 10000": extreme.deep_10000,
    "ladder": extreme.ladder,
    "churn": extreme.churn,
    "temporaries": extreme.temporaries,
    "threads 2": extreme.threads_2,
    "threads 8": extreme.threads_8,
    "threads unlocked": extreme.threads_unlocked,
    "threads packing": extreme.threads_packing,
}
GROUPS: dict[str, dict[str, Program]] = {
    "allocating": ALLOCATING,
    "calling": CALLING,
    "extreme": EXTREME,
}
PROGRAMS: dict[str, Program] = {**ALLOCATING, **CALLING, **EXTREME}
