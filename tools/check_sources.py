#!/usr/bin/env python3
"""Checks that the build description names every source file: `check_sources.py BUILD_FOLDER`.

A C file that no target compiles, or a Python file that the wheel leaves out, is dead or missing at
the user's. Reads what Meson knows of BUILD_FOLDER (set up with the extension and the C tests).
Prints one line per breach; exit status 1 if any.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMPILED = {"csrc/core": "**/*.c", "csrc/binding": "*.c", "tests/core": "test_*.c"}
INSTALLED = {"cmemray": ("**/*.py", "**/*.pyi", "**/py.typed"), "pytest_cmemray": ("**/*.py",)}


def introspect(build: Path, what: str) -> list[dict] | dict:
    """Meson's answer about WHAT of the build folder."""
    command = ["meson", "introspect", f"--{what}", str(build)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compiled_files(targets: list[dict]) -> set[Path]:
    """Every C file that one of the targets compiles."""
    groups = (group for target in targets for group in target["target_sources"])
    return {Path(name).resolve() for group in groups for name in group.get("sources", [])}


def files_of(root: Path, folder: str, patterns: tuple[str, ...]) -> set[Path]:
    """Files of the source tree that match one of the patterns."""
    return {path.resolve() for pattern in patterns for path in (root / folder).glob(pattern)}


def missing(root: Path, compiled: set[Path], installed: set[Path]) -> list[str]:
    """Files of the tree that are neither compiled nor installed, as messages."""
    found = []
    for folder, pattern in COMPILED.items():
        for path in sorted(files_of(root, folder, (pattern,)) - compiled):
            found.append(f"{path.relative_to(root)}: no Meson target compiles it")
    for folder, patterns in INSTALLED.items():
        for path in sorted(files_of(root, folder, patterns) - installed):
            found.append(f"{path.relative_to(root)}: not in the wheel")
    return found


def main(arguments: list[str]) -> int:
    """Check the build folder named on the command line."""
    build = Path(arguments[0])
    compiled = compiled_files(list(introspect(build, "targets")))
    installed = {Path(name).resolve() for name in introspect(build, "installed")}
    found = missing(ROOT, compiled, installed)
    print("\n".join(found) if found else f"check_sources: all files are built ({len(compiled)})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
