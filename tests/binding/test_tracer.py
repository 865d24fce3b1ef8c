"""Python objects that outlive a stretch of code."""

import gc

import pytest

import cmemray
from cmemray._load import core

needs_tracing = pytest.mark.skipif(
    not core.OBJECT_TRACING, reason="objects can be traced on CPython 3.13.3 and newer, with GIL"
)


class Thing:
    pass


@pytest.mark.skipif(core.OBJECT_TRACING, reason="works here")
def test_a_clear_error_elsewhere():
    with pytest.raises(RuntimeError, match=r"3\.13\.3"):
        cmemray.track_objects()
    with pytest.raises(RuntimeError, match=r"3\.13\.3"):
        core.ObjectTracer().start()


@needs_tracing
def test_survivors_in_order():
    with cmemray.track_objects() as tracked:
        first = Thing()
        for _ in range(10):
            Thing()
        second = Thing()
    things = [one for one in tracked.survivors if isinstance(one.obj, Thing)]
    assert [one.obj for one in things] == [first, second]
    assert things[0].frames[0].function == "test_survivors_in_order"
    assert things[1].frames[0].lineno == things[0].frames[0].lineno + 3


@needs_tracing
def test_nothing_survives_an_empty_block():
    for _ in range(3):
        with cmemray.track_objects() as tracked:
            pass
        assert [one.obj for one in tracked.survivors] == []


@needs_tracing
def test_objects_of_all_kinds_come_and_go():
    with cmemray.track_objects() as tracked:
        for i in range(3000):
            held = (i * 1000, [i, float(i)], {str(i): {i}}, f"{i}é", bytes(i), bytearray(i))
            text = b""
            for part in range(20):
                text += bytes([part])
            try:
                raise ValueError(held)
            except ValueError:
                pass
        del held, text, part, i
        gc.collect()
    kinds = {type(one.obj) for one in tracked.survivors}
    assert not kinds & {tuple, list, dict, set, bytes, bytearray, ValueError, float}, kinds


@needs_tracing
def test_survivors_are_alive_and_whole():
    with cmemray.track_objects() as tracked:
        keep = [[Thing(), {"a": (1, i)}, f"text {i}"] for i in range(1000)]
    count = len(keep)
    del keep
    gc.collect()
    lists = [one.obj for one in tracked.survivors if type(one.obj) is list and len(one.obj) == 3]
    assert len(lists) == count
    for i, (thing, table, text) in enumerate(lists):
        assert isinstance(thing, Thing)
        assert table["a"][1] == i
        assert text == f"text {i}"


@needs_tracing
def test_one_at_a_time():
    with cmemray.track_objects(), pytest.raises(RuntimeError, match="another"):
        cmemray.track_objects().start()
    tracked = cmemray.track_objects()
    with pytest.raises(RuntimeError, match="not running"):
        tracked.stop()
    tracked.start()
    del tracked
    with cmemray.track_objects():
        pass


@needs_tracing
def test_together_with_a_measurement():
    with cmemray.track_objects() as tracked, cmemray.measure(attribution="exact") as m:
        held = [Thing() for _ in range(100)]
    things = [one for one in tracked.survivors if isinstance(one.obj, Thing)]
    assert len(things) == 100
    assert m.count >= 100
    assert sum(row.size for row in m.locations_at_peak()) == m.peak
    del held
