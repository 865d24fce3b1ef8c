"""Failures as annotations of GitHub Actions, on the line that holds the memory."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pytest_cmemray.results import Entry


def wanted() -> bool:
    """True inside a GitHub Actions job."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def workflow_commands(problems: Iterable[Entry], root: str) -> list[str]:
    """One workflow command for each failed test; files relative to `root`, the workspace."""
    lines = []
    for entry in problems:
        data = entry.data
        place = ""
        if "path" in data:
            path = os.path.relpath(data["path"], root)
            place = f"file={_property(path)},line={data['line']},"
        text = f"{entry.nodeid}: {data['problem']}"
        lines.append(f"::error {place}title=Memory limit::{_text(text)}")
    return lines


def _text(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
