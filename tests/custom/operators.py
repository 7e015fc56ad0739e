"""Operators made of scalar functions, and where they run."""

import math

import fastnn
from fastnn import dispatch

BACKENDS = [name for name in ("numba", "reference") if dispatch.is_available(name)]
CURVATURE = 0.25


@fastnn.operator
def swish(x, *, beta=1.5):
    return x / (1 + math.exp(-beta * x))


@fastnn.operator
def blend(a, b):
    """Branches, loops, augmented assignments, constants from outside."""
    total = 0.0
    for k in range(3):
        total += a**k * math.sin(b) + CURVATURE * k
    if a > b:
        total = total * max(a, b) - math.sqrt(a * a + 1)
    elif a > 0:
        weight = math.tanh(a) if b > 0 else -abs(b)
        total -= weight / (1 + b * b)
    while total > 10:
        total *= 0.5
    return total + math.pow(b * b + 1, 0.3) - min(a, 0.5) ** 2
