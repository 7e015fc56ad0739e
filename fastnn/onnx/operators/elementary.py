"""Elementary functions that fastnn has no kernels for: of constants by NumPy, of anything else by operators made of scalar functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.custom import operator

from ..node import Node, implements
from ..values import by_numpy, is_float

WHOLE = 4503599627370496.0  # 2^52: larger floats have no fraction


def _error_function(x):
    return math.erf(x)


def _sine(x):
    return math.sin(x)


def _cosine(x):
    return math.cos(x)


def _tangent(x):
    return math.tan(x)


def _arc_sine(x):
    return math.asin(x)


def _arc_cosine(x):
    return math.acos(x)


def _arc_tangent(x):
    return math.atan(x)


def _hyperbolic_sine(x):
    return math.sinh(x)


def _hyperbolic_cosine(x):
    return math.cosh(x)


def _area_sine(x):
    return math.asinh(x)


def _area_sine_derivative(x):
    return 1 / math.sqrt(x * x + 1)


def _area_cosine(x):
    return math.acosh(x)


def _area_cosine_derivative(x):
    return 1 / math.sqrt(x * x - 1)


def _area_tangent(x):
    return math.atanh(x)


def _area_tangent_derivative(x):
    return 1 / (1 - x * x)


def _below(x):
    return float(math.floor(x)) if abs(x) < WHOLE else x


def _above(x):
    return float(math.ceil(x)) if abs(x) < WHOLE else x


def _nearest(x):
    if not abs(x) < WHOLE:
        return x
    low = float(math.floor(x))
    rest = x - low
    if rest < 0.5 or (rest == 0.5 and low == 2 * math.floor(low / 2)):
        return low
    return low + 1


def _sign(x):
    return 1.0 if x > 0 else -1.0 if x < 0 else x


def _flat(x):
    return 0.0


_FUNCTIONS: dict[
    str, tuple[Callable[..., Any], Any, Any]
] = {  # the function, its derivative where dual numbers do not give it, NumPy's
    "Erf": (_error_function, None, None),
    "Sin": (_sine, None, np.sin),
    "Cos": (_cosine, None, np.cos),
    "Tan": (_tangent, None, np.tan),
    "Asin": (_arc_sine, None, np.arcsin),
    "Acos": (_arc_cosine, None, np.arccos),
    "Atan": (_arc_tangent, None, np.arctan),
    "Sinh": (_hyperbolic_sine, None, np.sinh),
    "Cosh": (_hyperbolic_cosine, None, np.cosh),
    "Asinh": (_area_sine, _area_sine_derivative, np.arcsinh),
    "Acosh": (_area_cosine, _area_cosine_derivative, np.arccosh),
    "Atanh": (_area_tangent, _area_tangent_derivative, np.arctanh),
    "Floor": (_below, _flat, np.floor),
    "Ceil": (_above, _flat, np.ceil),
    "Round": (_nearest, _flat, np.round),
    "Sign": (_sign, _flat, np.sign),
}


@functools.cache
def _made(kind: str) -> Callable[..., Any]:
    """The operator; made when it is first needed, since Numba compiles it then."""
    function, derivative, _ = _FUNCTIONS[kind]
    return operator(function, derivative=derivative)


@implements(*(kind for kind in _FUNCTIONS if kind != "Sign"))
def elementary(node: Node, x: Any) -> Any:
    """The function of each element."""
    plain = _FUNCTIONS[node.kind][2]
    if plain is None or isinstance(x, Tensor):
        return _made(node.kind)(x)
    with np.errstate(all="ignore"):
        return np.asarray(plain(x), x.dtype)


@implements("Sign", integers=True)
def sign(node: Node, x: Any) -> Any:
    """-1, 0 or 1."""
    return elementary(node, x) if is_float(x) else by_numpy(np.sign, x)
