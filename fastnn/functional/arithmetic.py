"""Elementwise arithmetic with broadcasting.

A Python number takes the dtype of the array beside it; integer and boolean arrays are converted to it. Two arrays of different
floating dtypes are refused. All functions raise TypeError for what is no number and ValueError for shapes that do not broadcast.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from fastnn.kernels import Operator
from fastnn.kernels.arithmetic import operators

from ..dispatch import call
from . import checks


def _is_number(value: Any) -> bool:
    return isinstance(value, (Real, np.number, np.bool_)) and not isinstance(value, np.complexfloating)


def _convert(name: str, value: Any, dtype: np.dtype) -> Any:
    """``value`` as an array (or Tensor) of ``dtype``; numbers and integer arrays are converted, other floats refused."""
    if _is_number(value):
        try:
            return np.asarray(value, dtype)
        except OverflowError:
            raise OverflowError(f"{name}: an int this large has no {dtype}") from None
    plain: Any = value if checks.is_hooked(value) else checks.to_numpy(name, value)
    if plain.dtype.kind in "biu":
        return (plain.numpy() if checks.is_hooked(plain) else plain).astype(dtype)
    return checks.array(name, plain, dtype=dtype)


def _operands(a: Any, b: Any, names: tuple[str, str] = ("input", "other")) -> tuple[Any, Any]:
    """Both operands in the floating dtype that at least one of them has."""
    for value in (a, b):
        if _is_number(value):
            continue
        plain = value if checks.is_hooked(value) else checks.to_numpy(names[0] if value is a else names[1], value)
        if plain.dtype in checks.FLOATS:
            return _convert(names[0], a, plain.dtype), _convert(names[1], b, plain.dtype)
    raise TypeError(f"{names[0]}, {names[1]}: expected at least one float32 or float64 array")


def _binary(operator: Operator, input: Any, other: Any, out: Any, name: str = "other") -> Any:
    a, b = _operands(input, other, ("input", name))
    shape = checks.broadcast_shapes(f"input, {name}", tuple(a.shape), tuple(b.shape))
    out = checks.out(out, shape, a.dtype)
    return call(operator, a, b, out=None if out is None else (out,))


def _unary(operator: Operator, input: Any, out: Any, *attributes: Any) -> Any:
    x = checks.array("input", input)
    out = checks.out(out, tuple(x.shape), x.dtype)
    return call(operator, x, *attributes, out=None if out is None else (out,))


def add(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input + other``."""
    return _binary(operators.add, input, other, out)


def subtract(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input - other``."""
    return _binary(operators.subtract, input, other, out)


def multiply(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input * other``."""
    return _binary(operators.multiply, input, other, out)


def divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """``input / other``."""
    return _binary(operators.divide, input, other, out)


def power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """``input ** exponent``; either may be a number. The gradient to the exponent is 0 where the base is 0."""
    return _binary(operators.power, input, exponent, out, "exponent")


def maximum(input: Any, other: Any, *, out: Any = None) -> Any:
    """The larger of two, NaN where either is NaN. A tie gives half of the gradient to each."""
    return _binary(operators.maximum, input, other, out)


def minimum(input: Any, other: Any, *, out: Any = None) -> Any:
    """The smaller of two, NaN where either is NaN. A tie gives half of the gradient to each."""
    return _binary(operators.minimum, input, other, out)


def negative(input: Any, *, out: Any = None) -> Any:
    """``-input``."""
    return _unary(operators.negative, input, out)


def exp(input: Any, *, out: Any = None) -> Any:
    """``e ** input``.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.exp(np.array([0.0]))
    array([1.])
    """
    return _unary(operators.exp, input, out)


def log(input: Any, *, out: Any = None) -> Any:
    """Natural logarithm; -inf at 0, NaN below."""
    return _unary(operators.log, input, out)


def sqrt(input: Any, *, out: Any = None) -> Any:
    """Square root; NaN below 0."""
    return _unary(operators.sqrt, input, out)


def abs(input: Any, *, out: Any = None) -> Any:
    """Absolute value; its gradient at 0 is 0."""
    return _unary(operators.abs, input, out)


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """``input`` limited to [min, max]; where min > max, max. The gradient passes where min <= input <= max.

    Parameters
    ----------
    input : array
    min, max : number or array, optional
        At least one of them. Arrays broadcast and get gradients of their own.
    """
    if min is None and max is None:
        raise ValueError("min, max: expected at least one of them")
    if all(bound is None or _is_number(bound) for bound in (min, max)):
        low = None if min is None else checks.number("min", min)
        high = None if max is None else checks.number("max", max)
        return _unary(operators.clamp, input, out, low, high)
    result = input if min is None else _binary(operators.maximum, input, min, None, "min")
    result = result if max is None else _binary(operators.minimum, result, max, None, "max")
    return checks.deliver(result, checks.out(out, tuple(result.shape), result.dtype))


def where(condition: Any, input: Any, other: Any) -> Any:
    """``input`` where the condition holds, else ``other``.

    Parameters
    ----------
    condition : boolean array
    input, other : array or number

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
    array([1., 0.])
    """
    if checks.is_abstract(condition):
        mask = condition
    else:
        mask = condition.numpy() if checks.is_hooked(condition) else checks.to_numpy("condition", condition)
    if mask.dtype != np.bool_:
        raise TypeError(f"condition: expected booleans, got dtype {mask.dtype}")
    a, b = _operands(input, other)
    checks.broadcast_shapes("condition, input, other", mask.shape, tuple(a.shape), tuple(b.shape))
    return call(operators.where, mask, a, b)
