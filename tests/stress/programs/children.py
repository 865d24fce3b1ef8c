"""subprocess, posix_spawn, system and popen while threads allocate."""

import os
import subprocess

from harness import SLACK, churn


def round(stress):
    families = stress.families()
    stress.first(churn, 3)

    def running():
        for i in range(5):
            done = subprocess.run(["/bin/cat"], input=str(i) * 10, capture_output=True, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, str(i) * 10, "")
            stress.keep(20)

    def spawning():
        for _ in range(5):
            pid = os.posix_spawn("/bin/true", ["true"], dict(os.environ))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            stress.keep(20)
        assert os.waitstatus_to_exitcode(os.system("exit 7")) == 7

    def preparing():
        # With a function to call in the child, subprocess forks.
        done = subprocess.run(["/bin/true"], preexec_fn=lambda: churn(1))
        assert done.returncode == 0
        stress.keep(20)

    def working():
        for seed in range(10):
            stress.same(churn, 3)
            stress.pound.pound(seed, 10_000, families, 1)
            stress.keep(20)

    with stress.measured() as measured:
        stress.at_once(running, spawning, preparing, working, working)
    tally = stress.take()
    assert tally.works == 20
    children = measured.m.children
    assert sum(children.values()) >= 12 and children["system"] == 1, children
    kept = {"running": 100, "spawning": 100, "preparing": 20, "working": 400}
    measured.expect_kept(tally, kept, blocks_more=1_000_000, more=4 * SLACK)
    stress.quiet()
