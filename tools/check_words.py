#!/usr/bin/env python3
"""Checks that files of the repository speak to everybody: `check_words.py [FILE...]`.

Without arguments all files that git knows are read. Not allowed are paths that exist on one
machine only (home folders and other private roots), and marks of unfinished work.
A line that ends in "check-words: allow" is passed over. One line per breach; exit status 1 if any.
"""

import re
import subprocess
import sys
from pathlib import Path

RULES = {
    "a path of one machine": re.compile(
        r"(?<![\w.~-])/(root/|work/|mnt/|media/|(home|Users)/(?!(me|user|you)\b))[\w.]"
    ),
    "a mark of unfinished work": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"),  # check-words: allow
}
ALLOW = "check-words: allow"
SKIPPED_SUFFIXES = {".png", ".bin", ".gz"}


def known_files() -> list[Path]:
    """Every file under version control, or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return [Path(name) for name in output.decode().split("\0") if name]


def breaches_of(path: Path) -> list[str]:
    """Lines of PATH that break a rule, as messages."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.rstrip().removesuffix("-->").rstrip().endswith(ALLOW):
            continue
        for name, pattern in RULES.items():
            if match := pattern.search(line):
                found.append(f"{path}:{number}: {name}: {match.group()}")
    return found


def main(arguments: list[str]) -> int:
    """Check the files named on the command line, or all."""
    files = [Path(name) for name in arguments] or known_files()
    files = [path for path in files if path.is_file() and path.suffix not in SKIPPED_SUFFIXES]
    found = [message for path in files for message in breaches_of(path)]
    if not files:
        found.append("check_words: no files found")
    print("\n".join(found) if found else f"check_words: {len(files)} files fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
