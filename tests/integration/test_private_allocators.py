"""Public packages with allocators inside, where they are installed: `make allocators` sees to that."""

import pytest

PACKAGES = "make allocators installs it"

TESTS = """
import polars
import pyarrow

@pytest.mark.limit_memory("1 GB")
def test_frame():
    frame = polars.DataFrame({"a": range(100_000)})
    assert frame["a"].sum() == 4_999_950_000

@pytest.mark.limit_memory("1 GB")
def test_table():
    assert len(pyarrow.table({"a": list(range(100_000))})) == 100_000
"""


@pytest.mark.parametrize("workers", ["", "-n2"])
def test_polars_and_pyarrow_are_named_once(project, need, workers: str) -> None:
    for package in ("polars", "pyarrow"):
        pytest.importorskip(package, reason=PACKAGES)
    plugins = (need("xdist.plugin"),) if workers else ()
    result = project.run_tests(TESTS, *([workers] if workers else []), plugins=plugins)
    result.assert_outcomes(passed=2)
    named = [line for line in result.outlines if " contains " in line]
    assert len(named) == len(set(named))
    result.stdout.fnmatch_lines_random(
        ["*polars*.so contains jemalloc: *", "libarrow.so.* contains *mimalloc: *"]
    )
    # Nothing else that these packages load is taken for an allocator.
    assert all("polars" in line or "arrow" in line for line in named)
