"""Thirty small tests whose peaks must not depend on what ran before; run by test_order_independence.

The file is copied to where pytest collects it. Each body runs once unmeasured, in a fixture, so that
imports, caches and interned strings are there in every order.
"""

import json
import os
import random
import re
import threading
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

numpy = pytest.importorskip("numpy")

Pair = namedtuple("Pair", "left right")


@dataclass
class Order:
    number: int
    lines: list = field(default_factory=list)
    customer: str = ""


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a = a
        self.b = b


class Open:
    def __init__(self, n):
        self.n = n
        self.name = f"open {n}"
        self.next = None


class Derived(Open):
    def __init__(self, n):
        super().__init__(n)
        self.more = [n] * 3


def dict_of_ints():
    return {i: i * i for i in range(5_000)}


def dict_of_strings():
    return {f"key {i}": f"value {i}" for i in range(3_000)}


def dict_small_many():
    return [{"a": i, "b": i + 1, "c": None} for i in range(4_000)]


def dict_deleted():
    table = {i: str(i) for i in range(4_000)}
    for i in range(0, 4_000, 2):
        del table[i]
    table.update({-i: "x" for i in range(1, 3_000)})
    return table


def dict_merged():
    return {**{i: (i,) for i in range(2_000)}, **{i: [i] for i in range(1_000, 3_000)}}


def dict_default_and_ordered():
    groups = defaultdict(list)
    for i in range(4_000):
        groups[i % 71].append((i, i / 2))
    return OrderedDict(sorted(groups.items(), reverse=True))


def string_joined():
    return ", ".join(f"{i:05}" for i in range(8_000))


def string_split():
    return ("one two three four " * 1_500).split()


def string_unicode():
    return [chr(0x400 + i % 200) * (i % 40) for i in range(3_000)]


def string_grown():
    text = ""
    for i in range(2_000):
        text += f"line {i}\n"
    return text


def string_replaced():
    text = "abc def " * 4_000
    return [text.replace("abc", str(i)) for i in range(5)], text.encode(), text.upper()


def json_written():
    return json.dumps([{"id": i, "name": f"n{i}", "w": i / 3} for i in range(1_500)])


def json_read():
    row = '{"id": 7, "tags": ["a", "b"], "x": 1.5}'
    return json.loads("[" + ",".join(f"[{i}, {row}]" for i in range(1_500)) + "]")


def json_both():
    document = {"rows": [[i, str(i), None, True] for i in range(1_500)]}
    return json.loads(json.dumps(document, indent=2, sort_keys=True))


def numpy_sums():
    a = numpy.arange(20_000, dtype=float)
    return (a * 2 + a / 3 - 1).sum()


def numpy_small():
    return [numpy.arange(n % 50 + 1) for n in range(800)]


def numpy_sorted():
    a = (numpy.arange(30_000) * 7919) % 30_011
    return numpy.sort(a), numpy.argsort(a), numpy.unique(a % 97)


def numpy_matrix():
    a = numpy.ones((80, 80))
    return numpy.linalg.inv(a + numpy.eye(80)) @ a


def class_instances():
    return [Open(i) for i in range(3_000)]


def class_slots():
    return [Slotted(i, str(i)) for i in range(4_000)]


def class_dataclasses():
    return [Order(i, [i, i + 1], f"c{i}") for i in range(2_000)]


def class_derived_cycles():
    first = last = Derived(0)
    for i in range(2_000):
        last.next = Derived(i)
        last = last.next
    last.next = first
    return len(first.more)


def class_named_tuples():
    return [Pair(i, Pair(str(i), None)) for i in range(3_000)]


def threads_one_by_one():
    out = []
    for n in range(4):
        thread = threading.Thread(target=lambda n=n: out.append([str(i + n) for i in range(2_000)]))
        thread.start()
        thread.join()
    return out


def threads_together():
    out = []
    threads = [
        threading.Thread(target=lambda n=n: out.append({i: (i, n) for i in range(1_500)}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def threads_with_bytes():
    done = threading.Event()
    out = []

    def work():
        out.append(bytearray(300_000))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    done.wait()
    thread.join()
    return out


def lists_nested():
    return [[[i, j] for j in range(30)] for i in range(150)]


def sets_and_counters():
    return {i * 37 % 5_003 for i in range(5_000)}, Counter(i % 500 for i in range(10_000))


def bytes_and_deques():
    grown = bytearray()
    for i in range(500):
        grown += bytes(i)
    return grown, deque((i, i) for i in range(3_000)), re.findall(rb"\0+", bytes(grown[:5_000]))


def numbers_large():
    return [Decimal(i) / 7 for i in range(1_500)], [1 << i for i in range(800)]


CASES = {
    name: body
    for name, body in list(globals().items())
    if getattr(body, "__module__", None) == __name__ and type(body) is type(dict_of_ints)
}
assert len(CASES) == 30
_LIMITS = json.loads(os.environ.get("THIRTY_LIMITS", "{}"))
_kept = []


def _parameter(name):
    limit = _LIMITS.get(name)
    return pytest.param(name, marks=() if limit is None else pytest.mark.limit_memory(limit))


@pytest.fixture
def body(name):
    CASES[name]()
    return CASES[name]


@pytest.mark.skipif("THIRTY_FRAGMENT" not in os.environ, reason="only for the scenario with it")
def test_0_fragment():
    """Leaves pymalloc's pools full of holes, and every free list filled."""
    sizes = random.Random(5)
    blocks = [bytes(sizes.randrange(500)) for _ in range(150_000)]
    _kept.extend(blocks[::7])
    mixed = [(i,) * (i % 19) for i in range(30_000)], [{i: i} for i in range(5_000)]
    _kept.append(mixed[0][::11])


@pytest.mark.parametrize("name", [_parameter(name) for name in CASES])
def test_case(body):
    body()
