"""Fits the piecewise polynomials of ``kernels/simd/tables.h``: ``python -m benchmarks.fit_tables > kernels/simd/tables.h``.

A function of a = |x| is cut at s = 1 + scale a = 2^k (1 + j/8), k < 4, j < 8, into 32 intervals, which the bits 20 to 24 of s tell apart
and one permutation of two AVX-512 registers looks up. Each interval has a polynomial of degree 4 in r = a - center; without the
center Horner's rule loses four units of the last place where a is 2, and degree 3, however the intervals are scaled, twelve: of
tanh's sixteen vector operations, two a cycle, neither can go. In the last interval the function is its limit.

The logistic function, whose small values count as much as its large ones, has polynomials of degree 5 in r = x - k width, k from -16 to 15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc  # type: ignore[import-untyped]

Array = np.ndarray
INTERVALS, DEGREE, POINTS = 32, 4, 300
WIDTH = 0.625  # of the logistic function's intervals; its products with k are exact


def tail(a: Array) -> Array:
    """The normal distribution's mass above a."""
    return (erfc(np.asarray(a, np.float64) / np.sqrt(2)) / 2).astype(np.longdouble)


def slope(a: Array) -> Array:
    """The derivative of x Phi(x) at a, less 1/2."""
    return 0.5 - tail(a) + a * np.exp(-a * a / 2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Function:
    """What is fitted.

    Attributes
    ----------
    value : callable
    top : float
        From here on the function is its limit.
    limit : float
    """

    value: Callable[[Array], Array]
    top: float
    limit: float


@dataclass(frozen=True)
class WeightedFunction(Function):
    """What is fitted with the least largest error.

    Attributes
    ----------
    weight : callable
        Of the absolute error.
    first : dict
        Power -> coefficient of the first interval, where it is known: then small arguments keep their digits.
    """

    weight: Callable[[Array], Array]
    first: dict[int, float]


FUNCTIONS = {
    "tanh": WeightedFunction(np.tanh, 9.02, 1.0, lambda a: 1 / np.tanh(a), {0: 0, 1: 1}),
    "decay": WeightedFunction(lambda a: -np.expm1(-a), 17.4, 1.0, lambda a: -1 / np.expm1(-a), {0: 0, 1: 1}),
    "gelu": WeightedFunction(lambda a: a * tail(a), 5.7, 0.0, lambda a: 1 / a, {0: 0, 1: 0.5}),
    "gelu_slope": WeightedFunction(slope, 6.3, 0.5, np.ones_like, {0: 0}),
}


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def fit(
    value: Callable[[Array], Array], weight: Callable[[Array], Array], low: float, high: float, center: float, degree: int,
    known: dict[int, float],
) -> Array:  # fmt: skip
    """Coefficients in float32; each is rounded before the lower ones are fitted, so that they make up for it."""
    nodes = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    a = ((high + low) / 2 + (high - low) / 2 * (1 + 1e-4) * nodes).astype(np.longdouble)
    a = np.maximum(a, 1e-9) if low == 0 else a
    r, scale, y = a - center, weight(a), value(a)
    found = {power: np.longdouble(number) for power, number in known.items()}
    for power in (p for p in range(degree, -1, -1) if p not in known):
        free = [p for p in range(power, -1, -1) if p not in known]
        rest = ((y - sum(c * r**p for p, c in found.items())) * scale).astype(np.float64)
        found[power] = np.longdouble(np.float32(minimax(np.stack([r**p * scale for p in free], 1).astype(np.float64), rest)[0]))
    return np.array([found[p] for p in range(degree + 1)], np.float32)


def minimax(basis: Array, target: Array) -> Array:
    """The combination of columns with the least largest error, by least squares whose weights follow the error (Lawson)."""
    size = np.abs(basis).max(0)
    weight = np.ones(len(target))
    best, least = np.zeros(basis.shape[1]), np.inf
    for _ in range(80):
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(basis / size * root[:, None], target * root, rcond=None)[0]
        error = np.abs(basis / size @ solution - target)
        if error.max() < least:
            best, least = solution / size, error.max()
        weight *= error / error.max() + 1e-3
        weight /= weight.mean()
    return best


def table(function: WeightedFunction) -> tuple[np.float32, Array]:
    """The scale, and one row for each power and one of centers; columns in the order of the bits."""
    scale = np.float32(15 / function.top * (1 - 1e-7))
    edges = [(2.0 ** (i // 8) * (1 + i % 8 / 8) - 1) / float(scale) for i in range(INTERVALS + 1)]
    rows = np.zeros((DEGREE + 2, INTERVALS), np.float32)
    for i in range(INTERVALS - 1):
        center = np.float32((edges[i] + edges[i + 1]) / 2) if i else np.float32(0)
        known = {} if i else function.first
        coefficients = fit(function.value, function.weight, edges[i], edges[i + 1], float(center), DEGREE, known)
        rows[:, (i + 24) % INTERVALS] = [*coefficients, center]
    rows[0, (INTERVALS - 1 + 24) % INTERVALS] = function.limit
    return scale, rows


def logistic_table() -> Array:
    """One row for each power; columns in the order of the low bits of k."""
    rows = np.zeros((DEGREE + 2, INTERVALS), np.float32)
    for k in range(-INTERVALS // 2, INTERVALS // 2):
        low, high = (k - 0.5) * WIDTH, (k + 0.5) * WIDTH
        rows[:, k % INTERVALS] = fit(logistic, lambda x: 1 / logistic(x), low, high, k * WIDTH, DEGREE + 1, {})
    return rows


def show(name: str, rows: Array, kind: str = "float", digits: str = ".8e", suffix: str = "f", in_line: int = 7) -> None:
    """Print an array in C: elements of a ``kind``, so many in a line."""
    print(f"static alignas(64) const {kind} fastnn_{name}_table[{len(rows)}][{len(rows[0])}] = {{")
    for row in rows:
        numbers = [f"{value:{digits}}{suffix}" for value in row]
        print("    {" + ",\n     ".join(", ".join(numbers[i : i + in_line]) for i in range(0, len(row), in_line)) + "},")
    print("};")


def begin_header(module: str, guard: str) -> None:
    """Print the first lines of a file of tables."""
    print(
        f"/* Written by `python -m benchmarks.{module}`. A column is an interval, a row a coefficient, the last one the center. */"
    )
    print(f"#ifndef {guard}\n#define {guard}\n\n#include <stdalign.h>")


def main() -> None:
    """Print the header."""
    begin_header("fit_tables", "FASTNN_TABLES_H")
    for name, function in FUNCTIONS.items():
        scale, rows = table(function)
        print(f"\nstatic const float fastnn_{name}_scale = {scale:.9g}f, fastnn_{name}_top = {np.float32(function.top):.9g}f;")
        show(name, rows)
    print(f"\nstatic const float fastnn_sigmoid_width = {WIDTH}f;")
    show("sigmoid", logistic_table())
    print("\n#endif")


if __name__ == "__main__":
    main()
