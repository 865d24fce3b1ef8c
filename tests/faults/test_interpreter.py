"""Interpreters that are started otherwise: same outcomes, same bytes."""

import sys
import sysconfig

import pytest

FLAGS = ["-I", "-S", "-IS", "-O", "-OO", "-Werror", "-E", "-P", "-u", "-Xdev", "-Xfaulthandler"]


def test_usual(world):
    world.check(world.run())


@pytest.mark.parametrize("flag", FLAGS)
def test_flags(world, flag):
    world.check(world.run(flags=[flag]))


@pytest.mark.parametrize("allocator", ["malloc", "debug", "malloc_debug", "pymalloc_debug"])
def test_pythonmalloc(world, allocator):
    world.check(world.run(environment={"PYTHONMALLOC": allocator}))
