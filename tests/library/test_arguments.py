"""Bad arguments are named, with what would be valid."""

import sys

import pytest
from shared_fixtures import span

import cmemray


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"limit": "10 KBANANAS"}, ValueError, "10 KBANANAS"),
        ({"limit": 1.5}, TypeError, "float"),
        ({"limit": True}, TypeError, "bool"),
        ({"limit": -1}, ValueError, "negative"),
        ({"limit": 0}, ValueError, "at least 1 byte"),
        ({"limit": "0 MB"}, ValueError, "at least 1 byte"),
        ({"basis": "asked"}, ValueError, "'requested' or 'system'"),
        ({"basis": 1}, TypeError, "'requested' or 'system'"),
        ({"attribution": "sampled"}, ValueError, "'exact', 'budgeted' or None"),
        ({"threads": "mine"}, ValueError, "'all', 'test' or 'current'"),
        ({"threads": None}, ValueError, "'all', 'test' or 'current'"),
        ({"trace_python_allocators": 1}, TypeError, "not a bool"),
        ({"locate_from": -1}, ValueError, "negative"),
        ({"locate_from": 1.5}, TypeError, "float"),
        ({"collect": "yes"}, TypeError, "not a number"),
        ({"root": "main"}, TypeError, "not a frame"),
        ({"seed": 1.5}, TypeError, "not a number or text"),
        ({"seed": True}, TypeError, "not a number or text"),
    ],
)
def test_bad(arguments, error, text):
    with pytest.raises(error) as caught:
        cmemray.measure(**arguments)
    assert text in str(caught.value)
    value = next(iter(arguments.values()))
    assert isinstance(value, bool) or str(value) in str(caught.value)


def test_positional_is_refused():
    with pytest.raises(TypeError):
        cmemray.measure("10 MB")


@pytest.mark.parametrize("seed", [None, 0, -1, 2**70, "tests/test_a.py::test_é[\ud800]"])
def test_any_seed(seed):
    with cmemray.measure(seed=seed) as m:
        held = bytearray(100)
    assert m.leaked in span(sys.getsizeof(held))


def test_limits_of_all_forms():
    for limit in ("1 GB", "1 gib", 2**30, "1024 MB"):
        with cmemray.measure(limit=limit) as m:
            pass
        assert m.peak == 0
