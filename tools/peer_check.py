#!/usr/bin/env python3
"""Plays the scenarios of tests/regression with pytest-memray and with this plugin.

    peer_check.py             all of them
    peer_check.py 17 52a      some numbers
    peer_check.py --document  and write what was played into the table of docs/peer.md

pytest-memray, the newest there is, goes into an environment of its own below build/peer. Prints for
each scenario what both of them make of it. What each is said to make of it stands beside the scenario;
exit status 1 when something comes out otherwise, so that a claim which no longer holds is seen.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "regression"))

import scenarios  # noqa: E402
from defects import DEFECTS  # noqa: E402
from scenario import (  # noqa: E402
    HUNG,
    OURS,
    PEER,
    CannotBePlayed,
    Result,
    Said,
    Scenario,
    differences,
    missing,
    play,
    together,
)

PEER_WANTED = "pytest-memray>=1.11"
DOCUMENT = ROOT / "docs" / "peer.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
#: Seconds after which a run hangs: where that is said of it, and else.
SHORT, LONG = 60, 600


def peer_python() -> str:
    """The interpreter with pytest-memray and the plugins that scenarios load."""
    folder = ROOT / "build" / "peer" / "env"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"peer_check: making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    lists = ROOT / "tools" / "requirements"
    subprocess.run(
        [
            *(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-U"),
            *("-r", str(lists / "test.txt"), PEER_WANTED, "greenlet", "gevent"),
        ],
        check=True,
    )
    return str(python)


def peer_version(python: str) -> str:
    """The versions that are compared with."""
    source = (
        "import importlib.metadata as m, platform; print('pytest-memray', m.version('pytest-memray'),"
        " 'with memray', m.version('memray'), 'and CPython', platform.python_version())"
    )
    done = subprocess.run([python, "-c", source], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def played(scenario: Scenario, plugin: str, python: str, claims: tuple[Said, ...]) -> list[Result]:
    """All runs in a folder of their own."""
    patience = SHORT if any(said.ending == HUNG for said in claims) else LONG
    if lacking := missing(scenario, python):
        raise CannotBePlayed(f"no {lacking}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return play(scenario, Path(folder), plugin, python, patience)


def brief(said: Said) -> str:
    """What is said to come out, in a few words."""
    words = list(dict.fromkeys(said.outcomes.values()))
    parts = []
    for word in words:
        names = [name for name, one in said.outcomes.items() if one == word]
        parts.append(f"{word} {len(names)}" if len(said.outcomes) > 1 else word)
    text = ", ".join(parts).replace("MEMORY PROBLEMS", "over limit")
    if isinstance(said.ending, str):
        text = said.ending
    elif said.never and not said.lines:
        text += "; not told: " + " ".join(said.never[0].strip("*").split())
    return text or "ends well"


def row(scenario: Scenario, python: str) -> tuple[list[str], list[str]]:
    """Cells of the table, and what came out otherwise than is said."""
    problems = []
    cells = [scenario.number, scenario.title, brief(scenario.ours)]
    for name, plugin, program, claims in (
        ("this plugin", OURS, sys.executable, (scenario.ours,)),
        ("the peer", PEER, python, scenario.peer),
    ):
        try:
            results = played(scenario, plugin, program, claims)
        except CannotBePlayed as error:
            cells.append(f"not played: {error}")
            continue
        found = [differences(said, results) for said in claims]
        if all(found):
            problems.append(f"{scenario.number} {scenario.title}: {name}: {'; '.join(found[0])}")
            problems.append(f"    came out: {together(results)}")
        if plugin == PEER:
            fitting = [said for said, bad in zip(claims, found, strict=True) if not bad]
            cells.append(brief(fitting[0]) if fitting else "otherwise than is said")
    same = cells[2] == cells[3]
    return [*cells, "" if same else "differs"], problems


def markdown(rows: list[list[str]]) -> str:
    """The table."""
    head = ["number", "scenario", "this plugin", "pytest-memray", ""]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def written(document: str, version: str, rows: list[list[str]]) -> str:
    """The document with these rows anew; those of other scenarios stay."""
    before, _, rest = document.partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = {}
    for line in old.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        kept[tuple(cells[:2])] = cells
    kept |= {tuple(cells[:2]): cells for cells in rows}
    names = [(scenario.number, scenario.title) for scenario in scenarios.SCENARIOS]
    table = markdown([kept[name] for name in names if name in kept])
    return f"{before}{BEGIN}\nPlayed with {version}.\n\n{table}\n{END}{after}"


def main() -> int:
    """Play what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("numbers", nargs="*", help=f"of {len(DEFECTS)} numbers; default: all")
    parser.add_argument("--document", action="store_true", help="write docs/peer.md")
    arguments = parser.parse_args()
    python = peer_python()
    version = peer_version(python)
    print(f"peer_check: {version}; pytest-cmemray {importlib.metadata.version('pytest-cmemray')}")
    rows, problems = [], []
    for scenario in scenarios.SCENARIOS:
        if arguments.numbers and scenario.number not in arguments.numbers:
            continue
        cells, bad = row(scenario, python)
        print(
            f"{cells[0]:>4}  {cells[1]}\n      ours: {cells[2]}\n      peer: {cells[3]}", flush=True
        )
        rows.append(cells)
        problems += bad
    if arguments.document:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), version, rows))
    print(f"\n{len(rows)} scenarios, {sum(bool(cells[4]) for cells in rows)} come out differently")
    if problems:
        print("otherwise than is said:\n" + "\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
