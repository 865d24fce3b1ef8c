"""limit_leaked_objects, where the interpreter can trace objects, and where it cannot."""

import sys
import sysconfig

import pytest

CAN_TRACE = sys.version_info >= (3, 13, 3) and not sysconfig.get_config_var("Py_GIL_DISABLED")

TESTS = """
class Order:
    def __init__(self, number):
        self.number = number

def book(count):
    _kept.extend(Order(n) for n in range(count))

@pytest.mark.limit_leaked_objects()
def test_keeps():
    book(3)

@pytest.mark.limit_leaked_objects()
def test_lets_go():
    made = [Order(n) for n in range(100)]
    made.append(made)

@pytest.mark.limit_leaked_objects(filter_fn=lambda obj: not isinstance(obj, Order))
def test_ignored():
    _kept.append(Order(1))

@pytest.mark.limit_leaked_objects(filter_fn=lambda obj: 1 // 0)
def test_filter_raises():
    book(1)

@pytest.mark.limit_leaked_objects()
@pytest.mark.limit_memory("100 KB")
@pytest.mark.limit_leaks("100 KB")
def test_three_markers():
    bytearray(200_000)
    _kept.append(bytearray(200_000))
"""


@pytest.mark.skipif(not CAN_TRACE, reason="objects can be traced on CPython 3.13.3 and newer")
def test_surviving_objects_are_reported(project) -> None:
    # What a first call leaves in caches is not what is tested here.
    result = project.run_tests(TESTS, "-rA")
    words = project.outcomes(result)
    assert words == {
        "test_keeps": "MEMORY PROBLEMS",
        "test_lets_go": "PASSED",
        "test_ignored": "PASSED",
        "test_filter_raises": "FAILED",
        "test_three_markers": "MEMORY PROBLEMS",
    }
    result.stdout.fnmatch_lines(
        [
            "Test leaked * object*: *3 test_it.Order*",
            "*- memray-tracked-objects -*",
            "Object types that leaked:",
            "*- 3 instance(s) of test_it.Order",
            "Leaked objects:",
            "*- <test_it.Order object at 0x*>",
            "Where they were made:",
            "*test_it.Order made here:",
            "        <genexpr>:test_it.py:*",
            "        book:test_it.py:*",
            "        test_keeps:test_it.py:*",
        ]
    )


@pytest.mark.skipif(CAN_TRACE, reason="objects can be traced here")
def test_elsewhere_the_marked_test_is_an_error_and_others_run(project) -> None:
    result = project.run_tests(TESTS + "\ndef test_other():\n    pass\n")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=5)
    result.stdout.fnmatch_lines(
        ["ERROR test_it.py::test_keeps - test_it.py:*: limit_leaked_objects: *3.13.3*this is *"]
    )


def test_a_skipped_test_is_skipped_either_way(project) -> None:
    result = project.run_tests(
        "@pytest.mark.skipif(True, reason='x')\n@pytest.mark.limit_leaked_objects()\n"
        "def test_it():\n    pass\n"
    )
    result.assert_outcomes(skipped=1)


def test_objects_of_finished_tests_are_not_kept_alive(project) -> None:
    result = project.run_tests(
        """
import gc, weakref

class Order:
    pass

_seen = []

@pytest.mark.limit_memory("1 KB")
def test_over():
    order = Order()
    _seen.append(weakref.ref(order))
    bytearray(1_000_000)

@pytest.mark.limit_leaks("1 KB")
def test_leak():
    order = Order()
    _seen.append(weakref.ref(order))
    order.block = bytearray(1_000_000)
    order.self = order

def test_after():
    gc.collect()
    assert [ref() for ref in _seen] == [None, None]
""",
        "--memray",
    )
    result.assert_outcomes(passed=2, failed=1)
