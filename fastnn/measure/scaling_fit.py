"""The law of growth: t = overhead + factor * value^exponent, fitted to measured times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Student's t, two-sided 95 %, by degrees of freedom from 1.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_STEP = 0.002
_EXPONENTS = np.arange(-1.0, 8.0, _STEP)
_NOISE = 0.02  # what a time is never known better than, as a share: two times that are compared were not measured side by side
_DESCRIBED = 0.05  # a time that is so near to the law, as a share of itself, is described by it
_FEWEST = 5  # points that tell an overhead beside an exponent


class Law(NamedTuple):
    """t = overhead + factor * value^exponent, from the point ``first`` to the point ``last``.

    Attributes
    ----------
    overhead, factor : float
        In seconds; the overhead is what a value of zero would cost.
    exponent, low, high : float
        With its interval of 95 %; infinitely wide where the points do not tell.
    first, last : int
        Indices of the first and the last point that the law describes to within 5 %.
    """

    overhead: float
    factor: float
    exponent: float
    low: float
    high: float
    first: int
    last: int

    @property
    def crossover(self) -> float:
        """The value at which overhead and work take equally long; 0 without overhead.

        Examples
        --------
        >>> from fastnn.measure.scaling_fit import Law
        >>> Law(9.0, 1.0, 2.0, 1.9, 2.1, 0, 5).crossover
        3.0
        """
        if self.overhead <= 0 or self.exponent <= 0:
            return 0.0
        return float((self.overhead / self.factor) ** (1 / self.exponent)) if self.factor > 0 else float("inf")

    def at(self, value: float) -> float:
        """Seconds by the law."""
        return float(self.overhead + self.factor * value**self.exponent)


def fit(values: Sequence[float], seconds: Sequence[float]) -> Law:
    """Fit the law on log-log axes (relative errors count), on the longest run of points that one law describes.

    For each exponent the best overhead (not negative) and factor follow by linear least squares; the interval holds the exponents
    whose fit is not significantly worse than the best (profile likelihood), so that what the overhead leaves open is in it. Points at
    either end that no common law describes are left out: where caches end or other kernels take over, the curve bends.

    Parameters
    ----------
    values : sequence of float
        Positive and growing, at least three.
    seconds : sequence of float

    Returns
    -------
    Law

    Raises
    ------
    ValueError
        Where there are fewer than three points, or they do not grow.

    Examples
    --------
    >>> from fastnn.measure.scaling_fit import fit
    >>> law = fit([1, 2, 4, 8, 16], [3, 6, 18, 66, 258])  # 2 + value^2
    >>> round(law.exponent, 2), round(law.overhead, 1), law.low < 2 < law.high
    (2.0, 2.0, True)
    """
    v, t = np.asarray(values, float), np.asarray(seconds, float)
    if v.shape != t.shape or v.ndim != 1 or len(v) < 3:
        raise ValueError(f"values: expected at least three, and as many seconds, got {len(v)} and {len(t)}")
    if not (np.diff(v) > 0).all() or v[0] <= 0 or not (t > 0).all():
        raise ValueError(f"values: expected growing positive values and positive seconds, got {list(values)} and {list(seconds)}")
    for length in range(len(v), 2, -1):
        for last in range(len(v) - 1, length - 2, -1):
            law, worst = _fit_run(v, t, last - length + 1, last)
            if worst <= _DESCRIBED:
                return law
    return _fit_run(v, t, 0, len(v) - 1)[0]


def _fit_run(v: np.ndarray, t: np.ndarray, first: int, last: int) -> tuple[Law, float]:
    """The law of a run of points, and its largest relative error."""
    values, seconds = v[first : last + 1], t[first : last + 1]
    unit = values[-1]
    powers = (values / unit) ** _EXPONENTS[:, None] / seconds
    ones = 1 / seconds
    overhead, factor = _two_unknowns(ones, powers) if len(values) >= _FEWEST else _one_unknown(powers)
    errors = overhead[:, None] * ones + factor[:, None] * powers - 1
    squares = (errors**2).sum(axis=1)
    best = int(squares.argmin())
    freedom = len(values) - (3 if len(values) >= _FEWEST else 2)
    variance = max(squares[best] / freedom, _NOISE**2)
    within = _EXPONENTS[squares <= squares[best] + _STUDENT[min(freedom, len(_STUDENT)) - 1] ** 2 * variance]
    low, high = float(within[0]) - _STEP, float(within[-1]) + _STEP
    exponent = float(_EXPONENTS[best])
    law = Law(
        float(overhead[best]), float(factor[best] / unit**exponent), exponent,
        float("-inf") if low < _EXPONENTS[0] else low, float("inf") if high > _EXPONENTS[-1] else high, first, last,
    )  # fmt: skip
    return law, float(np.abs(errors[best]).max())


def _two_unknowns(ones: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overhead and factor, neither negative, that bring ``overhead * ones + factor * powers`` nearest to 1, for each exponent."""
    aa, ab, bb = (ones**2).sum(), (powers * ones).sum(axis=1), (powers**2).sum(axis=1)
    a, b = ones.sum(), powers.sum(axis=1)
    determinant = np.maximum(aa * bb - ab**2, 1e-12 * aa * bb)
    overhead, factor = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
    alone = overhead < 0
    none = factor < 0
    overhead, factor = np.where(alone, 0.0, overhead), np.where(alone, b / bb, factor)
    return np.where(none, a / aa, overhead), np.where(none, 0.0, factor)


def _one_unknown(powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factor alone: three points do not tell an overhead as well."""
    factor = powers.sum(axis=1) / (powers**2).sum(axis=1)
    return np.zeros_like(factor), factor


def slope(values: Sequence[float], amounts: Sequence[float]) -> float:
    """The slope of a straight line on log-log axes.

    Examples
    --------
    >>> from fastnn.measure.scaling_fit import slope
    >>> round(slope([1, 2, 4], [5, 20, 80]), 6)
    2.0
    """
    return float(np.polyfit(np.log(np.asarray(values, float)), np.log(np.asarray(amounts, float)), 1)[0])
