"""Runs every C unit test of the core as a pytest item, each in a process of its own.

CMEMRAY_CORE_BUILDS names the Meson build folders whose tests/core holds the binaries, as
"label=folder,label=folder", relative to the repository; the same test under a sanitizer is another
item. Without the variable the folder of `make unit` is taken where it exists. CMEMRAY_CORE_UNDER is
what to run each binary under.
"""

import functools
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXIT_SKIPPED = 77  # CMR_TEST_EXIT_SKIPPED of cmr_test.h
#: A command that each binary is run under, such as valgrind with its options.
UNDER = shlex.split(os.environ.get("CMEMRAY_CORE_UNDER", ""))
# Seconds; the longest takes a few under ThreadSanitizer, more on a loaded machine, and a minute under
# valgrind.
TIMEOUT = 600 if UNDER else 300


#: What valgrind does differently, by binary and test ("" for all of it). Its malloc stands in front of
#: every other, sets no errno, and it runs one thread at a time.
NOT_UNDER_VALGRIND = {
    ("test_hooks_interposed", ""): "its malloc stands in front of the program's",
    ("test_hooks_heap", "calls_go_to_the_preloaded_allocator"): "it preloads itself",
    ("test_hooks_heap", "calloc_counts_the_product"): "its calloc sets no errno",
    ("test_hooks_heap", "aligned_allocators_count_what_was_asked_for"): "its malloc sets no errno",
    ("test_hooks_maps", "mmap_counts_until_munmap"): "its mmap refuses with another errno",
    (
        "test_hooks_maps",
        "a_munmap_that_cannot_split_changes_nothing",
    ): "it has room for fewer mappings",
    ("test_quiesce", "eight_may_wait_at_a_time"): "it runs one thread at a time",
    # Not done after 25 minutes on a loaded machine, of which 21 s were processor time.
    (
        "test_events_threads",
        "regions_come_and_go_beside_a_budgeted_one",
    ): "it runs one thread at a time, and these wait for each other's turns most of the time",
    ("test_slots_objects", "new_and_delete_are_seen_inside_the_cxx_library"): "it replaces new",
    ("test_slots_objects", "every_form_of_new_and_delete_is_seen"): "it replaces new",
    ("test_slots_objects", "a_deeply_bound_object_keeps_its_own_malloc"): "it replaces any malloc",
    (
        "test_slots_objects",
        "a_lazy_deeply_bound_object_keeps_its_own_malloc",
    ): "it replaces any malloc",
    (
        "test_slots_objects",
        "a_deeply_bound_object_keeps_the_malloc_of_its_library",
    ): "it replaces any malloc",
    (
        "test_slots_objects",
        "a_lazy_deeply_bound_object_keeps_the_malloc_of_its_library",
    ): "it replaces any malloc",
}


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


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run with what each sanitizer is to do; under valgrind, if CMEMRAY_CORE_UNDER says so."""
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=1")
    # A test forks in a signal handler, where the loader's own calloc would be reported.
    environment["TSAN_OPTIONS"] = "halt_on_error=1:report_signal_unsafe=0"
    environment["UBSAN_OPTIONS"] = "print_stacktrace=1"
    if any(label.startswith("asan") for label in build_folders()) and not finds_leaks():
        environment["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=1"
    return subprocess.run(
        [*UNDER, *command], capture_output=True, text=True, timeout=TIMEOUT, env=environment
    )


def planted(folder: Path, fault: str, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run the fixture that has a fault on purpose."""
    command = [*UNDER, folder / "tests" / "fixtures" / "core" / "planted_leak", fault]
    environment = dict(os.environ, ASAN_OPTIONS=options)
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)


@functools.cache
def finds_leaks() -> bool:
    """Whether LeakSanitizer works here: it traces its own process, which containers may refuse."""
    folder = build_folders().get("asan")
    return folder is not None and "fatal error" not in planted(folder, "", "detect_leaks=1").stderr


@pytest.mark.parametrize("label", [label for label in build_folders() if label == "asan"])
def test_a_planted_leak_is_found(label: str) -> None:
    if not finds_leaks():
        pytest.skip("LeakSanitizer cannot trace its own process here")
    found = planted(build_folders()[label], "leak", "detect_leaks=1")
    assert found.returncode != 0
    assert "LeakSanitizer: detected memory leaks" in found.stderr
    assert planted(build_folders()[label], "none", "detect_leaks=1").returncode == 0


@pytest.mark.skipif(not UNDER, reason="make valgrind does this")
@pytest.mark.parametrize("fault", ["leak", "read"])
def test_what_valgrind_is_to_find_is_found(fault: str) -> None:
    (folder,) = build_folders().values()
    assert planted(folder, "none").returncode == 0
    assert planted(folder, fault).returncode == 99


@pytest.mark.parametrize("label", list(build_folders()))
def test_build_has_the_binary_of_every_source(label: str) -> None:
    sources = {path.stem for path in Path(__file__).parent.glob("test_*.c")}
    assert sources, "no C unit tests found"
    assert {path.name for path in binaries_of(build_folders()[label])} == sources


@pytest.mark.parametrize(("binary", "name"), list(all_cases()))
def test_core(binary: Path, name: str) -> None:
    if UNDER:
        why = NOT_UNDER_VALGRIND.get((binary.name, name)) or NOT_UNDER_VALGRIND.get(
            (binary.name, "")
        )
        if why is not None:
            pytest.skip(f"valgrind: {why}")
    result = run([binary, name])
    output = result.stdout + result.stderr
    if result.returncode == EXIT_SKIPPED:
        pytest.skip(output.strip().splitlines()[0])
    assert result.returncode == 0, f"{binary} {name} ended with {result.returncode}\n{output}"
    assert f"PASSED {name}\n" in result.stdout
