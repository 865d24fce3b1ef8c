"""The markers: their arguments checked, and what they ask of one test.

Arguments are checked before the test runs. A bad one is an error of that test alone.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from pytest_cmemray.options import THREADS, Settings

_ATTRIBUTIONS = ("exact", "budgeted")


class MarkerError(Exception):
    """A marker's arguments are not valid; the message says what would be, and where it is."""


class LimitMemory(NamedTuple):
    """A budget for the peak, in bytes; None when the test is opted out of every budget."""

    limit: int | None
    threads: str
    attribution: str | None = None


class LimitLeaks(NamedTuple):
    """A budget for what one location may leave behind, in bytes."""

    limit: int
    filter_fn: Callable[[Any], bool] | None
    threads: str


class LimitObjects(NamedTuple):
    """No Python object made by the test may survive it."""

    filter_fn: Callable[[Any], bool] | None


class Plan(NamedTuple):
    """What is asked of one test. All None: it is only measured, for the report."""

    memory: LimitMemory | None = None
    leaks: LimitLeaks | None = None
    objects: LimitObjects | None = None

    @property
    def limit(self) -> int | None:
        """The budget for the peak in bytes, if there is one."""
        return self.memory.limit if self.memory else None

    @property
    def has_limit(self) -> bool:
        """True when the test can fail on memory."""
        return self.limit is not None or self.leaks is not None or self.objects is not None


def limit_memory(
    limit: int | str | None,
    *,
    current_thread_only: bool = False,
    threads: str | None = None,
    attribution: str | None = None,
) -> Callable[[Settings], LimitMemory]:
    """fail the test when its peak memory reaches this size, such as "10 MB"; None: no limit."""
    size = None if limit is None else _size(limit)
    if size == 0:
        raise ValueError("a limit of 0 bytes cannot be kept by any test; None means no limit")
    if attribution is not None:
        _one_of("attribution", attribution, _ATTRIBUTIONS)
    scope = _scope(current_thread_only, threads)
    return lambda settings: LimitMemory(
        size, scope or settings.threads, attribution or settings.attribution
    )


def limit_leaks(
    location_limit: int | str,
    *,
    filter_fn: Callable[[Any], bool] | None = None,
    current_thread_only: bool = False,
    threads: str | None = None,
) -> Callable[[Settings], LimitLeaks]:
    """fail the test when one call stack leaves this much memory allocated, such as "1 KB"."""
    size = _size(location_limit)
    _filter(filter_fn)
    scope = _scope(current_thread_only, threads)
    return lambda settings: LimitLeaks(size, filter_fn, scope or settings.threads)


def limit_leaked_objects(
    *, filter_fn: Callable[[Any], bool] | None = None
) -> Callable[[Settings], LimitObjects]:
    """fail the test when Python objects made by it survive it (CPython 3.13.3 and newer)."""
    _filter(filter_fn)
    import cmemray

    try:
        cmemray.track_objects()
    except RuntimeError as error:
        running = ".".join(map(str, sys.version_info[:3]))
        raise MarkerError(
            f"limit_leaked_objects: {error}; this is {running}. "
            "Use limit_leaks here, or skip the test"
        ) from None
    return lambda settings: LimitObjects(filter_fn)


MARKERS: dict[str, Callable[..., Callable[[Settings], Any]]] = {
    function.__name__: function for function in (limit_memory, limit_leaks, limit_leaked_objects)
}


def register(config: pytest.Config) -> None:
    """Make the markers known to --markers and --strict-markers."""
    for name, function in MARKERS.items():
        config.addinivalue_line("markers", f"{name}{usage(name)}: {function.__doc__}")


def usage(name: str) -> str:
    """The signature of a marker: '(limit, *, current_thread_only=False, ...)'."""
    signature = inspect.signature(MARKERS[name])
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


