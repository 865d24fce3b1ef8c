"""check_headers.py compiles each header alone and twice."""

import shutil

import pytest

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

GUARDED = "#ifndef {0}\n#define {0}\n{1}\n#endif\n"


@pytest.fixture
def csrc(tmp_path):
    (tmp_path / "csrc/core/os").mkdir(parents=True)
    good = GUARDED.format("GOOD_H", "#include <stdint.h>\nuint64_t cmr_good(void);")
    (tmp_path / "csrc/core/os/good.h").write_text(good)
    return tmp_path / "csrc"


def test_self_contained_header_passes(csrc, run_tool):
    (csrc / "core/os/user.h").write_text(GUARDED.format("USER_H", '#include "os/good.h"'))
    assert run_tool("check_headers.py", csrc, "gcc")[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        GUARDED.format("BAD_H", "uint64_t cmr_needs_stdint(void);"),
        "struct cmr_no_guard { int a; };\n",
        GUARDED.format("BAD_H", "void cmr_old_style();"),
    ],
    ids=["not self-contained", "no guard", "warning"],
)
def test_bad_header_fails(csrc, run_tool, text):
    (csrc / "core/os/bad.h").write_text(text)
    status, output = run_tool("check_headers.py", csrc, "gcc")
    assert status == 1
    assert "bad.h" in output
    assert "good.h" not in output


def test_frame_layouts_of_other_minors_are_left_out(csrc, run_tool):
    (csrc / "binding").mkdir()
    (csrc / "binding/frames_399.h").write_text("#error other\n")
    assert run_tool("check_headers.py", csrc, "gcc")[0] == 0


def test_no_headers_is_no_success(tmp_path, run_tool):
    (tmp_path / "empty").mkdir()
    assert run_tool("check_headers.py", tmp_path / "empty", "gcc")[0] == 2
