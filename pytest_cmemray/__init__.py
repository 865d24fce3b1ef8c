"""Memory limits for pytest: the plugin's public names.

What a filter function of `limit_leaks` or `limit_leaked_objects` is given and must return.
"""

from pytest_cmemray.types import (
    LeakedObjectsFilterFunction,
    LeaksFilterFunction,
    Stack,
    StackFrame,
)

__version__ = "0.1.0"

__all__ = [
    "LeakedObjectsFilterFunction",
    "LeaksFilterFunction",
    "Stack",
    "StackFrame",
    "__version__",
]
