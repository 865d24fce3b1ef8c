"""Refuses to run beside pytest-memray, whose place this plugin takes.

Both are registered under the name "memray", so pytest loads only one of them, whichever it finds
first. This module is a plugin of its own under another name: it is loaded in either case.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """End the run with one message when both plugins are installed."""
    if config.pluginmanager.is_blocked("memray"):
        return
    if find_spec("pytest_memray") is not None:
        raise pytest.UsageError(
            "pytest-memray and pytest-cmemray are both installed and define the same options and "
            "markers. Uninstall one of them: pytest-cmemray takes the place of pytest-memray, so "
            "normally 'pip uninstall pytest-memray' is what you want."
        )
