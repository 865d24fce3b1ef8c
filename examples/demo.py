"""Runs `pytest --memray` on the examples, shows its output, and checks the verdicts.

Exits with 0 only when exactly the verdicts below came out: some of the tests are meant to fail.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PASSED = "passes"
LIMIT = "exceeds its limit"
LEAK = "leaks memory"
OBJECTS = "leaks objects"
REFUSED = "is refused, as this Python cannot trace objects"

HERE = Path(__file__).resolve().parent
CAN_TRACE_OBJECTS = sys.version_info >= (3, 13, 3) and getattr(sys, "_is_gil_enabled", bool)()

EXPECTED = {
    "test_size_of_all_photos_one_by_one": PASSED,
    "test_size_of_all_photos_at_once": LIMIT,
    "test_a_thumbnail_is_a_sixteenth": PASSED,
    "test_a_picture_that_is_cut_off_is_refused": LEAK,
    "test_a_contact_sheet_by_two_threads": PASSED,
    "test_a_contact_sheet_takes_little_memory": LIMIT,
    "test_looking_leaves_no_memory_behind": LEAK,
    "test_looking_leaves_no_page_behind": OBJECTS if CAN_TRACE_OBJECTS else REFUSED,
    "test_pages_are_numbered": PASSED,
}
SENTENCES = {
    "Test was limited to": LIMIT,
    "Test was allowed to leak": LEAK,
    "Test leaked": OBJECTS,
}


def verdict(case: ElementTree.Element) -> str:
    """What a test case of the JUnit file ended with, in the words from above."""
    problem = case.find("failure")
    if problem is not None:
        message = problem.get("message", "")
        for beginning, word in SENTENCES.items():
            if message.startswith(beginning):
                return word
        return f"fails: {message}"
    problem = case.find("error")
    if problem is not None:
        message = problem.get("message", "")
        return REFUSED if "limit_leaked_objects" in message else f"error: {message}"
    return "is skipped" if case.find("skipped") is not None else PASSED


def main() -> int:
    command = [sys.executable, "-m", "pytest", "--memray"]
    print("$ pytest --memray", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "junit.xml"
        status = subprocess.run([*command, f"--junitxml={junit}"], cwd=HERE).returncode
        if not junit.exists():
            print(f"demo: pytest wrote no results; it exited with {status}")
            return 1
        cases = ElementTree.parse(junit).iter("testcase")
        found = {case.get("name", ""): verdict(case) for case in cases}
    if found == EXPECTED and status == 1:
        print("\ndemo: all tests ended as they are meant to, these included:")
        for name, word in EXPECTED.items():
            if word != PASSED:
                print(f"  {name} {word}")
        return 0
    for name in sorted({*EXPECTED, *found}):
        if EXPECTED.get(name) != found.get(name):
            print(f"demo: {name} {found.get(name, 'is missing')}, expected: {EXPECTED.get(name)}")
    print(f"demo: pytest exited with {status}, expected: 1")
    return 1


if __name__ == "__main__":
    sys.exit(main())
