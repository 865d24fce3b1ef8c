"""The virtual environments: one with the suites, and one per plugin laid over it.

    <cache>/base       what the suites need, installed once
    <cache>/plain      nothing of its own
    <cache>/ours       this project's wheel
    <cache>/peer       pytest-memray

The three upper ones see `base` through a .pth file, so that all suites import the very same files
and differ in the plugin alone. Everything lives outside the source tree, by default in
~/.cache/pytest-cmemray/suites; CMEMRAY_SUITES_CACHE chooses another folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from bench.suites import catalog

ROOT = Path(__file__).resolve().parents[2]
_STAMP = "installed.txt"


def cache_folder() -> Path:
    """Where environments and results are kept."""
    named = os.environ.get("CMEMRAY_SUITES_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "pytest-cmemray" / "suites"


class Environments:
    """Makes and finds the environments below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def python(self, name: str) -> Path:
        """The interpreter of environment `name`."""
        return self.folder / name / "bin" / "python"

    def prepare(self, plugins: set[str], wheel: Path | None) -> None:
        """Make all that is missing or no longer fits; `wheel` None: build it from the tree."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._install("base", catalog.BASE, "\n".join(catalog.BASE))
        if "none" in plugins:
            self._install("plain", (), "")
        if "peer" in plugins:
            self._install("peer", catalog.PEER, "\n".join(catalog.PEER))
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
        shutil.rmtree(where, ignore_errors=True)
        print(f"suites: making {where}", file=sys.stderr)
        _run([sys.executable, "-m", "venv", str(where)])
        if name != "base":
            site = _site_packages(self.python(name))
            below = _site_packages(self.python("base"))
            (site / "base.pth").write_text(f"{below}\n")
        if requirements:
            _run([str(self.python(name)), "-m", "pip", "install", "-q", *requirements])
        (where / _STAMP).write_text(stamp)


def _site_packages(python: Path) -> Path:
    command = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(_run(command).strip())


def _run(command: list[str]) -> str:
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1")
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"suites: {' '.join(command)} ended with status {done.returncode}")
    return done.stdout
