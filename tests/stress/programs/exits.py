"""os._exit, _exit, quick_exit and exit in forked children, with threads and a measurement running."""

import gc
import os
import warnings

from harness import FREE_THREADED, churn, seen

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
#: How a child ends, by turns; the last one is by the end of its program.
ENDS = ("os._exit", "_exit", "quick_exit", "exit", "kill")


def end(stress, how, status):
    if how == "os._exit":
        os._exit(status)
    if how == "kill":
        os.kill(os.getpid(), 9)
    stress.rough.end(ENDS.index(how) - 1, status)


def child(stress, how, status, pipe):
    """Measure, with threads that go on; say how much; end in the middle of it."""
    stress.events = 0
    families = stress.families()
    no, seed, steps = 0, status + 1, 3000
    with stress.measured(collect=None) as own:
        stress.pound.pound(seed, steps, families, no)
    own.expect_alone(stress.take())
    running = stress.measured()
    running.m.start()
    stress.pound.crew_start(2, seed, families)
    stress.threads(lambda: [churn(1) for _ in range(10**9)], daemon=True)
    stress.threads(
        lambda: [stress.pound.pound(i, 500, families, 1) for i in range(10**9)], daemon=True
    )
    while running.m.count < 5000:
        pass
    usage = running.m._region.usage()
    stress.events += seen(usage)
    os.write(pipe, f"events {stress.events}\n".encode())
    end(stress, how, status)


def fork(stress, how, status):
    begin, pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(stress, how, status, pipe)
        except BaseException as error:
            os.write(pipe, f"{type(error).__name__}: {error}"[:4000].encode())
        finally:
            os._exit(99)
    os.close(pipe)
    with open(begin) as file:
        text = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == (-9 if how == "kill" else status), (
        how,
        text,
    )
    stress.events_of_child(text)


def round(stress):
    stress.first(churn, 3)
    if FREE_THREADED:
        # Who forks while another thread stops the world for a collection has a child that waits for
        # it at its own first one: no collections but by measurements, which begin before.
        gc.disable()
    for status, how in enumerate(ENDS):
        with stress.measured() as measured:
            fork(stress, how, status)
            stress.pound.keep(64, 5)
        assert measured.m.children == {"fork": 1}
        if measured.exact:
            assert measured.left_by("round") == (5, 320)
        stress.pound.drop()
