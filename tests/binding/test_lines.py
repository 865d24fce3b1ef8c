"""The decoder of line tables agrees with the interpreter's."""

import sys
import types

import pytest

from cmemray._load import core


def codes_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


def expected(code):
    # co_positions() has one entry per code unit.
    return [line or 0 for line, _, _, _ in code.co_positions()]


def check(code):
    assert core.decode_lines(code) == expected(code), code


def test_the_standard_library():
    count = 0
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if not path.endswith(".py"):
            continue
        try:
            with open(path, "rb") as file:
                whole = compile(file.read(), path, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError):
            continue
        for code in codes_of(whole):
            check(code)
            count += 1
    assert count > 1000


@pytest.mark.parametrize("gap", [0, 1, 2, 30, 63, 64, 5000, 70_000])
def test_far_lines_forward_and_back(gap):
    blank = "\n" * gap
    source = f"def f(a,{blank}b=1):\n  x = [{blank}a,{blank}b]\n  while a:\n{blank}    a -= 1\n  return x"
    for code in codes_of(compile(source, "far.py", "exec")):
        check(code)


@pytest.mark.parametrize("first", [1, 1000, 2**20])
def test_moved_code(first):
    code = compile("a = 1\nb = (a,\n c)\n", "moved.py", "exec").replace(co_firstlineno=first)
    check(code)


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        ("8100d8080c", [5, 5, 6]),
        ("e906f8", [8, 8, 0]),
        ("", []),
        ("00", []),
        ("8100e8", [5, 5, 5]),
        ("f0", [5]),
        ("d8", [6]),
    ],
)
def test_small_tables(table, lines):
    """Also tables that end in the middle of an entry."""
    code = (lambda: None).__code__.replace(co_linetable=bytes.fromhex(table), co_firstlineno=5)
    assert core.decode_lines(code) == lines


def test_wrong_argument():
    with pytest.raises(TypeError, match="code object"):
        core.decode_lines("code")
