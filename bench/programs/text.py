"""Strings and regular expressions."""

from __future__ import annotations

import re

_SENTENCE = "the quick brown fox jumps over a lazy dog while seven zebras vex five wizards"
_WORDS = _SENTENCE.split()
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<operator>[-+*/=<>!]=?)|(?P<space>\s+)"
)


def words() -> int:
    """Text put together, split, counted, replaced and formatted."""
    lines = [
        " ".join(_WORDS[(i * j + j) % len(_WORDS)] for j in range(1, 12)) + f" #{i}"
        for i in range(12_000)
    ]
    text = "\n".join(lines)
    counts: dict[str, int] = {}
    for line in text.splitlines():
        for word in line.split():
            key = word.strip("#").capitalize()
            counts[key] = counts.get(key, 0) + 1
    table = [f"{word:<20}|{count:>8,}|{count / 7:10.3f}" for word, count in counts.items()]
    other = text.replace("fox", "fennec").upper().encode().decode()
    return len(other) + len("\n".join(sorted(table)))


def tokens() -> int:
    """A program text cut into tokens, each a match with groups, then kept as tuples."""
    source = "\n".join(
        f"value_{i} = alpha * {i} + beta_{i % 50} / {i}.5 >= {i}" for i in range(6_000)
    )
    found = []
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup
        if kind != "space":
            found.append((kind, match.group(), match.span()))
    names = {text for kind, text, _ in found if kind == "name"}
    return len(found) + len(names)
