"""check_exports.py reads what a shared object shows to the dynamic linker."""

import shutil
import subprocess
import zipfile

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or shutil.which("readelf") is None, reason="needs gcc and readelf"
)

GOOD = '__attribute__((visibility("default"))) void PyInit__core(void) {}\nvoid hidden(void) {}\n'


@pytest.fixture
def build(tmp_path):
    def compile_object(source=GOOD, *arguments, name="_core.so", pinned=True):
        (tmp_path / "a.c").write_text(source)
        command = ["gcc", "-shared", "-fPIC", "-fvisibility=hidden", "a.c", "-o", name, *arguments]
        if pinned:
            command.append("-Wl,-z,nodelete")
        subprocess.run(command, cwd=tmp_path, check=True)
        return tmp_path / name

    return compile_object


def test_good_object(build, run_tool):
    assert run_tool("check_exports.py", build())[0] == 0


@pytest.mark.parametrize(
    ("source", "arguments", "pinned", "said"),
    [
        (GOOD, ["-fvisibility=default"], True, "exports hidden"),
        (
            GOOD + 'int shown __attribute__((weak, visibility("default")));',
            [],
            True,
            "exports shown",
        ),
        ("int nothing;", [], True, "does not export PyInit__core"),
        (GOOD, ["-Wl,--no-as-needed", "-lm"], True, "needs libm.so.6"),
        (GOOD, [], False, "not marked NODELETE"),
        (GOOD, ["-Wl,-z,execstack"], True, "asks for an executable stack"),
    ],
)
def test_breach(build, run_tool, source, arguments, pinned, said):
    status, output = run_tool("check_exports.py", build(source, *arguments, pinned=pinned))
    assert status == 1
    assert said in output


def test_object_inside_a_wheel(build, run_tool, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.write(build(), "cmemray/_core.cpython-311.so")
    status, output = run_tool("check_exports.py", tmp_path / "x.whl")
    assert (status, "expected cmemray/_core and cmemray/_core_dynamic" in output) == (1, True)
    with zipfile.ZipFile(tmp_path / "x.whl", "a") as wheel:
        source = GOOD.replace("PyInit__core", "PyInit__core_dynamic")
        wheel.write(build(source, name="_core_dynamic.so"), "cmemray/_core_dynamic.cpython-311.so")
    assert run_tool("check_exports.py", tmp_path / "x.whl")[0] == 0
    with zipfile.ZipFile(tmp_path / "x.whl", "a") as wheel:
        wheel.write(tmp_path / "_core.so", "pytest_cmemray.libs/libunwind.so.8")
    status, output = run_tool("check_exports.py", tmp_path / "x.whl")
    assert (status, "expected cmemray/_core and" in output) == (1, True)


def test_installed_module(run_tool):
    import cmemray._core as core

    assert run_tool("check_exports.py", core.__file__)[0] == 0
