"""check_sources.py finds files that the build description forgot."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load_tool():
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools/check_sources.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_forgotten_files_are_named(tmp_path):
    for name in ("csrc/core/os/a.c", "csrc/core/os/b.c", "cmemray/x.py", "cmemray/sub/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    compiled = {tmp_path / "csrc/core/os/a.c"}
    installed = {tmp_path / "cmemray/x.py"}
    assert load_tool().missing(tmp_path, compiled, installed) == [
        "csrc/core/os/b.c: no Meson target compiles it",
        "cmemray/sub/y.py: not in the wheel",
    ]


def test_compiled_files_are_read_from_mesons_answer():
    targets = [{"target_sources": [{"language": "c", "sources": ["/x/a.c"]}, {"linker": ["cc"]}]}]
    assert load_tool().compiled_files(targets) == {Path("/x/a.c")}
