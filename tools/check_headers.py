#!/usr/bin/env python3
"""Compiles every header of csrc alone: `check_headers.py COMPILER...`.

A header that needs another one to be included first breaks the next file that forgets it. Headers
of csrc/binding get the include path of the interpreter that runs this. The frame layouts of other
CPython minors (frames_3NN.h) are left to those interpreters. Exit status 1 if any fails.
"""

import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FLAGS = [
    *("-std=gnu11", "-fsyntax-only", "-D_GNU_SOURCE", "-Werror", "-Wall", "-Wextra", "-Wpedantic"),
    *("-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wundef", "-Wvla", "-Wcast-qual"),
    # What a header defines for its includers is not used when it stands alone.
    *("-Wno-unused-function", "-Wno-unused-const-variable", "-Wno-unused-variable"),
]
THIS_MINOR = f"frames_{sys.version_info.major}{sys.version_info.minor}"


def compile_alone(compiler: str, header: Path, csrc: Path) -> str:
    """Compile HEADER alone; returns the compiler's complaints, empty when there are none."""
    command = [compiler, *FLAGS, f"-I{csrc / 'core'}", "-x", "c", "-"]
    if csrc / "core" not in header.parents:
        include = sysconfig.get_path("include")
        command += [f"-I{csrc / 'binding'}", "-isystem", include]
        command += ["-isystem", f"{include}/internal"]
    source = f'#include "{header.resolve()}"\n#include "{header.resolve()}"\n'
    result = subprocess.run(command, input=source, capture_output=True, text=True)
    return "" if result.returncode == 0 else f"{header} with {compiler}:\n{result.stderr}"


def is_checked(header: Path) -> bool:
    """Whether this interpreter can compile HEADER."""
    return not re.match(r"frames_3\d+", header.name) or header.name.startswith(THIS_MINOR)


def main(arguments: list[str]) -> int:
    """Check all headers with the compilers named on the command line."""
    csrc = Path("csrc")
    if arguments and Path(arguments[0]).is_dir():
        csrc = Path(arguments.pop(0))
    headers = [path for path in sorted(csrc.rglob("*.h")) if is_checked(path)]
    if not headers or not arguments:
        print("check_headers: [CSRC] COMPILER...; and there must be headers")
        return 2
    jobs = [(compiler, header, csrc) for compiler in arguments for header in headers]
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = [text for text in pool.map(lambda job: compile_alone(*job), jobs) if text]
    summary = f"check_headers: {len(headers)} headers fine with {', '.join(arguments)}"
    print("\n".join(found) if found else summary)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
