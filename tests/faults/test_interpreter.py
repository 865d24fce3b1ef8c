"""Interpreters that are started otherwise: same outcomes, same bytes."""

import sysconfig

import pytest

FLAGS = ["-I", "-S", "-IS", "-O", "-OO", "-Werror", "-E", "-P", "-u", "-Xdev", "-Xfaulthandler"]
ALLOCATORS = ["malloc", "debug", "malloc_debug", "pymalloc_debug"]
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    # It has no other one.
    ALLOCATORS = ["mimalloc", "mimalloc_debug", "debug"]


def test_usual(world):
    world.check(world.run())


@pytest.mark.parametrize("flag", FLAGS)
def test_flags(world, flag):
    world.check(world.run(flags=[flag]))


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_pythonmalloc(world, allocator):
    world.check(world.run(environment={"PYTHONMALLOC": allocator}))
