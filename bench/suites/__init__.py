"""Other people's test suites, run plain, with this plugin and with pytest-memray.

`python -m bench.suites --help` tells how. Two questions are answered: does any test come out
otherwise because it is measured, and how much more processor time does the whole suite take.
"""