class Planner:
    """Finds out what is asked of each test; equal marks are checked once, however often used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._plans: dict[tuple[Any, ...], Plan | str | None] = {}
        self._unmarked = self._make({})

    def plan(self, item: pytest.Item) -> Plan | None:
        """What is asked of `item`, None when it is not to be measured; raises MarkerError."""
        marks = closest_marks(item)
        if not marks:
            return self._unmarked
        key = tuple(map(_key, marks.values()))
        try:
            plan = self._plans[key]
        except KeyError:
            plan = self._plans[key] = self._check(marks)
        except TypeError:
            # An argument that has no hash; most such are mistakes.
            plan = self._check(marks)
        if isinstance(plan, str):
            path, line, _ = item.location
            place = path if line is None else f"{path}:{line + 1}"
            raise MarkerError(f"{place}: {plan}")
        return plan

    def _make(self, asked: dict[str, Any]) -> Plan | None:
        settings = self._settings
        if "limit_memory" not in asked and settings.default_limit is not None:
            asked["limit_memory"] = LimitMemory(
                settings.default_limit, settings.threads, settings.attribution
            )
        plan = Plan(
            memory=asked.get("limit_memory"),
            leaks=asked.get("limit_leaks"),
            objects=asked.get("limit_leaked_objects"),
        )
        return plan if plan.has_limit or settings.memray else None

    def _check(self, marks: dict[str, pytest.Mark]) -> Plan | str | None:
        try:
            return self._make({name: self._parse(mark) for name, mark in marks.items()})
        except MarkerError as error:
            return str(error)

    def _parse(self, mark: pytest.Mark) -> Any:
        function = MARKERS[mark.name]
        try:
            bound = inspect.signature(function).bind(*mark.args, **mark.kwargs)
            return function(*bound.args, **bound.kwargs)(self._settings)
        except (TypeError, ValueError) as error:
            text = f"{_call(mark)}: {error}. Usage: {mark.name}{usage(mark.name)}"
            raise MarkerError(text) from None


def closest_marks(item: pytest.Item) -> dict[str, pytest.Mark]:
    """The marker of each of our names that stands closest to the test."""
    found: dict[str, pytest.Mark] = {}
    node: Any = item
    while node is not None:
        own = node.own_markers
        if own:
            if node is item:
                # pytest lists the marks of a parameter set after those of the function it is for.
                callspec = getattr(item, "callspec", None)
                if callspec is not None and callspec.marks:
                    own = [*callspec.marks, *own]
            elif isinstance(node, pytest.Class):
                own = _own_marks(node)
            for mark in own:
                if mark.name in MARKERS and mark.name not in found:
                    found[mark.name] = mark
        node = node.parent
    return found


def _key(mark: pytest.Mark) -> tuple[Any, ...]:
    """Equal for marks that ask for the same: 1, 1.0 and True are equal, but not the same."""
    args, named = mark.args, mark.kwargs
    if len(args) == 1 and not named:
        return mark.name, args[0], args[0].__class__
    values = [*args, *named.values()]
    return mark.name, len(args), tuple(named), tuple(values), tuple(map(type, values))


def _own_marks(node: Any) -> Iterator[pytest.Mark]:
    """Marks of a class, closest first: pytest lists those of base classes before its own."""
    for base in node.obj.__mro__:
        marks = base.__dict__.get("pytestmark", ())
        for mark in marks if isinstance(marks, (list, tuple)) else [marks]:
            yield mark.mark if isinstance(mark, pytest.MarkDecorator) else mark
    yield from node.own_markers


def _call(mark: pytest.Mark) -> str:
    arguments = [repr(value) for value in mark.args]
    arguments += [f"{name}={value!r}" for name, value in mark.kwargs.items()]
    return f"{mark.name}({', '.join(arguments)})"


def _size(value: Any) -> int:
    from cmemray import parse_size

    return parse_size(value)


def _scope(current_thread_only: Any, threads: Any) -> str | None:
    if not isinstance(current_thread_only, bool):
        raise TypeError(f"current_thread_only is {current_thread_only!r}, not True or False")
    if threads is not None:
        _one_of("threads", threads, THREADS)
        if current_thread_only and threads != "current":
            raise ValueError(f"current_thread_only=True contradicts threads={threads!r}")
    return "current" if current_thread_only else threads


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(map(repr, choices))}")


def _filter(value: Any) -> None:
    if value is not None and not callable(value):
        raise TypeError(f"filter_fn is {value!r}, not a function")
