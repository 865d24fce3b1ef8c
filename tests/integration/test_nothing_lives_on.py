"""Nothing of a measurement outlives its test, however the test ended.

While one lives, the tracker keeps the numbers of all stacks: in a long run of a large suite they
would fill its tables, and later tests could not be measured.
"""

import os
import subprocess
import sys

TESTS = """
import pytest


def test_passes():
    pass


def test_fails():
    assert [] == [1]


@pytest.mark.xfail
def test_fails_as_expected():
    raise ValueError


def test_is_skipped():
    pytest.skip("now")


@pytest.mark.limit_memory("1 B")
def test_is_over():
    bytearray(1000)


@pytest.mark.limit_leaks("1 B")
def test_leaks():
    pytest.kept = bytearray(1000)


def test_last(pytestconfig):
    assert pytestconfig.alive == {}
"""
CONFTEST = """
import gc


def pytest_configure(config):
    config.alive = {}


def pytest_runtest_logstart(nodeid, location):
    # Without a collection: what waits for one lives on, too.
    import cmemray

    # Those that never begin, from which others are copied, have no numbers.
    alive = [o for o in gc.get_objects() if isinstance(o, cmemray.measure) and o.peak]
    if alive:
        CONFIG.alive[f"before {nodeid}"] = len(alive)


def pytest_sessionstart(session):
    global CONFIG
    CONFIG = session.config
"""


#: In make asan-python the whole process has a sanitizer, and is measured all the same.
TRACK = ["-o", "memray_sanitizer=track"] if os.environ.get("CMEMRAY_TEST_SANITIZED") else []


def test_nothing_lives_on(tmp_path):
    (tmp_path / "test_them.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-P",
                "-m",
                "pytest",
                "--memray",
                "-p",
                "no:cacheprovider",
                "-rA",
                "-s",
            ),
            *TRACK,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "PASSED test_them.py::test_last" in done.stdout, done.stdout + done.stderr
    assert "3 failed, 2 passed, 1 skipped, 1 xfailed" in done.stdout
