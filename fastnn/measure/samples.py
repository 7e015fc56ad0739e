"""What samples of time say: how long a call takes, and how it compares with another, as far as they tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastnn.functional import checks

_RESAMPLES = 500
EVEN = 1.03  # a ratio nearer to 1 than this is no difference


class Timing(NamedTuple):
    """Seconds of one call.

    Attributes
    ----------
    seconds : float
        The low quantile over the samples.
    spread : float
        How far the median lies above it, as a share of it.
    samples : int
        How many samples were taken.
    calls : int
        Calls in each sample, of which ``seconds`` is the mean.
    """

    seconds: float
    spread: float
    samples: int
    calls: int


class Ratio(NamedTuple):
    """How many times as long one function takes as another.

    Attributes
    ----------
    value : float
    low, high : float
        Its interval: 95 of 100 measurements like this one fall into it.
    """

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Whether the other one is "faster" or "slower": "even" within 3 % of 1, "uncertain" where the interval leaves it open.

        Examples
        --------
        >>> from fastnn.measure import Ratio
        >>> [Ratio(*r).verdict for r in ((2.0, 1.9, 2.1), (1.1, 0.9, 1.3), (1.0, 0.99, 1.01), (0.5, 0.4, 0.6))]
        ['faster', 'uncertain', 'even', 'slower']
        """
        if self.low > EVEN:
            return "faster"
        if self.high < 1 / EVEN:
            return "slower"
        return "even" if self.low >= 1 / EVEN and self.high <= EVEN else "uncertain"


def summarize(samples: Sequence[float], calls: int = 1, quantile: float = 0.1) -> Timing:
    """Seconds of samples that were taken in any way.

    Parameters
    ----------
    samples : sequence of float
        Seconds of one call, each the mean over ``calls``.
    calls : int
    quantile : float in [0, 1]

    Examples
    --------
    >>> from fastnn.measure import summarize
    >>> summarize([1.0, 1.0, 1.5])
    Timing(seconds=1.0, spread=0.0, samples=3, calls=1)
    """
    quantile = checks.real("quantile", quantile, 0.0, 1.0)
    low, median = map(float, np.quantile(samples, (quantile, 0.5)))
    return Timing(low, median / low - 1 if low else 0.0, len(samples), calls)


def paired_ratio(samples: Sequence[float] | np.ndarray, others: Sequence[float] | np.ndarray, quantile: float = 0.1) -> Ratio:
    """The ratio of two functions' low quantiles, with an interval by the moving-block bootstrap (Künsch 1989).

    Parameters
    ----------
    samples, others : sequences of float
        As many; those at the same place were taken side by side.
    quantile : float in [0, 1]

    Examples
    --------
    >>> from fastnn.measure import paired_ratio
    >>> paired_ratio([2.0, 2.0, 2.5, 2.0], [1.0, 1.0, 1.0, 1.0]).value
    2.0
    """
    pairs = np.stack([np.asarray(samples, float), np.asarray(others, float)])
    count = pairs.shape[1]
    length = int(np.sqrt(count))
    starts = np.random.default_rng(0).integers(0, count - length + 1, (_RESAMPLES, -(-count // length)))
    rows = (starts[:, :, None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :count]
    ratios = np.divide(*np.quantile(pairs[:, rows], quantile, axis=2))
    value = float(np.divide(*np.quantile(pairs, quantile, axis=1)))
    low, high = map(float, np.quantile(ratios, (0.025, 0.975)))
    return Ratio(value, min(low, value), max(high, value))
