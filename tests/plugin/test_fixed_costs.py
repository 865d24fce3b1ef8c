"""What a measured test costs beside its own allocations: memory kept, bytes sent, samples taken."""

import random
import subprocess
import sys

import pytest

TRIVIAL = """
import pytest

@pytest.mark.parametrize("n", range(int(__import__("os").environ["N_TESTS"])))
def test_it(n):
    assert len([n]) == 1
"""

LIMITED = TRIVIAL.replace("def test", '@pytest.mark.limit_memory("100 MB")\ndef test')

#: Prints the bytes of all Python objects at the end of the run, while the terminal holds its reports.
HELD = """
import gc, tracemalloc

def pytest_configure(config):
    config.addinivalue_line("markers", "limit_memory: also where no plugin knows it")

def pytest_unconfigure(config):
    gc.collect()
    print("held", tracemalloc.get_traced_memory()[0])
"""


def _held(project, monkeypatch: pytest.MonkeyPatch, tests: int, *args: str) -> int:
    monkeypatch.setenv("N_TESTS", str(tests))
    monkeypatch.setenv("PYTHON_JIT", "0")  # what it has compiled by then is held, too
    command = [sys.executable, "-X", "tracemalloc=1", "-P", "-m", "pytest", "-q", *args]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=120)
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("held ")]
    return int(line.split()[1])


@pytest.mark.parametrize(
    ("text", "options"),
    [(TRIVIAL, ("-pno:cacheprovider", "--memray")), (LIMITED, ("-pcacheprovider",))],
)
def test_a_passing_test_leaves_two_hundred_bytes_at_most(
    project, monkeypatch, text: str, options: tuple[str, ...]
) -> None:
    project.write("test_it.py", text)
    project.write("conftest.py", HELD)
    few, many = 200, 1000
    cache = options[0]
    # What is compiled and remembered of earlier runs is there before anything is compared.
    _held(project, monkeypatch, many, cache, "-ppytest_cmemray.plugin")
    per_test = []
    for arguments in ((cache,), ("-ppytest_cmemray.plugin", *options)):
        growth = _held(project, monkeypatch, many, *arguments)
        growth -= _held(project, monkeypatch, few, *arguments)
        per_test.append(growth / (many - few))
    plain, measured = per_test
    assert plain > 500, "reports are kept until the end, so the figure is one of something"
    assert measured - plain <= 200, per_test


#: Writes the bytes that a worker sends for all its reports.
SENT = """
import os, pytest

sent = 0

@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    import execnet
    global sent
    data = yield
    sent += len(execnet.dumps(data))
    return data

def pytest_configure(config):
    config.addinivalue_line("markers", "limit_memory: also where no plugin knows it")

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        with open("sent.txt", "a") as file:
            file.write(f"{sent}\\n")
"""

#: Tests whose peaks grow, so that each is among the largest so far, from many places.
GROWING = """
import os, pytest

{mark}
@pytest.mark.parametrize("n", range(int(os.environ["N_TESTS"])))
def test_{name}(n):
    kept = [bytes(1000 + n)]
    kept += [bytes(2000 + n)]
    kept += [bytes(3000 + n)]
    kept += [bytes(4000 + n)]
    kept += [bytes(5000 + n)]
    assert kept
"""


def test_a_passing_test_sends_two_kilobytes_at_most(project, need, monkeypatch) -> None:
    need("xdist")
    tests = 200
    monkeypatch.setenv("N_TESTS", str(tests))
    project.write("conftest.py", SENT)
    text = GROWING.format(name="x" * 100, mark='@pytest.mark.limit_memory("100 MB")')
    project.write("deep/folder/of/tests/test_growing.py", text)
    sent = []
    for options in ({"plugin": ""}, {}):
        measured = () if options else ("--memray",)
        result = project.run("-n2", *measured, plugins=("xdist",), **options)
        result.assert_outcomes(passed=tests)
        path = project.path / "sent.txt"
        sent.append(sum(map(int, path.read_text().split())) / tests)
        path.unlink()
    plain, ours = sent
    assert plain > 500, "bytes of three reports"
    assert 100 < ours - plain <= 2048, sent


