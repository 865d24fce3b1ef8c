"""Command line options and ini keys, and the settings made of them.

The command line wins over the ini file. Every option is therefore None until somebody gives it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

BASES = ("requested", "system")
ATTRIBUTIONS = ("auto", "budgeted", "exact")
THREADS = ("all", "test", "current")
SANITIZERS = ("skip", "track")
PYTEST_OLDEST = (7, 2)

#: Options of the plugin this one replaces that have no effect yet: a wrong run would be worse.
_NOT_YET = {
    "--native": "native stacks",
    "--memray-bin-path": "capture files",
    "--memray-bin-prefix": "capture files",
}


class Settings(NamedTuple):
    """What the user asked for, checked. Sizes are bytes."""

    memray: bool = False
    hide_summary: bool = False
    most_allocations: int = 5
    stacks: int = 1
    trace_python_allocators: bool = False
    fail_on_increase: bool = False
    verbosity: int = 0
    basis: str = "requested"
    attribution: str | None = None
    threads: str = "all"
    default_limit: int | None = None
    sanitizer: str = "skip"


def add_options(parser: pytest.Parser) -> None:
    """Register all options and ini keys."""
    group = parser.getgroup("memray", "memory limits (pytest-cmemray)")
    flag: dict[str, Any] = {"action": "store_true", "default": None}
    group.addoption("--memray", help="Measure every test and print the MEMRAY REPORT", **flag)
    group.addoption(
        "--hide-memray-summary", help="Measure, but leave out the MEMRAY REPORT", **flag
    )
    group.addoption(
        "--most-allocations",
        type=_argument(_whole(0)),
        metavar="N",
        help="Report the N tests with the highest peak (default 5, 0 for all)",
    )
    group.addoption(
        "--stacks",
        type=_argument(_whole(1)),
        metavar="N",
        help="Show at least N frames of an allocation (default 1; up to your own line in any case)",
    )
    group.addoption(
        "--trace-python-allocators",
        help="Basis 'system' only: count Python's small objects one by one, not pymalloc's arenas",
        **flag,
    )
    group.addoption(
        "--fail-on-increase",
        help="Fail a test with a memory limit that needs more than in its last passing run",
        **flag,
    )
    group.addoption("--native", help="Not available in this version", **flag)
    for name in ("--memray-bin-path", "--memray-bin-prefix"):
        group.addoption(name, metavar="X", help="Not available in this version")
    _add_ini_keys(parser)


def _add_ini_keys(parser: pytest.Parser) -> None:
    def ini(name: str, text: str, type: Any = "string") -> None:
        parser.addini(name, text, type=type, default=None)

    # Since pytest 9.2 a TOML file may hold such a value as a number; older ones know no such type.
    number: Any = int | str if _pytest_version() >= (9, 2) else "string"
    ini("memray", "Measure every test and print the MEMRAY REPORT", "bool")
    ini("hide_memray_summary", "Measure, but leave out the MEMRAY REPORT", "bool")
    ini("most_allocations", "Report the N tests with the highest peak (0 for all)", number)
    ini("stacks", "Show at least N frames of an allocation", number)
    ini("native", "Not available in this version", "bool")
    ini("trace_python_allocators", "Basis 'system': count Python's small objects", "bool")
    for name in ("fail-on-increase", "fail_on_increase"):
        ini(name, "Fail a test with a memory limit that needs more than before", "bool")
    ini(
        "verbosity_memray",
        "Verbosity of failures: below 0 the sentence only, 0 and 1 ten locations, 2 all of them "
        "(default auto: that of -v and -q)",
        number,
    )
    ini("memray_basis", "What is counted: " + " or ".join(BASES))
    ini("memray_attribution", "How allocations get their line: " + ", ".join(ATTRIBUTIONS))
    ini("memray_threads", "Whose allocations count: " + ", ".join(THREADS))
    ini("memray_default_limit", "limit_memory for every test that has no such marker", number)
    ini("memray_sanitizer", "In a sanitized process: " + " or ".join(SANITIZERS))


def read_settings(config: pytest.Config) -> Settings:
    """The settings of this run; raises pytest.UsageError for a value that is not valid."""
    _refuse_not_yet(config)

    def flag(option: str, *keys: str) -> bool:
        given = config.getoption(option)
        return bool(given) if given is not None else any(_flag(config, key) for key in keys)

    def number(option: str, key: str, default: int, least: int) -> int:
        given = config.getoption(option)
        if given is None:
            given = _parsed(config, key, _whole(least), default)
        return int(given)

    def choice(key: str, choices: tuple[str, ...]) -> str:
        return str(_parsed(config, key, _choice(choices), choices[0]))

    attribution = choice("memray_attribution", ATTRIBUTIONS)
    return Settings(
        memray=flag("--memray", "memray"),
        hide_summary=flag("--hide-memray-summary", "hide_memray_summary"),
        most_allocations=number("--most-allocations", "most_allocations", 5, 0),
        stacks=number("--stacks", "stacks", 1, 1),
        trace_python_allocators=flag("--trace-python-allocators", "trace_python_allocators"),
        fail_on_increase=flag("--fail-on-increase", "fail-on-increase", "fail_on_increase"),
        verbosity=_parsed(
            config, "verbosity_memray", _verbosity(config), config.getoption("verbose", 0)
        ),
        basis=choice("memray_basis", BASES),
        attribution=None if attribution == "auto" else attribution,
        threads=choice("memray_threads", THREADS),
        default_limit=_parsed(config, "memray_default_limit", _limit, None),
        sanitizer=choice("memray_sanitizer", SANITIZERS),
    )


def old_pytest_note() -> str | None:
    """A line that says that this pytest is older than any the plugin is tested with, else None."""
    if _pytest_version() >= PYTEST_OLDEST:
        return None
    oldest = ".".join(map(str, PYTEST_OLDEST))
    return f"memray: tested with pytest {oldest} and newer, this is pytest {pytest.__version__}"


def _pytest_version() -> tuple[int, ...]:
    return tuple(int(part) for part in pytest.__version__.split(".")[:2] if part.isdigit())


def _refuse_not_yet(config: pytest.Config) -> None:
    asked = [name for name in _NOT_YET if config.getoption(name)]
    if asked:
        raise pytest.UsageError(
            f"{asked[0]}: {_NOT_YET[asked[0]]} are not available in this version of pytest-cmemray"
        )
    if _flag(config, "native"):
        raise pytest.UsageError(
            f"ini key native: {_NOT_YET['--native']} are not available in this version of "
            "pytest-cmemray; remove the key or set it to false"
        )


def _ini(config: pytest.Config, key: str, valid: str = "") -> Any:
    """The value of `key`; None or something empty when it is not set."""
    try:
        return config.getini(key)
    except (ValueError, TypeError, pytest.UsageError) as error:
        raise pytest.UsageError(f"ini key {key}: {error}{valid}") from None


def _flag(config: pytest.Config, key: str) -> bool:
    return bool(_ini(config, key, "; valid are true and false"))


def _parsed(config: pytest.Config, key: str, parse: Callable[[Any], Any], default: Any) -> Any:
    value = _ini(config, key)
    if value is None or value == "" or value == []:
        return default
    try:
        return parse(value.strip() if isinstance(value, str) else value)
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(f"ini key {key}: {error}") from None


def _whole(least: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least:
            raise ValueError(f"{str(value)!r} is not a whole number of at least {least}")
        return number

    return parse


def _choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return str(value)

    return parse


def _verbosity(config: pytest.Config) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if value == "auto":
            return int(config.getoption("verbose", 0))
        try:
            return int(value)
        except ValueError:
            raise ValueError(f"{value!r} is neither a whole number nor auto") from None

    return parse


def _limit(value: Any) -> int:
    # Only here: the library loads the compiled core, and nothing may be measured in this run.
    from cmemray import parse_size

    limit = parse_size(value)
    if limit == 0:
        raise ValueError("a limit of 0 bytes cannot be kept by any test")
    return limit


def _argument(parse: Callable[[Any], int]) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
