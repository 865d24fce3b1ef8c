"""Measure how much memory a stretch of a Python program asks for, and from which lines.

    with cmemray.measure(limit="50 MB") as m:
        build_index(documents)
    print(m.peak, m.locations_at_peak()[:3])

Everything public is in `__all__`. The compiled core is loaded by the first `measure` or
`track_objects`, not by this import.
"""

from cmemray.errors import LimitExceeded, MeasurementError
from cmemray.estimate import Samples
from cmemray.gaps import unseen
from cmemray.location import Frame, LeakedObject, Location, OldThread
from cmemray.measure import measure
from cmemray.objects import track_objects
from cmemray.sizes import format_size, parse_size

__all__ = [
    "Frame",
    "LeakedObject",
    "LimitExceeded",
    "Location",
    "MeasurementError",
    "OldThread",
    "Samples",
    "format_size",
    "measure",
    "parse_size",
    "track_objects",
    "unseen",
]
