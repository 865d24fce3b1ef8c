"""All benchmarks in one go: programs, fixed costs, public suites.

    python -m bench [--quick]

`--quick` makes one round of each and leaves the peer out of the suites, where it takes longest.
The parts by themselves: python -m bench.run, bench.fixed, bench.suites.
"""

from __future__ import annotations

import argparse
import sys

from bench import fixed, run
from bench.suites import run as suites


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rounds = ["--rounds", "1" if quick else "5"]
    run.main(rounds)
    print()
    fixed.main(rounds)
    few = ["--rounds", "1", "--modes", "plain,memray,limit,twice,leaks"] if quick else []
    return suites.main(few)


if __name__ == "__main__":
    sys.exit(main())
