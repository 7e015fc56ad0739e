"""Fits the polynomials in double of ``kernels/simd/wide_tables.h``: ``python -m benchmarks.fit_wide_tables > kernels/simd/wide_tables.h``.

A function of a = |x| is cut into 16 intervals, as many as one permutation of two AVX-512 registers looks up. The bits of
s = offset + scale a tell them apart: from s = 1 each octave has four intervals, from s = 16 the one octave has sixteen. Each interval has a
polynomial in r = a - center, which interpolates at Chebyshev's nodes; in the last one the function is its limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .fit_tables import Array, Function, begin_header, show

INTERVALS = 16


def density(a: Array) -> Array:
    """The normal distribution's density."""
    return np.exp(-a * a / 2) / np.sqrt(8 * np.arctan(np.longdouble(1)))


def below(a: Array) -> Array:
    """The normal distribution's mass between 0 and a, by a series of positive terms."""
    term, total = a, a
    for k in range(1, 250):
        term = term * a * a / (2 * k + 1)
        total = total + term
    return density(a) * total


@dataclass(frozen=True)
class InterpolatedFunction(Function):
    """What is interpolated.

    Attributes
    ----------
    offset, degree : int
    first : tuple of float
        The first coefficients of the first interval, which are known: then small arguments keep their digits.
    """

    offset: int
    degree: int
    first: tuple[float, ...]


FUNCTIONS = {
    "tanh": InterpolatedFunction(np.tanh, 19.1, 1.0, 1, 14, (0.0, 1.0)),
    "gelu": InterpolatedFunction(lambda a: a * (0.5 - below(a)), 8.6, 0.0, 16, 13, (0.0, 0.5)),
    "gelu_slope": InterpolatedFunction(lambda a: below(a) + a * density(a), 8.8, 0.5, 16, 13, (0.0,)),
}


def interpolate(value: Callable[[Array], Array], low: np.longdouble, high: np.longdouble, degree: int) -> Array:
    """Coefficients in r = a - (low + high) / 2."""
    count, half = degree + 1, (high - low) / 2
    angles = (np.arange(count) + np.longdouble(0.5)) * 4 * np.arctan(np.longdouble(1)) / count
    y = value((low + high) / 2 + half * np.cos(angles))
    series = np.array([np.sum(y * np.cos(k * angles)) * (1 if k == 0 else 2) / count for k in range(count)], np.longdouble)
    return np.polynomial.chebyshev.cheb2poly(series) / half ** np.arange(count)


def table(function: InterpolatedFunction) -> tuple[float, Array]:
    """The scale, and one row for each power and one of centers; columns in the order of the bits."""
    in_octave = 4 if function.offset == 1 else 16
    edges = np.array(
        [
            function.offset * 2.0 ** (i // in_octave) * (1 + i % in_octave / in_octave) - function.offset
            for i in range(INTERVALS + 1)
        ]
    )
    scale = float(edges[-2] / function.top)
    edges = edges.astype(np.longdouble) / scale
    rows = np.zeros((function.degree + 2, INTERVALS))
    for i in range(INTERVALS - 1):
        known = function.first if i == 0 else ()
        center = float((edges[i] + edges[i + 1]) / 2) if i else 0.0
        low, high = edges[i], 2 * center - edges[i] if i else edges[1]

        def rest(a: Array, known: tuple[float, ...] = known) -> Array:
            return (function.value(a) - sum(c * a**power for power, c in enumerate(known))) / a ** len(known)

        found = interpolate(rest, np.longdouble(low), np.longdouble(high), function.degree - len(known))
        if i == 0:  # around the middle of the interval; known coefficients belong to its beginning
            found = np.polynomial.polynomial.Polynomial(found)(np.polynomial.polynomial.Polynomial([-edges[1] / 2, 1])).coef
        column = i if function.offset == 16 else (i + 12) % INTERVALS
        rows[:, column] = [*known, *found, center]
    rows[0, INTERVALS - 1 if function.offset == 16 else 11] = function.limit
    return scale, rows


def main() -> None:
    """Print the header."""
    begin_header("fit_wide_tables", "FASTNN_WIDE_TABLES_H")
    for name, function in FUNCTIONS.items():
        scale, rows = table(function)
        print(f"\nstatic const double fastnn_{name}_wide_scale = {scale!r}, fastnn_{name}_wide_top = {function.top!r};")
        show(f"{name}_wide", rows, "double", ".17g", "", 5)
    print("\n#endif")


if __name__ == "__main__":
    main()
