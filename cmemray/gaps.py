"""What measurements in this process cannot see."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable

#: Instead of an allocator: why it is not known whether there is one.
_UNEXAMINED = {
    "too large": "it has more symbols or constants than are looked through",
    "unreadable": "its file cannot be read",
}


def unseen() -> list[str]:
    """One sentence for each gap of this process, which every measurement in it has.

    Named are an interpreter whose stacks cannot be read, loaded libraries that carry an allocator
    of their own or could not be examined for one, and pointers to allocating functions that were
    looked up with dlsym. Empty when
    nothing is known to be missing.
    """
    from cmemray._load import core

    said = []
    if not core.PYTHON_STACKS:
        said.append(f"Python stacks are not available: {core.PYTHON_STACKS_REASON}")
    for name, allocators in _by_file(core.private_allocators()).items():
        # CPython carries mimalloc, and uses it in free-threaded builds, which are measured there.
        if re.match(r"(lib)?python3", name):
            continue
        if not name:
            said.append("not all libraries were examined for allocators of their own")
            continue
        if allocators[0] in _UNEXAMINED:
            said.append(
                f"{name} was not examined for an allocator of its own: {_UNEXAMINED[allocators[0]]}"
            )
            continue
        listed = _listed("a malloc of its own" if a == "own malloc" else a for a in allocators)
        hands, maps = ("they hand", "they map") if len(allocators) > 1 else ("it hands", "it maps")
        said.append(
            f"{name} contains {listed}: what {hands} out is not measured, only the memory that "
            f"{maps}"
        )
    for name, functions in _by_file(core.lookups()).items():
        said.append(
            f"{name or 'a library'} looked up the address{'es' if len(functions) > 1 else ''} of "
            f"{_listed(functions)} with dlsym: calls through "
            f"{'them are' if len(functions) > 1 else 'it are'} not measured"
        )
    return said


def _by_file(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What is said of each file, by its name and sorted."""
    found: dict[str, set[str]] = {}
    for file, what in pairs:
        path = os.path.realpath(file) if file else ""
        if path == "/proc/self/exe":  # there is no /proc
            path = os.path.realpath(sys.executable or "the program")
        name = os.path.basename(path)
        found.setdefault(name, set()).add(what)
    return {name: sorted(words) for name, words in sorted(found.items())}


def _listed(words: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
