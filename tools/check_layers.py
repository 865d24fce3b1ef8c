#!/usr/bin/env python3
"""Checks the include graph of the C core: `check_layers.py [CORE_FOLDER]`.

The file LAYERS in that folder lists its sub-folders, lowest first. A file may include, between
quotes, headers of its own folder and of those above it in the list, always as "folder/name.h".
Nothing in the core may include Python's headers. Prints one line per breach; exit status 1 if any.
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
PYTHON_HEADER = re.compile(r"(^|/)(Python\.h$|cpython/|internal/pycore_|pycore_)")


def read_layers(core: Path) -> list[str]:
    """The folder names of CORE/LAYERS, lowest first."""
    lines = (core / "LAYERS").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def breaches_of(core: Path, path: Path, layers: list[str]) -> list[str]:
    """What PATH includes and may not, as messages."""
    folder = path.relative_to(core).parts[0]
    if folder not in layers:
        return [f"{path}: folder {folder} is not listed in LAYERS"]
    found = []
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
        quote, name = match.groups()
        if PYTHON_HEADER.search(name):
            found.append(f"{where}: {name}: the core knows nothing of CPython")
        elif quote == '"':
            target = name.split("/")[0] if "/" in name else None
            if target is None:
                found.append(f'{where}: "{name}": write "folder/name.h"')
            elif target not in layers:
                found.append(f'{where}: "{name}": {target} is no folder of LAYERS')
            elif layers.index(target) > layers.index(folder):
                found.append(f'{where}: "{name}": {target} stands below {folder} in LAYERS')
            elif not (core / name).is_file():
                found.append(f'{where}: "{name}": no such header')
    return found


def main(arguments: list[str]) -> int:
    """Check the core folder named on the command line."""
    core = Path(arguments[0] if arguments else "csrc/core")
    layers = read_layers(core)
    files = sorted(path for path in core.rglob("*.[ch]") if path.parent != core)
    found = [message for path in files for message in breaches_of(core, path, layers)]
    found += [f"{path}: C files belong into a folder" for path in sorted(core.glob("*.[ch]"))]
    found += [
        f"LAYERS: no folder {layer}" for layer in layers if files and not (core / layer).is_dir()
    ]
    if not files:
        found.append(f"{core}: no C files found")
    print("\n".join(found) if found else f"check_layers: {len(files)} files in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