def test_a_test_that_is_not_shown_sends_next_to_nothing(project, need, monkeypatch) -> None:
    need("xdist")
    tests = 200
    monkeypatch.setenv("N_TESTS", str(tests))
    project.write("conftest.py", SENT)
    project.write("test_it.py", LIMITED)
    sent = []
    for options in ({"plugin": ""}, {}):
        result = project.run("-n2", plugins=("xdist",), **options)
        result.assert_outcomes(passed=tests)
        path = project.path / "sent.txt"
        sent.append(sum(map(int, path.read_text().split())) / tests)
        path.unlink()
    assert 0 < sent[1] - sent[0] <= 64, sent


#: Notes the sampling period and the peak of all that is shown with its lines.
SHOWN = """
from pytest_cmemray import measure, sections

def note(numbers):
    with open("shown.txt", "a") as file:
        file.write(f"{numbers.sampling_period} {numbers.peak}\\n")

def wrap(module, name, number):
    function = getattr(module, name)
    def noting(*args, **named):
        note(number(args[0]))
        return function(*args, **named)
    setattr(module, name, noting)

wrap(measure.Run, "sites", lambda run: run.numbers)
wrap(sections, "describe", lambda finding: finding.numbers)
"""

SIZED = """
import os, pytest

@pytest.mark.limit_memory(os.environ["LIMIT"])
@pytest.mark.parametrize("kib", {kib})
def test_it(kib):
    kept = [bytes(200) for _ in range(kib * 1024 // 256)]
    assert len(kept) == kib * 4
"""


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("order", [1, 2, "up", "down"])
def test_what_is_shown_was_sampled_finely_enough(
    project, need, monkeypatch, order: int | str, workers: int
) -> None:
    sizes = [4, 16, 64, 256, 300, 1024, 3000, 5000, 12_000] * 2
    if isinstance(order, int):
        random.Random(order).shuffle(sizes)
    else:
        sizes.sort(reverse=order == "down")
    monkeypatch.setenv("LIMIT", "8 MiB")
    project.write("conftest.py", SHOWN)
    project.write("test_it.py", SIZED.format(kib=sizes))
    distributed = ("-n2",) if workers else ()
    plugins = (need("xdist"),) if workers else ()
    result = project.run("--memray", "--most-allocations=4", *distributed, plugins=plugins)
    result.assert_outcomes(failed=2, passed=len(sizes) - 2)
    assert sum("Biggest allocating functions" in line for line in result.outlines) == 4
    shown = [line.split() for line in (project.path / "shown.txt").read_text().splitlines()]
    assert len(shown) >= 6
    for period, peak in shown:
        # A period lasts until the peak is 2048 of it, and is doubled then; it is four times as long
        # up to half of the least peak that is shown.
        assert int(period) == 1 or int(period) * 256 <= int(peak)


def test_what_is_not_shown_is_hardly_sampled(project, monkeypatch) -> None:
    """The other side: a test far below its limit does not pay for lines that nobody sees."""
    monkeypatch.setenv("LIMIT", "8 MiB")
    project.write(
        "conftest.py",
        "from pytest_cmemray import measure\n\n"
        "stop = measure.Run.stop\n\n"
        "def noting(run):\n"
        "    stop(run)\n"
        "    with open('periods.txt', 'a') as file:\n"
        "        file.write(f'{run.numbers.sampling_period}\\n')\n\n"
        "measure.Run.stop = noting\n",
    )
    project.write("test_it.py", SIZED.format(kib=[4, 400, 4000]))
    project.run().assert_outcomes(passed=3)
    periods = (project.path / "periods.txt").read_text().split()
    assert [int(period) for period in periods] == [4 * 4096, 4 * 4096, 4 * 4096]


def test_a_test_that_has_grown_is_sampled_for_its_last_peak(project, monkeypatch) -> None:
    monkeypatch.setenv("LIMIT", "1 GiB")
    project.write("conftest.py", SHOWN)
    project.write("test_it.py", SIZED.format(kib=[512]))
    project.run().assert_outcomes(passed=1)
    assert not (project.path / "shown.txt").exists()
    text = SIZED.format(kib=[512]).replace("assert", "more = [bytes(10_000)]\n    assert")
    project.write("test_it.py", text)
    project.run("--fail-on-increase").assert_outcomes(failed=1)
    period, peak = map(int, (project.path / "shown.txt").read_text().split())
    assert 1 < period * 256 <= peak
