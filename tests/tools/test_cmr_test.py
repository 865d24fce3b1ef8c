"""The C test frame itself: a failed check, in any form, ends in a non-zero exit status."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
#include "cmr_test.h"
CMR_TEST(good) { CHECK(1 + 1 == 2); CHECK_EQ_U64(3, 3); CHECK_EQ_STR("a", "a"); }
CMR_TEST(check) { CHECK(1 + 1 == 3); }
CMR_TEST(u64) { CHECK_EQ_U64(1, 2); }
CMR_TEST(i64) { CHECK_EQ_I64(-1, 1); }
CMR_TEST(pointer) { CHECK_EQ_PTR("a", NULL); }
CMR_TEST(string) { CHECK_EQ_STR("a", "b"); }
CMR_TEST(null_string) { CHECK_EQ_STR("a", NULL); }
CMR_TEST(required) { REQUIRE(0); }
CMR_TEST(skipped) { CMR_TEST_SKIP("the reason"); }
"""
FAILING = ["check", "u64", "i64", "pointer", "string", "null_string", "required"]


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frame")
    (folder / "a.c").write_text(SOURCE)
    include = ROOT / "tests/core"
    subprocess.run(["gcc", "-std=gnu11", f"-I{include}", "a.c", "-o", "a"], cwd=folder, check=True)
    return folder / "a"


def run(binary, *arguments):
    result = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=300)
    return result.returncode, result.stdout


def test_list_keeps_the_order_of_the_file(binary):
    assert run(binary, "--list")[1].split() == ["good", *FAILING, "skipped"]


def test_passing(binary):
    assert run(binary, "good") == (0, "PASSED good\n1 passed, 0 failed, 0 skipped\n")


@pytest.mark.parametrize("name", FAILING)
def test_failing(binary, name):
    status, output = run(binary, name)
    assert status == 1
    assert f"a.c:{4 + FAILING.index(name)}: in {name}: " in output
    assert f"FAILED {name}" in output


def test_a_skip_is_told_apart_and_gives_its_reason(binary):
    status, output = run(binary, "skipped")
    assert (status, output.splitlines()[0]) == (77, "SKIPPED skipped: the reason")


def test_a_failure_is_not_hidden_by_later_success(binary):
    assert run(binary, "check", "good")[0] == 1


def test_unknown_name(binary):
    assert run(binary, "nope")[0] == 2
