"""Defects known from other trackers: threads, processes, code. The numbers are those of defects.py."""

import pytest
from native_extension import program
from shared_fixtures import FREE_THREADED

import cmemray

#: Free-threaded builds stop all threads a few times for each measurement.
ROUNDS = 300 if FREE_THREADED else 10_000


def test_31_tests_are_measured_while_threads_start_run_and_end(played) -> None:
    played("31", "tests are measured while threads start, run and end")


TEN_THOUSAND = """
import sys, threading, cmemray
stop = threading.Event()
sys.setswitchinterval(1e-4)
def call(depth):
    return [bytearray(depth)] + call(depth - 1) if depth else []
def churn():
    while not stop.is_set():
        call(20)
        thread = threading.Thread(target=call, args=(5,))
        thread.start(); thread.join()
threads = [threading.Thread(target=churn) for _ in range(8)]
for thread in threads: thread.start()
for n in range(ROUNDS):
    with cmemray.measure(threads="current", attribution=("exact", "budgeted")[n % 2]) as m:
        held = bytearray(1000)
    assert 1000 <= m.peak < 20_000 and not m.incomplete, (m.peak, m.incomplete_reason)
stop.set()
for thread in threads: thread.join()
print("fine")
"""


def test_31_ten_thousand_measurements_beside_eight_threads(run_python) -> None:
    assert run_python(TEN_THOUSAND.replace("ROUNDS", str(ROUNDS))) == "fine\n"


def test_32_a_test_begins_while_other_threads_are_in_a_trace_function(played) -> None:
    played("32", "a test begins while other threads are in a trace function")


def test_33_an_event_loop_runs_in_a_second_thread_under_coverage(played) -> None:
    played("33", "an event loop runs in a second thread, under coverage")


def test_34_profile_functions_come_and_go(played) -> None:
    played("34", "profile functions come and go in a test, and its stacks are right")


def test_35_threads_allocate_without_the_gil_at_once(played) -> None:
    played("35", "threads allocate without the GIL at once")


def test_35_a_thread_that_python_does_not_know_has_no_python_line(played) -> None:
    played("35", "a thread that Python does not know has no Python line")


def test_35_numbers_of_a_thread_that_python_does_not_know_are_exact(native) -> None:
    steps = program(("malloc", 0, 123_456), ("raw_malloc", 1, 1000))
    # Without the test runner's own thread, which allocates when a message comes.
    with cmemray.measure(attribution="exact", threads="test") as m:
        native.run_in_thread(steps)
    native.clear()
    assert (m.peak, m.leaked, m.count) == (124_456, 124_456, 2)
    assert [row.frames for row in m.leaks()] == [(), ()]


def test_36_a_thread_that_is_older_than_the_test_has_its_whole_stack(played) -> None:
    played("36", "a thread that is older than the test has its whole stack")


def test_37_a_child_that_is_not_followed_does_as_it_likes(played) -> None:
    played("37", "a child that is not followed does as it likes, and the parent's numbers stay")


@pytest.mark.parametrize(
    "title",
    [
        "green threads have their own stacks",
        "green threads are switched after a profile function was replaced",
        "green threads wait for coroutines of the loop that they are in",
        "greenlet is imported inside of a measured test",
        "gevent patches everything in the middle of a measured test",
    ],
)
def test_39_green_threads(played, title: str) -> None:
    played("39", title)


def test_40_libraries_are_opened_and_walked_over_while_others_allocate(played) -> None:
    played("40", "libraries are opened, and walked over, while others allocate")


@pytest.mark.parametrize(
    "title",
    [
        "a library is found by the RUNPATH of the one that opens it",
        "a library is found by RUNPATH for the first time in a measured test",
    ],
)
def test_41_runpath(played, title: str) -> None:
    played("41", title)


def test_42_every_way_to_ask_for_memory_is_seen(played) -> None:
    played("42", "every way to ask for memory is seen")


def test_43_a_process_that_ends_suddenly_ends_with_its_own_status(played) -> None:
    exited, quick = played(
        "43", "a process that ends in the middle of a test ends with its own status"
    )
    assert (exited.ending, quick.ending) == (7, 8)


def test_43_signals_that_come_in_mid_allocation(played) -> None:
    played("43", "signals that come in mid-allocation, with handlers that allocate")


def test_46_code_of_any_file_name_is_named(played) -> None:
    [result] = played("46", "code of any file name is named")
    sentences = [line for line in result.outlines if line.startswith("MEMORY PROBLEMS")]
    assert len(sentences) == 7
    # Each names a line, were it that of the test: what has no file cannot be anybody's own code.
    assert all(" from " in line for line in sentences)


def test_46_a_folder_with_letters_of_other_alphabets(played) -> None:
    played("46", "a test in a folder with letters of other alphabets")


def test_47_an_allocator_hook_below_ours_allocates_by_itself(played) -> None:
    played("47", "an allocator hook below ours allocates by itself")


def test_49_the_peak_is_one_number_wherever_it_is_shown(played, tmp_path) -> None:
    played("49", "the peak is one number wherever it is shown")
    assert "but allocated 28.6MiB" in (tmp_path / "junit.xml").read_text()


def test_49_what_lines_hold_at_the_peak_adds_up_to_it() -> None:
    with cmemray.measure(attribution="exact") as m:
        first = [bytearray(n * 1000) for n in range(50)]
        del first
        second = {n: [str(n)] for n in range(3000)}
        third = bytearray(500_000)
    del second, third
    assert sum(row.size for row in m.locations_at_peak()) == m.peak
    assert sum(row.size for row in m.leaks()) == m.leaked


def test_50_every_block_that_is_freed_is_paired_with_one_that_was_made(played) -> None:
    played("50", "every block that is freed is paired with one that was made")


def test_51_names_paths_and_environment_stay_as_they_are(played) -> None:
    played("51", "the interpreter's name, path and environment stay as they are")


def test_52_blocks_cross_allocators_and_measurements(played) -> None:
    played("52", "blocks cross allocators and measurements")
