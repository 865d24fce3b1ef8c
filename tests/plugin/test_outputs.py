"""Results for other programs."""

TESTS = """
def load():
    return bytearray(4_000_000)

@pytest.mark.limit_memory("1 MB")
def test_over():
    load()
"""


def test_annotations_point_at_the_line_that_holds_the_memory(project) -> None:
    project.monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    result = project.run_tests(TESTS)
    folder = project.path.name
    result.stdout.fnmatch_lines(
        [
            f"::error file={folder}/test_it.py,line=7,title=Memory limit::test_it.py::test_over: "
            "Test was limited to 1.0MiB but allocated 3.8MiB (+2.8MiB, 381%25); ~100%25 from load*"
        ]
    )


def test_elsewhere_nothing_is_annotated(project) -> None:
    project.run_tests(TESTS).stdout.no_fnmatch_line("::error*")


def test_the_short_summary_is_not_cut_without_a_terminal(project) -> None:
    project.monkeypatch.setenv("COLUMNS", "40")
    result = project.run_tests(TESTS)
    result.stdout.fnmatch_lines(
        ["MEMORY PROBLEMS test_it.py::test_over - Test was limited *from load (test_it.py:7)"]
    )


def test_the_crash_line_of_tb_line_is_the_users(project) -> None:
    result = project.run_tests(TESTS, "--tb=line")
    result.stdout.fnmatch_lines(
        ["*/test_it.py:7: Test was limited to 1.0MiB but allocated 3.8MiB*"]
    )


def test_the_output_is_plain_ascii(project) -> None:
    result = project.run_tests(TESTS, "--memray")
    assert result.stdout.str().isascii()


def test_progress_letter_and_counts(project) -> None:
    result = project.run_tests(TESTS + "\ndef test_fine():\n    pass\n", "-v")
    result.stdout.fnmatch_lines(["test_it.py::test_over MEMORY PROBLEMS *", "*1 failed, 1 passed*"])
    result = project.run_tests(TESTS)
    result.stdout.fnmatch_lines(["test_it.py M *"])
