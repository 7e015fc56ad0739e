"""Start values of weights. Every function gives a new array: ``layer.weight = nn.Parameter(init.he_normal(shape))``.

A weight of shape (out, in, *kernel) has fan_in = in * prod(kernel) and fan_out = out * prod(kernel). All functions take the shape
first, and by keyword ``dtype`` (float32 or float64) and, where they draw, ``rng`` (a seed or a ``numpy.random.Generator``; without it
fastnn's own generator draws). A wrong argument raises a ValueError or TypeError that names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn.functional import checks
from fastnn.random import generator


def _shape(shape: Any, minimum: int = 0) -> tuple[int, ...]:
    items = shape if isinstance(shape, Sequence) else (shape,)
    result = checks.integers("shape", tuple(items), len(items), 0)
    if len(result) < minimum:
        raise ValueError(f"shape: expected at least {minimum} dimensions, got {result}")
    return result


def _finite(name: str, value: Any, dtype: np.dtype) -> float:
    largest = float(np.finfo(dtype).max)
    return checks.real(name, value, -largest, largest)


def _draw(method: Callable[..., np.ndarray], *args: Any, size: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Numbers drawn as float64, so that a seed means the same in both dtypes."""
    try:
        return method(*args, size).astype(dtype, copy=False)
    except (ValueError, MemoryError):  # the arguments were checked: only the size can be wrong
        raise MemoryError(f"shape: no machine has room for {size}") from None


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """fan_in and fan_out of a weight of that shape: how many inputs feed an output, and how many outputs an input feeds.

    Examples
    --------
    >>> from fastnn import init
    >>> init.fans((16, 3, 5, 5))
    (75, 400)
    """
    out, inputs, *kernel = _shape(shape, 2)
    return inputs * math.prod(kernel), out * math.prod(kernel)


def constant(shape: Any, value: float = 0.0, *, dtype: Any = np.float32) -> np.ndarray:
    """All elements ``value``.

    Examples
    --------
    >>> from fastnn import init
    >>> init.constant((2,), 0.5)
    array([0.5, 0.5], dtype=float32)
    """
    size, value, dtype = _shape(shape), checks.number("value", value), checks.float_dtype(dtype)
    return _draw(lambda size: np.full(size, value, dtype), size=size, dtype=dtype)


def uniform(shape: Any, low: float = 0.0, high: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Uniform in [low, high]; variance ``(high - low)^2 / 12``.

    Parameters
    ----------
    shape : int or sequence of int
    low, high : float
    rng : int or numpy.random.Generator, optional
        Without it fastnn's own generator draws.
    dtype : float32 or float64

    Examples
    --------
    >>> from fastnn import init, nn
    >>> layer = nn.Linear(784, 10)
    >>> layer.weight = nn.Parameter(init.uniform((10, 784), -0.01, 0.01, rng=0))
    """
    size, dtype = _shape(shape), checks.float_dtype(dtype)
    low, high = _finite("low", low, dtype), _finite("high", high, dtype)
    if low > high:
        raise ValueError(f"low: expected at most high = {high}, got {low}")
    return _draw(generator(rng).uniform, low, high, size=size, dtype=dtype)


def normal(shape: Any, mean: float = 0.0, std: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Normal with the given mean and standard deviation.

    Parameters
    ----------
    shape : int or sequence of int
    mean, std : float
    rng : int or numpy.random.Generator, optional
    dtype : float32 or float64
    """
    size, dtype = _shape(shape), checks.float_dtype(dtype)
    mean, std = _finite("mean", mean, dtype), checks.real("std", std, 0.0, float(np.finfo(dtype).max))
    return _draw(generator(rng).normal, mean, std, size=size, dtype=dtype)


def orthogonal(shape: Any, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """``gain`` times a random matrix with orthonormal rows (or columns, where there are fewer); trailing dimensions are joined.

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks" (2014).

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import init
    >>> q = init.orthogonal((3, 5), rng=0, dtype=np.float64)
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """
    size, dtype = _shape(shape, 2), checks.float_dtype(dtype)
    gain = _finite("gain", gain, dtype)
    rows, columns = size[0], math.prod(size[1:])
    tall = (max(rows, columns), min(rows, columns))
    matrix = _draw(generator(rng).standard_normal, size=tall, dtype=np.dtype(np.float64))
    q, r = np.linalg.qr(matrix)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the distribution uniform (Mezzadri 2007)
    return (gain * (q if rows >= columns else q.T).reshape(size)).astype(dtype)


def _scaled_normal(shape: Any, gain: float, fan: float, rng: Any, dtype: Any) -> np.ndarray:
    return normal(shape, 0.0, gain / math.sqrt(fan) if fan else 0.0, rng=rng, dtype=dtype)


def _scaled_uniform(shape: Any, gain: float, fan: float, rng: Any, dtype: Any) -> np.ndarray:
    bound = gain * math.sqrt(3 / fan) if fan else 0.0
    return uniform(shape, -bound, bound, rng=rng, dtype=dtype)


def lecun_normal(shape: Any, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Normal with variance ``1 / fan_in``, which some lectures call Xavier.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998), section 4.6.
    """
    return _scaled_normal(shape, 1.0, fans(shape)[0], rng, dtype)


def lecun_uniform(shape: Any, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Uniform in ±sqrt(3 / fan_in): variance ``1 / fan_in``, which some lectures call Xavier.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998), section 4.6.
    """
    return _scaled_uniform(shape, 1.0, fans(shape)[0], rng, dtype)


def glorot_normal(shape: Any, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Normal with variance ``gain^2 * 2 / (fan_in + fan_out)``; also called ``xavier_normal``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 12.
    """
    return _scaled_normal(shape, checks.real("gain", gain, 0.0), sum(fans(shape)) / 2, rng, dtype)


def glorot_uniform(shape: Any, gain: float = 1.0, *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Uniform in ±gain sqrt(6 / (fan_in + fan_out)): variance ``gain^2 * 2 / (fan_in + fan_out)``; also called ``xavier_uniform``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 16.
    """
    return _scaled_uniform(shape, checks.real("gain", gain, 0.0), sum(fans(shape)) / 2, rng, dtype)


xavier_normal = glorot_normal
xavier_uniform = glorot_uniform


def _he_fan(shape: Any, mode: str) -> float:
    fan_in, fan_out = fans(shape)
    checks.choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def he_normal(shape: Any, mode: str = "fan_in", *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Normal with variance ``2 / fan``, for layers followed by a ReLU.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015), equations 10 (fan_in) and 14 (fan_out).

    Parameters
    ----------
    shape : sequence of int
    mode : "fan_in", "fan_out" or "fan_avg" (their mean)
    rng : int or numpy.random.Generator, optional
    dtype : float32 or float64
    """
    return _scaled_normal(shape, math.sqrt(2), _he_fan(shape, mode), rng, dtype)


def he_uniform(shape: Any, mode: str = "fan_in", *, rng: Any = None, dtype: Any = np.float32) -> np.ndarray:
    """Uniform in ±sqrt(6 / fan): variance ``2 / fan``, for layers followed by a ReLU.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers" (2015), equations 10 (fan_in) and 14 (fan_out).

    Parameters
    ----------
    shape : sequence of int
    mode : "fan_in", "fan_out" or "fan_avg" (their mean)
    rng : int or numpy.random.Generator, optional
    dtype : float32 or float64
    """
    return _scaled_uniform(shape, math.sqrt(2), _he_fan(shape, mode), rng, dtype)
