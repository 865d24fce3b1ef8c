"""What all tests share: the guard against testing the source tree, and small pytest projects."""

import importlib.util
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["pytester"]

# A machine's load must not decide whether a property holds.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=5000)
hypothesis.settings.load_profile("default")

ROOT = Path(__file__).resolve().parents[1]
#: Whether this is make asan-python.
SANITIZED = bool(os.environ.get("CMEMRAY_TEST_SANITIZED"))
#: Seconds. A run takes a few, but on a machine with ten times as much to do as it has processors.
TIMEOUT = 600
#: What cannot be as elsewhere there, and why.
_NOT_SANITIZED = {
    "test_memory_refused_to_the_tracker_is_not_passed_in_silence": "needs the address space itself",
    "test_young_threads_are_not_old": "allocates in a new thread before that begins",
    "test_35_threads_allocate_without_the_gil_at_once": "marks all of 400,000 megabytes, which takes minutes",
    "test_35_numbers_of_a_thread_that_python_does_not_know_are_exact": (
        "allocates in a new thread before that begins"
    ),
    "test_a_foreign_thread": "allocates in a new thread before that begins",
    "test_41_runpath": "opens libraries itself, so that nobody's RUNPATH counts but its own",
    "test_a_passing_test_leaves_two_hundred_bytes_at_most": "takes minutes with tracemalloc",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items if SANITIZED else ():
        why = _NOT_SANITIZED.get(item.name.partition("[")[0])
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=f"the sanitizer {why}"))


def pytest_configure() -> None:
    # find_spec of a submodule would import cmemray; some tests want it not imported yet.
    spec = importlib.util.find_spec("cmemray")
    origin = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if not os.environ.get("CMEMRAY_TEST_INSTALLED"):
        return
    if origin is None or "site-packages" not in origin.parts:
        raise pytest.UsageError(f"cmemray would be imported from {origin}, not from a wheel")


#: Lines that every small project may start with.
ALLOCATE = "import pytest\n\n_kept = []\n\n"


class Project:
    """A folder with tests, and pytest runs in it."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path: Path = pytester.path
        self.monkeypatch = monkeypatch
        self._pytester = pytester
        # Only the plugins that a test asks for; whatever else is installed is left out.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        for name in ("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "PYTEST_ADDOPTS", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        pytester.makeini("[pytest]\n")

    def write(self, name: str, text: str) -> Path:
        """Write a file; a test file's usual beginning is put before its text."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ALLOCATE + text if name.startswith("test_") else text)
        return path

    def ini(self, *lines: str) -> None:
        """Write pytest.ini."""
        self.write("pytest.ini", "\n".join(["[pytest]", *lines, ""]))

    def run(
        self, *args: str, plugins: tuple[str, ...] = (), plugin: str = "pytest_cmemray.plugin"
    ) -> pytest.RunResult:
        """Run pytest with `args`; `plugins` are loaded besides ours."""
        loaded = [f"-p{name}" for name in (plugin, *plugins) if name]
        if SANITIZED and self._is_loaded(plugin):
            # The whole process has a sanitizer, and is measured all the same.
            loaded += ["-o", "memray_sanitizer=track"]
        return self._pytester.runpytest_subprocess(*loaded, *args, timeout=TIMEOUT)

    def _is_loaded(self, plugin: str) -> bool:
        """True when a run knows our ini keys, and no test of the key itself is on."""
        ini = self.path / "pytest.ini"
        asked = ini.exists() and "memray_sanitizer" in ini.read_text()
        automatic = "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ
        return not asked and (automatic or plugin == "pytest_cmemray.plugin")

    def run_tests(self, text: str, *args: str, **options: tuple[str, ...]) -> pytest.RunResult:
        """Write test_it.py and run it."""
        self.write("test_it.py", text)
        return self.run(*args, **options)

    def junit(self, *args: str) -> dict[str, ElementTree.Element]:
        """Run with a JUnit file; its test cases by name."""
        self.run("--junitxml=junit.xml", *args)
        tree = ElementTree.parse(self.path / "junit.xml")
        return {case.get("name", ""): case for case in tree.iter("testcase")}

    @staticmethod
    def outcomes(result: pytest.RunResult) -> dict[str, str]:
        """Outcome of each test by its name, from the lines of a run with -rA."""
        words = ("PASSED", "FAILED", "MEMORY PROBLEMS", "SKIPPED", "XFAIL", "XPASS", "ERROR")
        found = {}
        for line in result.outlines:
            for word in words:
                if line.startswith(word + " ") and "::" in line:
                    found[line.partition("::")[2].partition(" - ")[0].strip()] = word
        return found


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


@pytest.fixture
def need() -> Callable[[str], str]:
    """Skip where another plugin is not installed, as with the oldest pytest; else its module."""

    def check(module: str) -> str:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed here")
        return module

    return check
