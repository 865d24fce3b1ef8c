#!/usr/bin/env python3
"""Checks what the extension shows to the dynamic linker: `check_exports.py FILE.so|FILE.whl...`.

It must export PyInit_ with its own name and nothing else, so that none of its functions can be bound by, or
shadow, those of another library; it must need only the C library; it must be marked NODELETE,
because other objects' relocation slots point into it; it must not ask for an executable stack.
Prints one line per breach; exit status 1 if any. Needs readelf.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODULES = {"_core", "_core_dynamic"}
# Before glibc 2.34 these were files of their own.
NEEDED = re.compile(r"(libc|libpthread|libdl|librt|ld-linux[-a-z0-9_]*)\.so\.\d+")


def readelf(option: str, path: Path) -> str:
    """The output of `readelf OPTION PATH`."""
    command = ["readelf", "--wide", option, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exports_of(path: Path) -> set[str]:
    """Names that PATH defines for others."""
    names = set()
    for line in readelf("--dyn-syms", path).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[0].rstrip(":").isdigit():
            bind, visibility, index, name = fields[4], fields[5], fields[6], fields[7]
            if bind != "LOCAL" and visibility in ("DEFAULT", "PROTECTED") and index != "UND":
                names.add(name.split("@")[0])
    return names


def breaches_of(path: Path) -> list[str]:
    """What is wrong with the shared object PATH, as messages."""
    dynamic = readelf("--dynamic", path)
    exports, wanted = exports_of(path), {f"PyInit_{path.name.partition('.')[0]}"}
    found = [f"{path}: exports {name}" for name in sorted(exports - wanted)]
    found += [f"{path}: does not export {name}" for name in sorted(wanted - exports)]
    found += [
        f"{path}: needs {name}"
        for name in re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)
        if not NEEDED.fullmatch(name)
    ]
    if not re.search(r"\(FLAGS_1\).*\bNODELETE\b", dynamic):
        found.append(f"{path}: not marked NODELETE")
    if re.search(r"GNU_STACK.*RWE", readelf("--program-headers", path)):
        found.append(f"{path}: asks for an executable stack")
    return found


def check(path: Path) -> list[str]:
    """Breaches of a shared object, or of those inside a wheel."""
    if path.suffix != ".whl":
        return breaches_of(path)
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        objects = [name for name in wheel.namelist() if re.search(r"\.so(\.|$)", name)]
        expected = {f"cmemray/{name}" for name in MODULES}
        if len(objects) != len(expected) or {o.partition(".")[0] for o in objects} != expected:
            return [f"{path}: shared objects {objects}, expected {' and '.join(sorted(expected))}"]
        paths = [Path(wheel.extract(name, folder)) for name in sorted(objects)]
        return [message for found in map(breaches_of, paths) for message in found]


def main(arguments: list[str]) -> int:
    """Check every file named on the command line."""
    if not arguments:
        print("check_exports: name a shared object or a wheel")
        return 2
    found = [message for name in arguments for message in check(Path(name))]
    print("\n".join(found) if found else f"check_exports: {' '.join(arguments)} fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
