"""The build backend: meson-python, with editable installs that outlive their build environment.

An editable install of meson-python runs Ninja at every first import, by the path it had at install
time. pip's isolated build environment is gone by then, and with it that Ninja: the import would
fail. Here the path is that of a small script instead, which runs Ninja where there is one and
otherwise leaves the build as it was installed.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import mesonpy
from mesonpy import (  # noqa: F401  # the hooks that stay as they are
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
)

SCRIPT = """#!/bin/sh
for ninja in "{ninja}" ninja; do
  if command -v "$ninja" >/dev/null 2>&1; then
    exec "$ninja" "$@"
  fi
done
echo "no Ninja here: not rebuilt; run 'pip install -e .' again after a change of C code"
"""


def build_editable(
    wheel_directory: str,
    config_settings: dict[Any, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Hook of PEP 660; see the head of this file."""
    ninja = os.environ.get("NINJA") or shutil.which("ninja") or "ninja"
    script = Path("build").absolute() / "ninja-if-any"
    script.parent.mkdir(exist_ok=True)
    script.write_text(SCRIPT.format(ninja=ninja))
    script.chmod(0o755)
    os.environ["NINJA"] = str(script)
    return mesonpy.build_editable(wheel_directory, config_settings, metadata_directory)
