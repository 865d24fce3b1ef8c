"""The virtual environments: one with what is measured, and one per plugin laid over it.

    base       what the measured programs and suites import, installed once
    plain      nothing of its own
    ours       this project's wheel
    peer       pytest-memray

The three upper ones see `base` through a .pth file, so that all of them import the very same files
and differ in the plugin alone. Everything lives outside the source tree, in
~/.cache/pytest-cmemray/bench; CMEMRAY_BENCH_CACHE chooses another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The peer, and the newest pair that belongs together.
PEER = ("pytest-memray==1.11.0", "memray==1.20.0")
_STAMP = "installed.txt"


def cache_folder(what: str) -> Path:
    """Where environments and results of `what` are kept."""
    named = os.environ.get("CMEMRAY_BENCH_CACHE")
    root = Path(named) if named else Path.home() / ".cache" / "pytest-cmemray" / "bench"
    return root / what


class Environments:
    """Makes and finds the environments below one folder; `base` are pip requirements."""

    def __init__(self, folder: Path, base: tuple[str, ...]) -> None:
        self.folder = folder
        self.base = base

    def python(self, name: str) -> Path:
        """The interpreter of environment `name`."""
        return self.folder / name / "bin" / "python"

    def prepare(self, plugins: set[str], wheel: Path | None) -> None:
        """Make all that is missing or no longer fits; `wheel` None: build it from the tree."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._install("base", self.base, "\n".join(self.base))
        if "none" in plugins:
            self._install("plain", (), "")
        if "peer" in plugins:
            self._install("peer", PEER, "\n".join(PEER))
        if "ours" in plugins:
            built = wheel or self._build()
            digest = hashlib.sha256(built.read_bytes()).hexdigest()
            self._install("ours", (str(built),), digest)

    def for_plugin(self, plugin: str) -> Path:
        """The interpreter that runs mode `plugin`."""
        return self.python({"none": "plain", "ours": "ours", "peer": "peer"}[plugin])

    def sdist(self, requirement: str) -> Path:
        """The unpacked source distribution of `name==version`."""
        name, version = requirement.split("==")
        target = self.folder / "sdist" / f"{name}-{version}"
        if not target.exists():
            (self.folder / "sdist").mkdir(exist_ok=True)
            _run(
                [
                    *(str(self.python("base")), "-m", "pip", "download", "-q", "--no-deps"),
                    *("--no-binary", ":all:", "-d", str(target.parent), requirement),
                ]
            )
            with tarfile.open(target.parent / f"{name}-{version}.tar.gz") as archive:
                archive.extractall(target.parent, filter="data")
        return target

    def _build(self) -> Path:
        dist = self.folder / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        _run(
            [
                *(str(self.python("base")), "-m", "pip", "wheel", "-q", "--no-deps"),
                *("-w", str(dist), str(ROOT)),
            ]
        )
        return next(dist.glob("*.whl"))

    def _install(self, name: str, requirements: tuple[str, ...], stamp: str) -> None:
        stamp = f"{sys.version}\n{stamp}"
        where = self.folder / name
        if (where / _STAMP).exists() and (where / _STAMP).read_text() == stamp:
            return
        print(f"bench: making {where}", file=sys.stderr)
        if not _only_more(where / _STAMP, stamp):
            shutil.rmtree(where, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(where)])
        if name != "base":
            site = _site_packages(self.python(name))
            below = _site_packages(self.python("base"))
            (site / "base.pth").write_text(f"{below}\n")
        if requirements:
            _run([str(self.python(name)), "-m", "pip", "install", "-q", *requirements])
        (where / _STAMP).write_text(stamp)


def _only_more(stamp: Path, wanted: str) -> bool:
    """Whether what STAMP names is the beginning of what is wanted: the same interpreter, and some of
    the same requirements. Then installing the rest is enough."""
    if not stamp.exists():
        return False
    there, lines = stamp.read_text().splitlines(), wanted.splitlines()
    # The interpreter's version takes one line; a wheel's digest says nothing about its requirements.
    return there[:1] == lines[:1] and len(there) > 1 and set(there) < set(lines)


def _site_packages(python: Path) -> Path:
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(_run(command).strip())


def _run(command: list[str]) -> str:
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"bench: {' '.join(command)} ended with status {done.returncode}")
    return done.stdout
