"""The suites: what to install, where the tests are, and how they are run.

Versions are fixed so that two people compare the same thing. `BASE` goes into one environment that
all plugins share; the plugins themselves are laid over it (see environments.py).
"""

from __future__ import annotations

from dataclasses import dataclass

BASE = (
    "pytest==9.2.0",
    "packaging==26.3",
    "anyio[trio]==4.16.0",
    "sympy==1.14.0",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "scikit-learn==1.9.1",
    "pyarrow==26.0.1",
    "attrs==26.1.0",
    "jinja2==3.1.6",
    "networkx==3.6.1",
    "more-itertools==11.2.1",
    # What those suites import.
    "blockbuster",
    "coverage",
    "exceptiongroup",
    "hypothesis",
    "pretend",
    "psutil",
    "pytest-mock",
    "pytest-timeout",
    "tomli_w",
    "trustme",
    "truststore",
    "uvloop",
)


@dataclass(frozen=True)
class Suite:
    """One public test suite.

    `sdist` is "name==version" where the tests are only in the source distribution; pytest then
    runs inside it. Otherwise the tests are in the wheel and pytest runs in an empty folder.
    """

    name: str
    args: tuple[str, ...]
    sdist: str = ""
    #: Seconds after which a run is cut off, and said so.
    timeout: int = 900


SUITES = (
    Suite("packaging", ("tests",), sdist="packaging==26.3"),
    # Without the tests that need the Internet, or IPv6, which many containers have not.
    Suite("anyio", ("-m", "not network", "-k", "not ipv6", "tests"), sdist="anyio==4.16.0"),
    Suite("sympy.core", ("--pyargs", "sympy.core")),
    Suite("pandas.reshape", ("--pyargs", "pandas.tests.reshape")),
    Suite("sklearn.tree", ("--pyargs", "sklearn.tree")),
    Suite(
        "pyarrow",
        (
            "--pyargs",
            "pyarrow.tests.test_compute",
            "pyarrow.tests.test_array",
            "pyarrow.tests.test_dataset",
        ),
    ),
)


@dataclass(frozen=True)
class Mode:
    """One way to run a suite. `plugin` is "none", "ours" or "peer".

    `marker` is put on every test: (name, limit); the limit "twice" means twice the peak that an
    earlier "memray" run of the same suite measured for that very test.
    """

    name: str
    plugin: str
    args: tuple[str, ...] = ()
    marker: tuple[str, str] | None = None


MODES = (
    Mode("plain", "none"),
    Mode("installed", "ours"),
    Mode("memray", "ours", ("--memray",)),
    Mode("limit", "ours", marker=("limit_memory", "100 GB")),
    Mode("twice", "ours", marker=("limit_memory", "twice")),
    Mode("leaks", "ours", marker=("limit_leaks", "1 GB")),
    Mode("system", "ours", ("-o", "memray_basis=system"), ("limit_memory", "100 GB")),
    Mode("peer-memray", "peer", ("--memray",)),
    Mode("peer-limit", "peer", marker=("limit_memory", "100 GB")),
    Mode("peer-leaks", "peer", marker=("limit_leaks", "1 GB")),
)
DEFAULT_MODES = ("plain", "memray", "limit", "twice", "leaks", "peer-limit")
