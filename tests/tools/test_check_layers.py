"""check_layers.py finds each kind of breach, and none in order."""

from pathlib import Path

import pytest


@pytest.fixture
def core(tmp_path: Path) -> Path:
    (tmp_path / "core/os").mkdir(parents=True)
    (tmp_path / "core/heap").mkdir()
    (tmp_path / "core/LAYERS").write_text("# lowest first\nos\nheap\n")
    (tmp_path / "core/os/lock.h").write_text("#include <stdint.h>\n")
    (tmp_path / "core/heap/ledger.c").write_text('#include "os/lock.h"\n')
    return tmp_path / "core"


def test_order_passes(core, run_tool):
    assert run_tool("check_layers.py", core) == (0, "check_layers: 2 files in order\n")


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("os/lock.c", '#include "heap/ledger.h"', "heap stands below os"),
        ("os/lock.c", '  # include "heap/ledger.h"', "heap stands below os"),
        ("heap/x.h", '#include "lock.h"', 'write "folder/name.h"'),
        ("heap/x.h", '#include "os/gone.h"', "no such header"),
        ("heap/x.h", '#include "other/x.h"', "other is no folder of LAYERS"),
        ("heap/x.h", "#include <Python.h>", "the core knows nothing of CPython"),
        ("heap/x.h", "#include <internal/pycore_frame.h>", "the core knows nothing of CPython"),
        ("other/x.h", "", "folder other is not listed"),
    ],
)
def test_breach_is_named_with_its_line(core, run_tool, file, line, said):
    (core / file).parent.mkdir(exist_ok=True)
    (core / file).write_text(f"/* head */\n{line}\n")
    status, output = run_tool("check_layers.py", core)
    assert status == 1
    assert file in output
    assert said in output


def test_file_outside_a_folder(core, run_tool):
    (core / "stray.c").write_text("")
    status, output = run_tool("check_layers.py", core)
    assert (status, "stray.c: C files belong into a folder" in output) == (1, True)


def test_nothing_found_is_no_success(tmp_path, run_tool):
    (tmp_path / "LAYERS").write_text("os\n")
    assert run_tool("check_layers.py", tmp_path)[0] == 1
