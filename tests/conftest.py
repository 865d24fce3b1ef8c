"""Guards the suite against testing the source tree instead of what users install."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # find_spec of a submodule would import cmemray; some tests want it not imported yet.
    spec = importlib.util.find_spec("cmemray")
    origin = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if not os.environ.get("CMEMRAY_TEST_INSTALLED"):
        return
    if origin is None or "site-packages" not in origin.parts:
        raise pytest.UsageError(f"cmemray would be imported from {origin}, not from a wheel")
