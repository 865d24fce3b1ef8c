"""The suites: what to install, where the tests are, and how they are run.

Versions are fixed so that two people compare the same thing. `BASE` goes into one environment that
all plugins share; the plugins themselves are laid over it (see environments.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    #: Seconds after which a run is cut off.
    timeout: int = 900
    #: Arguments that run a part of it, seconds long, for the table with all peers; (): all of it.
    part: tuple[str, ...] = ()
    #: Among the few suites of a quick run.
    quick: bool = False

    def partly(self) -> Suite:
        """Its part, as a suite."""
        return replace(self, args=self.part or self.args, part=())


def _modules(package: str, *names: str) -> tuple[str, ...]:
    return ("--pyargs", *(f"{package}.{name}" for name in names))


#: Without the tests that need the Internet, or IPv6, which many containers have not.
_ANYIO = ("-m", "not network", "-k", "not ipv6")

SUITES = (
    Suite(
        "packaging",
        ("tests",),
        sdist="packaging==26.3",
        part=("tests/test_markers.py", "tests/test_specifiers.py", "tests/test_metadata.py"),
        quick=True,
    ),
    Suite(
        "anyio",
        (*_ANYIO, "tests"),
        sdist="anyio==4.16.0",
        part=(*_ANYIO, "tests/test_taskgroups.py", "tests/streams"),
    ),
    Suite(
        "sympy.core",
        ("--pyargs", "sympy.core"),
        part=_modules("sympy.core.tests", "test_basic", "test_expr", "test_sympify"),
    ),
    Suite(
        "pandas.reshape",
        ("--pyargs", "pandas.tests.reshape"),
        part=("--pyargs", "pandas.tests.reshape.concat"),
    ),
    Suite(
        "sklearn.tree",
        ("--pyargs", "sklearn.tree"),
        part=_modules("sklearn.tree.tests", "test_export", "test_monotonic_tree"),
    ),
    Suite(
        "pyarrow",
        _modules("pyarrow.tests", "test_compute", "test_array", "test_dataset"),
        part=_modules("pyarrow.tests", "test_array", "test_scalars"),
    ),
    Suite(
        "attrs",
        ("tests",),
        sdist="attrs==26.1.0",
        part=("tests/test_make.py", "tests/test_dunders.py", "tests/test_next_gen.py"),
    ),
    Suite("jinja2", ("tests",), sdist="jinja2==3.1.6", quick=True),
    Suite(
        "networkx",
        ("--pyargs", "networkx.classes", "networkx.algorithms.shortest_paths"),
        part=_modules("networkx.classes.tests", "test_graph", "test_digraph", "test_function"),
    ),
    Suite(
        "numpy",
        (
            *_modules("numpy.lib.tests", "test_arraysetops", "test_index_tricks"),
            "numpy.lib.tests.test_recfunctions",
            "numpy.ma.tests.test_extras",
        ),
        quick=True,
    ),
)


#: More suites, of which only the outcomes are compared: of threads, processes and event loops.
OUTCOMES_ONLY = (
    # Its pool of threads; those of processes take minutes.
    Suite(
        "joblib",
        (
            *("--pyargs", "joblib.test", "--timeout", "60"),
            *("-k", "threading and not loky and not multiprocessing"),
        ),
        timeout=300,
    ),
    Suite("tornado", ("--pyargs", "tornado.test"), timeout=600),
)
OUTCOMES_BASE = (*BASE, "joblib==1.6.0", "tornado==6.5.10", "setuptools", "threadpoolctl")


@dataclass(frozen=True)
class Mode:
    """One way to run a suite. `plugin` is "none", "ours" or "peer".

    `marker` is put on every test: (name, limit); the limit "twice" means twice the peak that an
    earlier "peaks" run of the same suite measured for that very test.
    """

    name: str
    plugin: str
    args: tuple[str, ...] = ()
    marker: tuple[str, str] | None = None
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def is_peer(self) -> bool:
        """True for what is compared with: no bar, and takes longest."""
        return self.plugin == "peer" or self.name == "tracemalloc"


MODES = (
    Mode("plain", "none"),
    Mode("installed", "ours"),
    Mode("memray", "ours", ("--memray",)),
    Mode("exact", "ours", ("--memray", "-o", "memray_attribution=exact")),
    # Not timed: every test's own peak, which "twice" needs. Only what a report shows is sent else.
    Mode("peaks", "ours", ("--memray", "--hide-memray-summary", "--most-allocations=0")),
    Mode("limit", "ours", marker=("limit_memory", "100 GB")),
    Mode("twice", "ours", marker=("limit_memory", "twice")),
    Mode("leaks", "ours", marker=("limit_leaks", "1 GB")),
    Mode("system", "ours", ("-o", "memray_basis=system"), ("limit_memory", "100 GB")),
    Mode("peer-memray", "peer", ("--memray",)),
    Mode("peer-python", "peer", ("--memray", "--trace-python-allocators")),
    Mode("peer-limit", "peer", marker=("limit_memory", "100 GB")),
    Mode("peer-leaks", "peer", marker=("limit_leaks", "1 GB")),
    Mode("tracemalloc", "none", environment=(("PYTHONTRACEMALLOC", "1"),)),
)
DEFAULT_MODES = ("plain", "memray", "limit", "twice", "leaks", "system", "peer-limit")
