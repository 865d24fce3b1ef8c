"""A system that gives less than usual: same outcomes, same bytes."""

import pytest
from faulty_worlds import NUMBERS, TESTS, has

ALL_CLOSED = """
import importlib.util, os
import cmemray
spec = importlib.util.spec_from_file_location("native", os.environ["FAULTS_NATIVE"])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
steps = bytes.fromhex(os.environ["FAULTS_STEPS"])
with cmemray.measure(attribution="exact") as m:
    native.run(steps)
with open("numbers", "w") as file:
    file.write(repr((m.total, m.count, m.peak)))
"""

#: A folder of one's own view of the file system: as root, or in a name space of one's own.
UNSHARE = {
    "root": "unshare --mount --propagation private",
    "user": "unshare --map-root-user --mount --propagation private",
}


def unshare(inside):
    """A shell command that runs what follows in a view of the file system changed by `inside`."""
    for words in UNSHARE.values():
        if has(f"{words} sh -c '{inside}'"):
            return f'exec {words} sh -c \'{inside} && exec "$@"\' sh "$@"'
    pytest.skip("no rights to mount, not even in a name space of one's own")


# Without it pytest itself does not start when there is no stderr.
NO_FAULTHANDLER = "-pno:faulthandler"


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-", "2>/dev/full"])
def test_closed_descriptors(world, closed):
    world.check(world.run(NO_FAULTHANDLER, before=f'exec "$@" {closed}'))


def test_no_standard_descriptors_at_all(world):
    """pytest wants a stdout; the library wants none of them."""
    result = world.run(before='exec "$@" <&- >&- 2>&-', script=ALL_CLOSED)
    assert (world.project.path / "numbers").read_text() == repr(NUMBERS), result.ret


def test_descriptors_closed_by_a_test(world):
    closing = TESTS.replace("_kept = []", "_kept = []\nfor i in (0, 2): os.close(i)")
    world.check(world.run("-s", NO_FAULTHANDLER, tests=closing))


@pytest.mark.parametrize("home", [None, "/nonexistent", ""])
def test_no_home(world, home):
    world.check(world.run(environment={"HOME": home, "XDG_CACHE_HOME": None}))


def test_empty_environment(world):
    keep = " ".join(f"{k}={v}" for k, v in world.environment.items())
    world.check(world.run(before=f'exec env -i {keep} PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$@"'))


@pytest.mark.parametrize("megabytes", [300, 1000])
def test_little_address_space(world, megabytes):
    world.check(world.run(before=f'ulimit -v {megabytes * 1024} && exec "$@"'))


@pytest.mark.parametrize("kilobytes", [256, 1024])
def test_small_stack(world, kilobytes):
    world.check(world.run(before=f'ulimit -s {kilobytes} && exec "$@"'))


def test_no_files_left_but_a_few(world):
    world.check(world.run(before='ulimit -n 16 && exec "$@"'))


def test_no_proc(world):
    world.check(world.run(before=unshare("mount -t tmpfs none /proc")))


def test_read_only_file_system(world):
    folder = world.project.path
    inside = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    world.check(world.run(before=unshare(inside)))


def test_full_temporary_folder(world):
    full = "mount -t tmpfs -o size=16k none /var/tmp && cat /dev/zero > /var/tmp/x 2>/dev/null"
    before = unshare(f"{{ {full}; ! echo x > /var/tmp/y; }} 2>/dev/null")
    world.check(world.run(before=before, environment={"TMPDIR": "/var/tmp"}))
