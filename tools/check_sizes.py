#!/usr/bin/env python3
"""Checks that files and functions stay readable: `check_sizes.py [FOLDER...]`.

A source file has at most 600 lines, a function at most 60 (a Python function's docstring is not
counted; nor are tests' functions, whose files only are checked).
Prints one line per breach; exit status 1 if any.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 60
SUFFIXES = {".c", ".h", ".py", ".pyi", ".sh"}
SKIPPED = {".git", ".venv", "build", "dist", "__pycache__"}
# The first line of a C definition: something at the margin that is no directive, no comment,
# no label, and leads to a "{" before any ";" or "=".
C_START = re.compile(r"^[A-Za-z_][^;={}]*\([^;={}]*\)[^;={}]*\{[ \t]*(//.*|/\*.*)?$", re.MULTILINE)
ATTRIBUTE = re.compile(r"__attribute__\s*\(\((\([^()]*\)|[^()])*\)\)")
C_END = re.compile(r"^\}", re.MULTILINE)


def c_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, number of lines) of each function in C source laid out with its closing
    brace at the margin."""
    position = 0
    while start := C_START.search(text, position):
        end = C_END.search(text, start.end())
        position = end.end() if end else len(text)
        name = re.search(r"(\w+)\s*\(", ATTRIBUTE.sub("", start.group()))
        first = text.count("\n", 0, start.start()) + 1
        last = text.count("\n", 0, position) + 1
        yield (name.group(1) if name else "?"), first, last - first + 1


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, number of lines without the docstring) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            head = node.body[0]
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (head.end_lineno or head.lineno) - head.lineno + 1
            yield node.name, node.lineno, lines


def breaches_of(path: Path) -> list[str]:
    """What is too long in PATH, as messages."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    found = []
    if lines > FILE_LINES:
        found.append(f"{path}: {lines} lines, at most {FILE_LINES}")
    if "tests" in path.parts:
        return found
    functions = c_functions if path.suffix in {".c", ".h"} else python_functions
    if path.suffix in {".c", ".h", ".py"}:
        for name, first, length in functions(text):
            if length > FUNCTION_LINES:
                found.append(f"{path}:{first}: {name} has {length} lines, at most {FUNCTION_LINES}")
    return found


def main(arguments: list[str]) -> int:
    """Check the folders named on the command line, default the current one."""
    files = [
        path
        for folder in arguments or ["."]
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in SUFFIXES and not SKIPPED & set(path.parts)
    ]
    found = [message for path in files for message in breaches_of(path)]
    if not files:
        found.append("check_sizes: no source files found")
    print("\n".join(found) if found else f"check_sizes: {len(files)} files within bounds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
