"""The benchmarks are no part of the wheel: they are imported from the tree, and run what is installed."""

import sys
from pathlib import Path

# Last, so that the installed package is found before the source tree's.
sys.path.append(str(Path(__file__).resolve().parents[2]))
