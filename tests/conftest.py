"""Guards the suite against testing the source tree instead of what users install."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import pytest

# A machine's load must not decide whether a property holds.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=5000)
hypothesis.settings.load_profile("default")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # find_spec of a submodule would import cmemray; some tests want it not imported yet.
    spec = importlib.util.find_spec("cmemray")
    origin = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if not os.environ.get("CMEMRAY_TEST_INSTALLED"):
        return
    if origin is None or "site-packages" not in origin.parts:
        raise pytest.UsageError(f"cmemray would be imported from {origin}, not from a wheel")
