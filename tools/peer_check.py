#!/usr/bin/env python3
"""Plays the scenarios of tests/regression with pytest-memray and with this plugin, side by side.

    peer_check.py             all of them
    peer_check.py 17 52a      some numbers
    peer_check.py --document  and write what came out into docs/peer.json and the table of docs/peer.md

Either plugin has an environment of its own below build/peer, made with the interpreter that runs this:
pytest-memray the newest there is, this plugin as a wheel of the tree. Prints for each scenario what
came out. What is said to come out stands beside the scenario; exit status 1 when something else does, so
that a claim which no longer holds is seen.
"""

import argparse
import itertools
import json
import platform
import re
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "regression"))

import scenarios  # noqa: E402
from defects import DEFECTS  # noqa: E402
from scenario import (  # noqa: E402
    CRASHED,
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
DATA = ROOT / "docs" / "peer.json"
DOCUMENT = ROOT / "docs" / "peer.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->"
#: Seconds after which a run hangs: where that is said of it, and else.
SHORT, LONG = 60, 1800
#: How outcomes are told, in this order.
WORDS = {
    "PASSED": "passed",
    "FAILED": "failed",
    "MEMORY PROBLEMS": "over limit",
    "ERROR": "error",
    "XFAIL": "xfailed",
    "XPASS": "xpassed",
}

#: Columns of the table.
SIDES = ("ours", "peer")
#: CPython -> {"peer": what it is, "rows": {scenario: {"ours": cell, "peer": cell}}}
Data = dict[str, dict[str, object]]


def pip(python: Path, *arguments: str) -> None:
    """Install something for an environment."""
    command = [str(python), "-m", "pip", arguments[0], "-q", "--disable-pip-version-check"]
    subprocess.run([*command, *arguments[1:]], check=True)


def environment(folder: Path) -> Path:
    """The interpreter of an environment with the plugins that scenarios load."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"peer_check: making {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    requirements = ROOT / "tools" / "requirements"
    pip(python, "install", "-r", str(requirements / "test.txt"), "greenlet", "gevent")
    return python


def own_python(folder: Path) -> Path:
    """With a wheel of the tree."""
    python = environment(folder / "ours")
    pip(python, "install", "-r", str(ROOT / "tools" / "requirements" / "build.txt"))
    with tempfile.TemporaryDirectory() as dist:
        settings = f"--config-settings=build-dir={folder / 'wheel'}"
        # The build takes meson and ninja from the environment that it is for.
        path = f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
        build = ["wheel", "--no-deps", "--no-build-isolation", settings, "-w", dist, str(ROOT)]
        subprocess.run(["env", f"PATH={path}", str(python), "-m", "pip", "-q", *build], check=True)
        [wheel] = Path(dist).glob("*.whl")
        pip(python, "install", "--no-deps", "--force-reinstall", str(wheel))
    return python


def peer_python(folder: Path) -> Path:
    """With pytest-memray."""
    python = environment(folder / "peer")
    pip(python, "install", "-U", "--only-binary", "memray", PEER_WANTED)
    return python


def peer_version(python: Path) -> str:
    """What is compared with."""
    source = (
        "import importlib.metadata as m; print('pytest-memray', m.version('pytest-memray'),"
        " 'with memray', m.version('memray'))"
    )
    done = subprocess.run([python, "-c", source], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def played(scenario: Scenario, plugin: str, python: Path, claims: Sequence[Said]) -> list[Result]:
    """All runs in a folder of their own."""
    patience = SHORT if any(said.ending == HUNG for said in claims) else LONG
    if lacking := missing(scenario, str(python)):
        raise CannotBePlayed(f"no {lacking}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return play(scenario, Path(folder), plugin, str(python), patience)


def ended(result: Result) -> str:
    """What came out of a run: how many tests had which outcome, else how it ended."""
    if result.ending in (HUNG, CRASHED):
        return str(result.ending)
    counts = Counter(
        word
        for name, words in result.outcomes.items()
        if name not in ("the run", "skipped")
        for word in words.split(", ")
    )
    text = [f"{counts[word]} {told}" for word, told in WORDS.items() if counts[word]]
    text += [f"{n} skipped" for n in [result.outcomes.get("skipped")] if n]
    if "the run" in result.outcomes:
        text.append("internal error, the run ends")
    if text:
        return ", ".join(text)
    # A run that lists no tests still counts them.
    sums = [re.fullmatch(r"=*\s*(\d.*|no tests ran) in [\d.]+s.*", one) for one in result.outlines]
    if found := [one[1] for one in sums if one]:
        return str(found[-1])
    return f"status {result.ending}" if result.ending else ""


def cell(said: Said, results: Sequence[Result]) -> str:
    """What came out of all runs, and what `said` (which holds) says of the output, in words."""
    runs = []
    for text, equal in itertools.groupby(filter(None, map(ended, results))):
        n = len(list(equal))
        runs.append(text if n == 1 else f"{text} ({n} runs)")
    parts = [", then ".join(runs)]
    parts += ["with " + " and ".join(said.shows)] if said.shows else []
    parts += ["without " + " and ".join(said.lacks)] if said.lacks else []
    return "; ".join(parts)


def outcome(
    scenario: Scenario, plugin: str, python: Path, claims: Sequence[Said]
) -> tuple[str, list[str]]:
    """The cell of one plugin, and what came out otherwise than is said."""
    try:
        results = played(scenario, plugin, python, claims)
    except CannotBePlayed as error:
        return f"not played: {error}", []
    found = [differences(said, results) for said in claims]
    for said, bad in zip(claims, found, strict=True):
        if not bad:
            return cell(said, results), []
    name = "this plugin" if plugin == OURS else "the peer"
    problem = f"{scenario.number} {scenario.title}: {name}: {'; '.join(found[0])}"
    return cell(Said(), results), [problem, f"    came out: {together(results)}"]


def key(scenario: Scenario) -> str:
    """The name of a row."""
    return f"{scenario.number} {scenario.title}"


def merged(cells: Mapping[str, str]) -> str:
    """One cell for all CPythons: each of them is named where they differ."""
    if len(set(cells.values())) == 1:
        return next(iter(cells.values()))
    return "; ".join(f"{version.rpartition('.')[0]}: {text}" for version, text in cells.items())


def table(data: Data) -> str:
    """What is kept, as Markdown."""
    lines = [["number", "what is played", "this plugin", "pytest-memray", ""], ["---"] * 5]
    for scenario in scenarios.SCENARIOS:
        rows = {version: part["rows"].get(key(scenario)) for version, part in data.items()}
        known = {version: row for version, row in sorted(rows.items()) if row is not None}
        if not known:
            continue
        both = [merged({version: row[side] for version, row in known.items()}) for side in SIDES]
        differs = any(row["ours"] != row["peer"] for row in known.values())
        lines.append([scenario.number, scenario.title, *both, "differs" if differs else ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def written(document: str, data: Data) -> str:
    """The document with its table anew."""
    before, _, rest = document.partition(BEGIN)
    of = [f"{part['peer']} on CPython {version}" for version, part in sorted(data.items())]
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\nPlayed with {', and with '.join(of)}.\n\n{table(data)}\n{END}{after}"


def write(version: str, peer: str, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Keep these rows, and those of other scenarios and CPythons that are still there."""
    data: Data = json.loads(DATA.read_text()) if DATA.exists() else {}
    kept = data.get(version, {}).get("rows", {}) | dict(rows)
    names = {key(scenario) for scenario in scenarios.SCENARIOS}
    data[version] = {"peer": peer, "rows": {name: kept[name] for name in kept if name in names}}
    DATA.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    DOCUMENT.write_text(written(DOCUMENT.read_text(), data))


def main() -> int:
    """Play what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("numbers", nargs="*", help=f"of {len(DEFECTS)} numbers; default: all")
    parser.add_argument("--document", action="store_true", help="write docs/peer.md")
    arguments = parser.parse_args()
    version = platform.python_version()
    folder = ROOT / "build" / "peer" / version
    own, peer = own_python(folder), peer_python(folder)
    print(f"peer_check: {peer_version(peer)} on CPython {version}")
    rows, problems = {}, []
    for scenario in scenarios.SCENARIOS:
        if arguments.numbers and scenario.number not in arguments.numbers:
            continue
        ours, bad = outcome(scenario, OURS, own, (scenario.ours,))
        theirs, worse = outcome(scenario, PEER, peer, scenario.peer)
        print(f"{scenario.number:>4}  {scenario.title}\n      ours: {ours}\n      peer: {theirs}")
        sys.stdout.flush()
        rows[key(scenario)] = {"ours": ours, "peer": theirs}
        problems += [*bad, *worse]
        # At once: all of them take a quarter of an hour.
        if arguments.document:
            write(version, peer_version(peer), rows)
    differ = sum(row["ours"] != row["peer"] for row in rows.values())
    print(f"\n{len(rows)} scenarios, {differ} come out differently")
    if problems:
        print("otherwise than is said:\n" + "\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
