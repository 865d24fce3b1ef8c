"""Builds the example's C extension beside its source, when it is missing or older than that."""

import shlex
import subprocess
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).parent / "gallery" / "_scale.c"


def build() -> None:
    target = SOURCE.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    if target.exists() and target.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    # An interpreter may name a compiler of the machine it was built on.
    if subprocess.run(["sh", "-c", f"command -v {compiler[0]}"], capture_output=True).returncode:
        compiler = ["cc"]
    include = f"-I{sysconfig.get_path('include')}"
    command = [*compiler, "-O2", "-Wall", "-shared", "-fPIC", include, SOURCE, "-o", target]
    subprocess.run(command, check=True)


build()
