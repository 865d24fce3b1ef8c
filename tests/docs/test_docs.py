"""What the documents name exists: files, links, make targets, functions, environment variables."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
TOP_LEVEL = {path.name for path in ROOT.iterdir()}


@lru_cache
def sources() -> str:
    folders = ("csrc", "cmemray", "pytest_cmemray", "tests/core", "tools")
    files = [path for name in folders for path in sorted((ROOT / name).rglob("*"))]
    suffixes = {".c", ".h", ".py", ".pyi", ".sh"}
    return "\n".join(path.read_text() for path in files if path.suffix in suffixes)


@lru_cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def missing_names(document: str) -> list[str]:
    """Names in code style that look like ours, and do not exist."""
    missing = []
    for code in CODE.findall(without_blocks(document)):
        path = re.fullmatch(r"([\w.-]+)/[\w./*{},-]*", code)
        if path and path.group(1) in TOP_LEVEL and not re.search(r"[*{…]", code):
            exists = (ROOT / code).exists() or path.group(1) in {"dist", "build"}
        elif hook := re.fullmatch(r"cmr_hook_(\w+)", code):
            # Pasted together by a macro from the list of hooks.
            exists = re.search(rf"\b[XT]\({hook.group(1)}\b", sources()) is not None
        elif re.fullmatch(r"(cmr_|CMR_)\w+(\(\))?", code):
            exists = re.search(rf"\b{code.removesuffix('()')}\b", sources()) is not None
        elif re.fullmatch(r"CMEMRAY_\w+", code):
            texts = sources() + (ROOT / "Makefile").read_text()
            exists = code in texts
        elif match := re.match(r"make ([a-z-]+)", code):
            exists = match.group(1) in make_targets()
        else:
            continue
        if not exists:
            missing.append(code)
    return missing


def test_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "architecture.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_names_exist(path: Path) -> None:
    assert missing_names(path.read_text()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = LINK.findall(without_blocks(path.read_text()))
    local = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`cmr_no_such_function`", ["cmr_no_such_function"]),
        ("`cmr_hook_malloc` and `cmr_hook_mallocate`", ["cmr_hook_mallocate"]),
        ("`CMR_NO_SUCH`", ["CMR_NO_SUCH"]),
        ("`csrc/core/LAYERS` and `csrc/core/no/such.c`", ["csrc/core/no/such.c"]),
        ("`make test`, `make nonsense X=1`", ["make nonsense X=1"]),
        ("`CMEMRAY_NO_SUCH`", ["CMEMRAY_NO_SUCH"]),
        ("`malloc`, `a/b`, `pip install .`", []),
    ],
)
def test_what_is_missing_is_found(text: str, missing: list[str]) -> None:
    assert missing_names(text) == missing
