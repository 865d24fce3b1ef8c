"""check_workflows.py lets only make targets and pinned actions through."""

import pytest

pytest.importorskip("ruamel.yaml", reason="comes with the packages of make lint")

GOOD = """
on: push
permissions: {contents: read}
jobs:
  test:
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@v5.0.0
      - run: make lint
      - run: make test PYTHON=python3.11
"""


def test_good_workflow(tmp_path, run_tool):
    (tmp_path / "w.yml").write_text(GOOD)
    assert run_tool("check_workflows.py", "w.yml") == (0, "check_workflows: 1 files fine\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("make lint", "pytest -x", "only make targets"),
        ("make lint", "make lint && curl example.org", "only make targets"),
        ("make lint", "make no-such", "no make target no-such"),
        ("@v5.0.0", "@v5", "not pinned"),
        ("@v5.0.0", "@main", "not pinned"),
        ("timeout-minutes: 5", "runs-on: x", "no timeout-minutes"),
        ("permissions: {contents: read}", "name: x", "no permissions named"),
    ],
)
def test_breach(tmp_path, run_tool, old, new, said):
    (tmp_path / "w.yml").write_text(GOOD.replace(old, new))
    status, output = run_tool("check_workflows.py", "w.yml")
    assert status == 1
    assert said in output
