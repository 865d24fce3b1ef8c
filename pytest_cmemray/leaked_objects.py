"""Objects that survive a test, as text: types by count, samples, and where they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cmemray import explain
from pytest_cmemray.sections import TRACKED_OBJECTS, Problem, Style

_SAMPLES = 10
_LONGEST_REPR = 100


def kept(
    survivors: Iterable[Any], keep: Callable[[Any], bool] | None, paths: explain.Paths
) -> list[Any]:
    """The survivors that count; an exception of the filter passes through."""
    # pytest itself is in the middle of calling the test, and made a few objects for that.
    made = [one for one in survivors if not explain.is_machinery(one.frames, paths)]
    return [one for one in made if keep is None or keep(one.obj)]


def describe(survivors: Sequence[Any], paths: explain.Paths, style: Style) -> Problem:
    """The problem that these survivors are: (obj, frames) records; none is kept."""
    count = len(survivors)
    types = Counter(_type_name(type(one.obj)) for one in survivors)
    by_stack: dict[tuple[Any, ...], Counter[str]] = {}
    for one in survivors:
        by_stack.setdefault(tuple(one.frames), Counter())[_type_name(type(one.obj))] += 1
    largest = max(by_stack, key=lambda frames: by_stack[frames].total())
    frame = explain.own_frame(largest, paths)
    named = ", ".join(f"{number} {name}" for name, number in types.most_common(3))
    sentence = f"Test leaked {count} object{'s' if count > 1 else ''}: {named}"
    if len(types) > 3:
        sentence += f" and {len(types) - 3} more types"
    sentence += f"; {by_stack[largest].total()} of them made in {explain.where(frame, paths)}"
    section = "\n".join(
        [*_types(types, style), *_samples(survivors), *_stacks(by_stack, paths, style)]
    )
    path = frame.filename if frame is not None else None
    return Problem(sentence, TRACKED_OBJECTS, section, path, frame.lineno if frame else 0)


def safe_repr(obj: Any) -> str:
    """repr(obj) in one line of at most 100 characters, whatever its class does."""
    try:
        text = repr(obj)
    except Exception as error:
        text = f"<{_type_name(type(obj))} at {id(obj):#x}, repr raised {type(error).__name__}>"
    text = text.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
    return text if len(text) <= _LONGEST_REPR else text[: _LONGEST_REPR - 3] + "..."


def _types(types: Counter[str], style: Style) -> list[str]:
    lines = ["Object types that leaked:"]
    for name, number in types.most_common(style.most):
        lines.append(f"    - {number} instance(s) of {name}")
    hidden = len(types) - len(lines) + 1
    return [*lines, f"    ... and {hidden} more types"] if hidden > 0 else lines


def _samples(survivors: Sequence[Any]) -> list[str]:
    lines = ["Leaked objects:"]
    lines += [f"    - {safe_repr(one.obj)}" for one in survivors[:_SAMPLES]]
    if len(survivors) > _SAMPLES:
        lines.append(f"    ... and {len(survivors) - _SAMPLES} more")
    return lines


def _stacks(
    by_stack: dict[tuple[Any, ...], Counter[str]], paths: explain.Paths, style: Style
) -> list[str]:
    lines = ["Where they were made:"]
    largest = sorted(by_stack.items(), key=lambda pair: pair[1].total(), reverse=True)
    for frames, types in largest[: style.most]:
        [(name, _)] = types.most_common(1)
        others = f" and {len(types) - 1} more types" if len(types) > 1 else ""
        lines.append(f"    - {types.total()} instance(s) of {name}{others} made here:")
        shown = explain.stack_lines(frames, paths, max(style.stacks, 5))
        lines += [f"        {entry}" for entry in shown]
    return lines


def _type_name(kind: type) -> str:
    module = getattr(kind, "__module__", None)
    name = getattr(kind, "__qualname__", kind.__name__)
    return name if module in (None, "builtins", "__main__") else f"{module}.{name}"
