"""`pip install` in the ways users do it; `pip uninstall` leaves nothing."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = "import cmemray, pytest_cmemray.plugin as p; print(cmemray.__file__); print(p.__file__)"

# One after the other in one worker: each compiles the extension.
pytestmark = pytest.mark.xdist_group("packaging")


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.python = folder / "bin" / "python"
        self.folder = folder

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        # No Ninja or Meson of the developer's: an installation brings what it needs.
        environment["PATH"] = f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        result = subprocess.run(
            [self.python, *map(str, arguments)],
            cwd=cwd or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def files(self) -> set[str]:
        paths = self.folder.glob("lib/python3*/site-packages/**/*")
        return {str(path) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = Environment(tmp_path / "env")
    made.run("-m", "pip", "install", "-q", "pytest>=7.2", "pluggy>=1.2")
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what git knows, as a user would have unpacked it."""
    target = tmp_path / "source"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
            (target / name).chmod((ROOT / name).stat().st_mode)
    return target


def uninstall_leaves_nothing(environment: Environment, before: set[str]) -> None:
    environment.run("-m", "pip", "uninstall", "-q", "-y", "pytest-cmemray")
    assert environment.files() - before == set()


def test_pip_install(environment: Environment, source: Path) -> None:
    before = environment.files()
    environment.run("-m", "pip", "install", "-q", source)
    for line in environment.run("-c", PROBE).split():
        assert "site-packages" in line
    # -B: pytest keeps compiled copies of every plugin's modules under names that pip does not know.
    listed = environment.run("-B", "-m", "pytest", "--version", "--version")
    assert "pytest-cmemray-0.1.0" in listed
    uninstall_leaves_nothing(environment, before)


def test_pip_install_editable_outlives_its_build_environment(
    environment: Environment, source: Path
) -> None:
    before = environment.files()
    environment.run("-m", "pip", "install", "-q", "-e", source)
    for line in environment.run("-c", PROBE).split():
        assert str(source) in line
    environment.run("-c", "import cmemray._core")
    uninstall_leaves_nothing(environment, before)


def test_wheel_holds_the_packages_and_nothing_else(environment: Environment, source: Path) -> None:
    before = environment.files()
    environment.run("-m", "pip", "install", "-q", source)
    base = next(environment.folder.glob("lib/python3*/site-packages"))
    new = {Path(name).relative_to(base).parts[0] for name in environment.files() - before}
    assert new == {"cmemray", "pytest_cmemray", "pytest_cmemray-0.1.0.dist-info"}


LIMITS = """
import pytest

kept = []

@pytest.mark.limit_memory("1 MB")
def test_within():
    kept.append(bytearray(1000))

@pytest.mark.xfail(strict=True)
@pytest.mark.limit_memory("1 MB")
def test_over():
    kept.append(bytearray(2_000_000))

@pytest.mark.xfail(strict=True)
@pytest.mark.limit_leaks("100 KB")
def test_leaks():
    kept.append(bytearray(200_000))

def test_without_a_limit():
    assert len([str(i) for i in range(1000)]) == 1000
"""


def test_a_cpython_that_is_not_known_yet_is_measured_without_lines(
    environment: Environment, source: Path
) -> None:
    """What is built for a minor version newer than all whose frames are described."""
    unknown = "-Csetup-args=-Dc_args=-DCMR_UNKNOWN_CPYTHON"
    environment.run("-m", "pip", "install", "-q", unknown, source)
    (environment.folder / "test_it.py").write_text(LIMITS)
    report = environment.run("-m", "pytest", "-q", "--memray", "test_it.py")
    assert "2 passed, 2 xfailed" in report
    reason = "Python stacks are not available: frames of this CPython are not known yet"
    assert report.count(reason) == 1, report


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout: no sdist to make")
def test_sdist_has_what_a_build_needs(tmp_path: Path) -> None:
    script = "import sys, build_backend; print(build_backend.build_sdist(sys.argv[1]))"
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "tools/backend"))
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    name = result.stdout.split()[-1]
    assert name.startswith("pytest_cmemray-") and name.endswith(".tar.gz")
