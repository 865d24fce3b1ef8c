"""Count instructions per event and compare with the table.

    python -m bench.instructions             count, print, status 1 if one grew by over a tenth
    python -m bench.instructions --update    count and write the table
    python -m bench.instructions --driver build/micro/bench/micro/micro_events --python .venv/bin/python

`make instructions` builds the driver, installs the wheel and updates.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.instructions import build, callgrind, table

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "build/micro/bench/micro/micro_events"
_OBJECTS = Path(__file__).with_name("objects.py")
_WHERE = (
    "import platform, sys, cmemray._core as core;"
    "print(core.__file__, f'cpython-{platform.python_version()}{sys.abiflags}', sep='\\n')"
)


def count_driver(driver: Path = DRIVER) -> tuple[str, dict[str, float]]:
    """The key of the C program's build, and what its events take above plain."""
    return build.key_of(driver), callgrind.above_plain(callgrind.count([str(driver)]))


def key_of_python(python: str) -> str:
    """The key of the extension that `python` would import."""
    done = subprocess.run([python, "-P", "-c", _WHERE], capture_output=True, text=True, check=True)
    where, version = done.stdout.split()
    return f"{build.key_of(Path(where))} {version}"


def count_python(python: str) -> tuple[str, dict[str, float]]:
    """The same for objects of Python."""
    environment = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    counts = callgrind.count([python, "-P", str(_OBJECTS)], environment)
    return key_of_python(python), callgrind.above_plain(counts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--driver", type=Path, default=DRIVER)
    parser.add_argument("--python", default=sys.executable, help="has the package installed")
    parser.add_argument("--update", action="store_true", help="write the table")
    parser.add_argument("--only", choices=("driver", "python"))
    arguments = parser.parse_args()
    if reason := callgrind.why_not():
        raise SystemExit(f"bench.instructions: {reason}")
    counted = []
    if arguments.only != "python":
        counted.append(count_driver(arguments.driver))
    if arguments.only != "driver":
        counted.append(count_python(arguments.python))
    kept = table.load()
    found = []
    for key, counts in counted:
        before = kept.get(key, {})
        print(key, table.text(before, counts), sep="\n", end="\n\n")
        found += table.changed(before, counts)
        kept[key] = counts
    if arguments.update:
        table.save(kept)
        print(f"written: {table.PATH}")
        return 0
    print("\n".join(map(str, found)) or "nothing changed by more than a tenth")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
