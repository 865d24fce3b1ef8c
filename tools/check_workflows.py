#!/usr/bin/env python3
"""Checks the workflows of continuous integration: `check_workflows.py FILE.yml...`.

What can be run there must be runnable here, so a step runs a make target and nothing else; actions
are pinned to a full version, permissions are named, and a job has a time limit. (That the files
are well-formed workflows at all is checked by check-jsonschema.) Exit status 1 if any breach.
"""

import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})")
RUN = re.compile(r"make( [a-z][a-z-]*| [A-Z]+=(\"[^\"]*\"|\S+))+")


def targets_of(makefile: Path) -> set[str]:
    """Names of the targets that MAKEFILE documents."""
    return set(re.findall(r"^([a-z][a-z-]*):.*##", makefile.read_text(), re.MULTILINE))


def step_breaches(step: dict[str, Any], targets: set[str]) -> list[str]:
    """What is wrong with one step, as messages."""
    found = []
    if "uses" in step and not PINNED.fullmatch(step["uses"]):
        found.append(f"{step['uses']}: not pinned to vX.Y.Z or a commit")
    for line in step.get("run", "").strip().splitlines():
        if not RUN.fullmatch(line.strip()):
            found.append(f"run: {line.strip()}: only make targets")
            continue
        names = [word for word in line.split()[1:] if re.fullmatch("[a-z-]+", word)]
        found += [f"run: no make target {name}" for name in names if name not in targets]
    return found


def breaches_of(path: Path, targets: set[str]) -> list[str]:
    """What is wrong with the workflow PATH, as messages."""
    workflow = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    found = [] if "permissions" in workflow else ["no permissions named"]
    for name, job in workflow["jobs"].items():
        if "timeout-minutes" not in job:
            found.append(f"job {name}: no timeout-minutes")
        for step in job.get("steps", []):
            found += [f"job {name}: {message}" for message in step_breaches(step, targets)]
    return [f"{path}: {message}" for message in found]


def main(arguments: list[str]) -> int:
    """Check the files named on the command line."""
    targets = targets_of(Path(__file__).resolve().parent.parent / "Makefile")
    found = [message for name in arguments for message in breaches_of(Path(name), targets)]
    if not arguments:
        found.append("check_workflows: name workflow files")
    print("\n".join(found) if found else f"check_workflows: {len(arguments)} files fine")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
