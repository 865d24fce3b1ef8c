"""Runs every C unit test of the core as a pytest item, each in a process of its own.

CMEMRAY_CORE_BUILDS names the Meson build folders whose tests/core holds the binaries, as
"label=folder,label=folder", relative to the repository; the same test under a sanitizer is another
item. Without the variable the folder of `make unit` is taken where it exists.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXIT_SKIPPED = 77  # CMR_TEST_EXIT_SKIPPED of cmr_test.h
TIMEOUT = 120  # seconds; the longest takes a few under ThreadSanitizer


def build_folders() -> dict[str, Path]:
    named = os.environ.get("CMEMRAY_CORE_BUILDS", "")
    if not named:
        default = ROOT / "build" / "gcc"
        return {"plain": default} if default.is_dir() else {}
    pairs = (part.split("=", 1) for part in named.split(","))
    return {label: ROOT / folder for label, folder in pairs}


def binaries_of(build: Path) -> list[Path]:
    folder = build / "tests" / "core"
    return sorted(
        path
        for path in folder.glob("test_*")
        if path.is_file() and not path.suffix and os.access(path, os.X_OK)
    )


def all_cases() -> Iterator[object]:
    for label, build in build_folders().items():
        for binary in binaries_of(build):
            listed = subprocess.run(
                [binary, "--list"], capture_output=True, text=True, timeout=TIMEOUT, check=True
            )
            for name in listed.stdout.split():
                yield pytest.param(binary, name, id=f"{label}-{binary.name}-{name}")


@pytest.mark.parametrize("label", list(build_folders()))
def test_build_has_the_binary_of_every_source(label: str) -> None:
    sources = {path.stem for path in Path(__file__).parent.glob("test_*.c")}
    assert sources, "no C unit tests found"
    assert {path.name for path in binaries_of(build_folders()[label])} == sources


@pytest.mark.parametrize(("binary", "name"), list(all_cases()))
def test_core(binary: Path, name: str) -> None:
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:abort_on_error=1")
    # A test forks in a signal handler, where the loader's own calloc would be reported.
    environment["TSAN_OPTIONS"] = "halt_on_error=1:report_signal_unsafe=0"
    environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    result = subprocess.run(
        [binary, name], capture_output=True, text=True, timeout=TIMEOUT, env=environment
    )
    output = result.stdout + result.stderr
    if result.returncode == EXIT_SKIPPED:
        pytest.skip(output.strip().splitlines()[0])
    assert result.returncode == 0, f"{binary} {name} ended with {result.returncode}\n{output}"
    assert f"PASSED {name}\n" in result.stdout
