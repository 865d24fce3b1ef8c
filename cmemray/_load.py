"""The compiled core, in the build that can be loaded. Import it when it is needed.

`_core` keeps 16 bytes in the thread-local storage that the C library sets aside for libraries loaded
late. Where others have used that up, `_core_dynamic` takes its place: the same, but that it asks for
its bytes by a function call, which costs a few nanoseconds at each event.
"""

from __future__ import annotations

try:
    from cmemray import _core as core
except ImportError as error:
    if "static TLS" not in str(error):
        raise
    from cmemray import _core_dynamic as core  # type: ignore[attr-defined,no-redef]

__all__ = ["core"]
