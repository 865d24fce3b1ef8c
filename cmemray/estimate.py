"""How well samples know what they say: standard errors and intervals of estimated sizes.

A list of estimated sizes divides a known number of bytes among places by samples, as if each sample
stood for equally many of them: of `all` samples `own` fell on a place. Numbers of samples are
effective ones, so not whole: those that would have the variance that the real samples have, of blocks
of all sizes. What of a place was certain to be counted has no part in this.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

#: Of the normal distribution: 95 % lie within so many standard deviations.
_Z = 1.959964


class Samples(NamedTuple):
    """What the estimated size of a place rests on.

    Of `all` samples, which together stand for `size` of `total` bytes, `own` were taken at the place.
    Those of several places of one list add up (see `together`).
    """

    own: float
    all: float
    size: float
    total: float

    @property
    def error(self) -> float:
        """Standard error of the place's bytes."""
        if self.all <= 0:
            return 0.0
        part = min(self.own / self.all, 1.0)
        return self.size * sqrt(part * (1 - part) / self.all)

    def interval(self, estimate: float) -> tuple[float, float]:
        """Where the bytes lie that were estimated as `estimate`, in 95 of 100 cases.

        Wilson's interval of a proportion, which is right for few samples, too, also for none. It
        is skewed, since the variance depends on the truth: it grows by a whole sample's bytes for
        each byte more at a place, as that may be hidden in blocks that were not taken; with each
        byte less it falls by what those that were seen have, which is less when some were certain
        or taken at a shorter period.
        """
        if self.all <= 0:
            return estimate, estimate + self.size
        unit = self.size / self.all
        part = min(self.own / self.all, 1.0)
        here = _least(self.own * unit, estimate)
        there = _least((self.all - self.own) * unit, self.total - estimate)
        low = self._bound(-1, here * (1 - part) ** 2 - part**2)
        high = self._bound(1, (1 - part) ** 2 - there * part**2)
        return max(estimate + unit * low, 0.0), min(estimate + unit * high, self.total)

    def _bound(self, side: int, slope: float) -> float:
        """Distance to one end of the interval, in samples; `slope` of the variance beyond `own`."""
        square, wide = _Z * _Z, 1 + _Z * _Z / self.all
        variance = self.own * (1 - min(self.own / self.all, 1.0))
        root = sqrt(variance * wide + square * slope * slope / 4)
        return (square * slope / 2 + side * _Z * root) / wide


def _least(sampled: float, size: float) -> float:
    """Samples per unit that `size` bytes have, of which `sampled` are not certain; 1 at most."""
    return min(sampled / size, 1.0) if size > 0 else 1.0


def together(parts: Iterable[Samples | None]) -> Samples | None:
    """What the sum of several estimates of one list rests on; None when all are exact."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return known[0]._replace(own=sum(part.own for part in known))


def error_of_lead(one: Samples | None, other: Samples | None) -> float:
    """Standard error of the difference in size between two places of one list.

    As if a sample more had been taken at each: what fell on one place only, by few samples, is not
    certain for that.
    """
    first = one or other
    if first is None:
        return 0.0
    own = 1 + (one.own if one else 0.0)
    others = 1 + (other.own if other else 0.0)
    whole = first.all + 2
    return first.size * sqrt(max(own + others - (own - others) ** 2 / whole, 0.0)) / whole
