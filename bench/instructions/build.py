"""What an ELF file was built with, read from the file itself: the key of the table."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

_COMPILERS = (
    ("clang", re.compile(r"clang version (\d+)")),
    ("gcc", re.compile(r"GNU C\S* (\d+)\.")),
)


def key_of(path: Path) -> str:
    """Such as "x86_64 gcc-12 -O2 ndebug"; for clang, which does not tell, without the -O."""
    producers = _readelf("--debug-dump=info", "--dwarf-depth=1", str(path))
    return key(platform.machine(), producers, _readelf("--dyn-syms", "--wide", str(path)))


def key(machine: str, producers: str, symbols: str) -> str:
    """The same, of what readelf says about the units of debugging information and the symbols."""
    # Units of the C library's start files come from another compiler: the most frequent one counts.
    lines = re.findall(r"DW_AT_producer\s*:.*?((?:GNU C|.*clang).*)", producers)
    if not lines:
        return f"{machine} unknown"
    line = max(set(lines), key=lines.count)
    words = [machine]
    words += [f"{name}-{m[1]}" for name, pattern in _COMPILERS if (m := pattern.search(line))][:1]
    words += re.findall(r"\s(-O[0-3sg]|-Ofast|-fsanitize=\w+|--coverage)\b", line)
    words.append("debug" if re.search(r"\b__assert_fail\b", symbols) else "ndebug")
    return " ".join(words)


def _readelf(*arguments: str) -> str:
    done = subprocess.run(["readelf", *arguments], capture_output=True, text=True, check=True)
    return done.stdout
