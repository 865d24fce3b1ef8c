"""A system that gives less than usual: same outcomes, same bytes."""

import os
import sys
from pathlib import Path

import pytest
from faulty_worlds import NUMBERS, TESTS, has

#: Read here, since projects are run without it.
CI = bool(os.environ.get("CI"))

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

_VIEW = "--mount --propagation private sh -c"
_AS_BEFORE = f"setpriv --reuid={os.getuid()} --regid={os.getgid()} --clear-groups"
#: Ways to have a view of the file system of one's own, and what leads back from the rights for it: as root,
#: as root of a name space of one's own, with a sudo that asks nothing.
WAYS = {
    "root": (f"unshare {_VIEW}", ""),
    "user": (f"unshare --map-root-user {_VIEW}", ""),
    "sudo": (f"sudo -n -E unshare {_VIEW}", _AS_BEFORE),
}


def unshare(inside):
    """A shell command that runs what follows in a view of the file system changed by `inside`."""
    for way, back in WAYS.values():
        if has(f"{way} '{inside} && exec {back} true'"):
            return f'exec {way} \'{inside} && exec {back} "$@"\' sh "$@"'
    why = "no rights to mount: as root, in a name space of one's own, or with sudo -n"
    # Where it is meant to be tested it may not go untested in silence.
    pytest.fail(why) if CI else pytest.skip(why)


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


#: As in a container: nothing can be written but a tmpfs for temporary files.
READ_ONLY = (
    'for point in $(cut -d " " -f 2 /proc/self/mounts); do mount -o remount,bind,ro "$point"; done '
    "2>/dev/null; mount -t tmpfs none /var/tmp && [ -w /var/tmp ]"
)


def test_read_only_file_system(world):
    folders = ["/", "/tmp", "/dev/shm", Path.home(), Path(__file__).parent, world.project.path]
    checks = "".join(f" && [ ! -w {folder} ]" for folder in folders)
    before = unshare(READ_ONLY + checks)
    world.check(world.run(before=before, environment={"TMPDIR": "/var/tmp"}))


def test_full_temporary_folder(world):
    full = "mount -t tmpfs -o size=16k none /var/tmp && cat /dev/zero > /var/tmp/x 2>/dev/null"
    before = unshare(f"{{ {full}; ! echo x > /var/tmp/y; }} 2>/dev/null")
    world.check(world.run(before=before, environment={"TMPDIR": "/var/tmp"}))


@pytest.mark.parametrize(("ci", "outcome"), [(False, pytest.skip), (True, pytest.fail)])
def test_without_rights_to_mount(monkeypatch, ci, outcome):
    module = sys.modules[__name__]
    monkeypatch.setattr(module, "has", lambda command: False)
    monkeypatch.setattr(module, "CI", ci)
    with pytest.raises(outcome.Exception, match="no rights to mount"):
        unshare("true")
