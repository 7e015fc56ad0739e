"""Arithmetic, comparison and logic, element by element with broadcasting; integers, which hold shapes and places, by NumPy."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, always, enter_all, implements, like
from ..values import by_kind, by_numpy, check_broadcast, is_float, numbers


def _quotient(a: Any, b: Any) -> Any:
    """Integers divided towards zero, as C does."""
    quotient = a // b
    return (quotient + ((a % b != 0) & ((a < 0) != (b < 0)))).astype(a.dtype)


_FUNCTIONS: dict[str, Any] = {
    "Add": by_kind(F.add, np.add),
    "Sub": by_kind(F.subtract, np.subtract),
    "Mul": by_kind(F.multiply, np.multiply),
    "Div": by_kind(F.divide, _quotient),
    "Neg": by_kind(F.negative, np.negative),
    "Abs": by_kind(F.abs, np.abs),
}
enter_all(_FUNCTIONS, integers=True)
enter_all({"Exp": F.exp, "Log": F.log, "Sqrt": F.sqrt, "Reciprocal": lambda x: F.divide(1.0, x)})


@implements("Pow", integers=True)
def power(node: Node, base: Any, exponent: Any) -> Any:
    """base ^ exponent, in the type of the base."""
    check_broadcast(base, exponent)
    if is_float(base):
        same = not is_float(exponent) or exponent.dtype == base.dtype
        return F.power(base, exponent if same else numbers(exponent).astype(base.dtype))
    return by_numpy(_integer_power, base, exponent)


def _integer_power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """By way of floats where the exponent asks for it; NumPy refuses integers to negative integer powers."""
    by_floats = exponent.dtype.kind == "f" or (exponent < 0).any()
    return np.power(base, exponent, dtype=np.float64 if by_floats else None).astype(base.dtype)


_SEVERAL: dict[str, Any] = {
    "Max": by_kind(F.maximum, np.maximum),
    "Min": by_kind(F.minimum, np.minimum),
    "Sum": by_kind(F.add, np.add),
}
enter_all({kind: (lambda *values, f=f: reduce(f, values)) for kind, f in _SEVERAL.items()}, integers=True)


@implements("Mean")
def mean(node: Node, *values: Any) -> Any:
    """The mean of several arrays."""
    total = reduce(_SEVERAL["Sum"], values)
    return F.divide(total, len(values)) if len(values) > 1 else total


def _of_numbers(function: Any) -> Any:
    """Comparisons and logic, which have no gradient."""

    def compute(*values: Any) -> Any:
        check_broadcast(*values)
        return by_numpy(function, *values)

    return compute


enter_all(
    {
        "Equal": _of_numbers(np.equal),
        "Greater": _of_numbers(np.greater),
        "GreaterOrEqual": _of_numbers(np.greater_equal),
        "Less": _of_numbers(np.less),
        "LessOrEqual": _of_numbers(np.less_equal),
        "And": _of_numbers(np.logical_and),
        "Or": _of_numbers(np.logical_or),
        "Xor": _of_numbers(np.logical_xor),
        "Not": _of_numbers(np.logical_not),
        "IsNaN": _of_numbers(np.isnan),
    },
    integers=True,
    results=(always(np.bool_),),
)


@implements("IsInf", results=(always(np.bool_),))
def is_infinite(node: Node, x: Any) -> Any:
    """Whether x is one of the infinities asked for."""
    up, down = bool(node["detect_positive"]), bool(node["detect_negative"])
    return by_numpy(lambda array: (np.isposinf(array) & up) | (np.isneginf(array) & down), x)


def _is_float_remainder(node: Node, facts: Any) -> str | None:
    return "Mod of floats" if facts.types.get(node.inputs[0], np.dtype(np.int64)).kind == "f" else None


@implements("Mod", integers=True, lacks=_is_float_remainder)
def remainder(node: Node, a: Any, b: Any) -> Any:
    """The remainder of integers, with the sign of the divisor, or with fmod that of the dividend."""
    check_broadcast(a, b)
    if is_float(a):
        raise NotImplementedError("fastnn lacks: Mod of floats")
    return by_numpy(np.fmod if node["fmod"] else np.mod, a, b)


@implements("Where", integers=True, results=(like(1),))
def where(node: Node, condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    check_broadcast(condition, a, b)
    return F.where(condition, a, b) if is_float(a) else by_numpy(np.where, condition, a, b)
