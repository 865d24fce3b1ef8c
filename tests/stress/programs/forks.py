"""Forks by several threads while others allocate; every child measures, too."""

import gc
import os
import signal
import threading
import warnings

from harness import FREE_THREADED, churn

FORKS = 6

warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)


def child(stress, families, seed, end, quiet):
    """In the child: a measurement of its own, exact; its events for the parent.

    quiet: the interpreter had nothing under way at the fork, such as a signal, that it does here.
    """
    # A signal that was under way in the parent has its handler run here.
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    stress.events = 0
    stress.take()
    stress.pound.drop()
    steps, no = 4000, 0
    with stress.measured(collect=None) as own:
        stress.pound.pound(seed, steps, families, no)
    if quiet:
        own.expect_alone(stress.take())
    else:
        tally = stress.take()
        own.expect(tally.count, tally.bytes, blocks_more=20, more=20_000)
    with stress.measured() as threaded:
        stress.same(churn, 3)
        stress.pound.team(2, seed, 2000, families)
        stress.keep(50)
    # The churn has 8,400 blocks, and code that the parent's threads traced is instrumented anew.
    threaded.expect_kept(stress.take(), {"child": 50}, blocks_more=50_000, more=32 << 20)
    os.write(end, stress.told().encode())


def fork(stress, families, seed, quiet=True):
    """Fork; what the child wrote."""
    begin, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child(stress, families, seed, end, quiet)
            status = 0
        except BaseException as error:
            os.write(end, f"{type(error).__name__}: {error}"[:4000].encode())
        finally:
            os._exit(status)
    os.close(end)
    with open(begin) as pipe:
        text = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, (status, text)
    return text


def round(stress):
    families = stress.families()
    stress.first(churn, 3)
    if FREE_THREADED:
        # Who forks while another thread stops the world for a collection has a child that waits for
        # it at its own first one: no collections but by measurements, which begin before.
        gc.disable()
    over, texts, churned = threading.Event(), [], []

    def forking(first):
        for seed in range(first, first + FORKS):
            texts.append(fork(stress, families, seed))
            stress.pound.pound(seed, 1000, families, 1)
            stress.keep(50)

    def working():
        while not over.is_set():
            stress.same(churn, 3)
            churned.append(None)

    stress.pound.crew_start(2, stress.seed(), families)
    stress.pound.crew_pause()
    with stress.measured() as measured:
        stress.pound.crew_resume(1)
        workers = stress.threads(working)
        stress.at_once(lambda: forking(0), lambda: forking(100))
        over.set()
        for thread in workers:
            thread.join()
        stress.pound.crew_pause()
    assert measured.m.children["fork"] == 2 * FORKS
    tally, crew = stress.take(), stress.pound.crew_numbers()
    assert tally.works == 2 * FORKS and crew[7] == 0
    tally.count += crew[0]
    tally.bytes += crew[1]
    kept = {"forking": 2 * FORKS * 50}
    more = 100_000 + 10_000 * len(churned)
    measured.expect_kept(tally, kept, blocks_more=more, more=1000 * more)
    assert len(texts) == 2 * FORKS
    for text in texts:
        stress.events_of_child(text)
    # Whatever the forks did, the parent's numbers are still right.
    stress.beside_crew(20_000, 0)
    stress.pound.crew_stop()
