"""The fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn.functional import checks
from fastnn.kernels.memory import aligned_copy
from fastnn.random import generator

from .module import Module
from .parameter import Parameter


def refuse_device(device: Any) -> None:
    """fastnn has one device; an argument that names another is refused."""
    if device is not None and str(device) != "cpu":
        raise ValueError(f"device: fastnn runs on the CPU alone, got {device!r}")


def float_dtype(dtype: Any) -> np.dtype:
    """The dtype of fresh parameters: float32 unless the argument says float64."""
    return checks.float_dtype(np.float32 if dtype is None else dtype)


def uniform_parameter(shape: tuple[int, ...], fan_in: int, rng: np.random.Generator, dtype: Any) -> Parameter:
    """Uniform in [-1/sqrt(fan_in), 1/sqrt(fan_in)]: torch's start of weights and biases, so that fresh networks behave alike."""
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    kind = float_dtype(dtype)
    try:
        return Parameter(aligned_copy(rng.uniform(-bound, bound, shape), kind))
    except (ValueError, MemoryError):  # more elements than can be counted or held
        raise MemoryError(f"no machine has room for a parameter of shape {shape}") from None


class Linear(Module):
    """``y = x W^T + b``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    device : None or "cpu"
    dtype : float32 (default) or float64
    rng : int or numpy.random.Generator, optional
        Where the start values come from; without it fastnn's own generator.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
        Starts uniform in [-1/sqrt(in_features), 1/sqrt(in_features)].
    bias : Parameter, shape (out_features,), or None
        Starts likewise.

    Raises
    ------
    TypeError, ValueError
        Where a size is no int or negative, or ``device`` or ``dtype`` is another.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Linear(3, 2)(np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None, *, rng: Any = None
    ) -> None:
        super().__init__()
        refuse_device(device)
        self.in_features = checks.integer("in_features", in_features, 0)
        self.out_features = checks.integer("out_features", out_features, 0)
        source = generator(rng)
        self.weight = uniform_parameter((self.out_features, self.in_features), self.in_features, source, dtype)
        if bias:
            self.bias = uniform_parameter((self.out_features,), self.in_features, source, dtype)
        else:
            self.register_parameter("bias", None)

    def forward(self, input: Any) -> Any:
        """Shape (..., in_features) -> (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
