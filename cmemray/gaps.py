"""What measurements in this process cannot see."""

from __future__ import annotations

import os
import re


def unseen() -> list[str]:
    """One sentence for each gap of this process, which every measurement in it has.

    Named are an interpreter whose stacks cannot be read, and loaded libraries that carry an
    allocator of their own. Empty when nothing is known to be missing.
    """
    from cmemray._load import core

    said = []
    if not core.PYTHON_STACKS:
        said.append(f"Python stacks are not available: {core.PYTHON_STACKS_REASON}")
    for file, allocator in sorted(set(core.private_allocators())):
        name = os.path.basename(os.path.realpath(file))
        # CPython carries mimalloc, and uses it in free-threaded builds, which are measured there.
        if re.match(r"(lib)?python3", name):
            continue
        said.append(f"{name} has an allocator of its own ({allocator}), which is not measured")
    return said
