"""Activation functions as modules: each applies the functional of its name. ``inplace`` is accepted as False alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn.functional import checks

from .linear import float_dtype, refuse_device
from .module import Module
from .parameter import Parameter


def _refuse_inplace(inplace: bool) -> None:
    if inplace:
        raise ValueError("inplace: inputs are never changed, expected False")


class Identity(Module):
    """The input itself; arguments of any kind are taken and not used, as in torch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        return input


class Threshold(Module):
    """``F.threshold``."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)
        self.threshold, self.value = checks.number("threshold", threshold), checks.number("value", value)

    def forward(self, input: Any) -> Any:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class Step(Module):
    """``F.step``."""

    def forward(self, input: Any) -> Any:
        return F.step(input)


class Sigmoid(Module):
    """``F.sigmoid``."""

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class Tanh(Module):
    """``F.tanh``."""

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class Hardtanh(Module):
    """``F.hardtanh``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)
        self.min_val, self.max_val = checks.real("min_val", min_val), checks.real("max_val", max_val)
        if self.min_val > self.max_val:
            raise ValueError(f"min_val: expected at most max_val = {max_val}, got {min_val}")

    def forward(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU(Module):
    """``F.relu``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)

    def forward(self, input: Any) -> Any:
        return F.relu(input)


class LeakyReLU(Module):
    """``F.leaky_relu``."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)
        self.negative_slope = checks.real("negative_slope", negative_slope)

    def forward(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """``F.prelu`` with a learned ``weight`` of ``num_parameters`` elements, which start at ``init``."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        refuse_device(device)
        self.num_parameters = checks.integer("num_parameters", num_parameters, 1)
        self.weight = Parameter(np.full(self.num_parameters, checks.real("init", init), float_dtype(dtype)))

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """``F.elu``."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)
        self.alpha = checks.real("alpha", alpha)

    def forward(self, input: Any) -> Any:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Module):
    """``F.selu``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)

    def forward(self, input: Any) -> Any:
        return F.selu(input)


class GELU(Module):
    """``F.gelu``."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = checks.choice("approximate", approximate, ("none", "tanh"))

    def forward(self, input: Any) -> Any:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """``F.silu``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        _refuse_inplace(inplace)

    def forward(self, input: Any) -> Any:
        return F.silu(input)


class Softplus(Module):
    """``F.softplus``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = checks.real("beta", beta), checks.number("threshold", threshold)

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """``F.softsign``."""

    def forward(self, input: Any) -> Any:
        return F.softsign(input)


class Maxout(Module):
    """``F.maxout``: the largest of each group of ``pieces`` neighbours along ``dim``."""

    def __init__(self, pieces: int, dim: int = 1) -> None:
        super().__init__()
        self.pieces, self.dim = checks.integer("pieces", pieces, 1), checks.integer("dim", dim)

    def forward(self, input: Any) -> Any:
        return F.maxout(input, self.pieces, self.dim)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}, dim={self.dim}"


class Softmax(Module):
    """``F.softmax`` along ``dim``, which must be given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        if dim is None:
            raise ValueError("dim: expected the dimension that sums to 1, got None")
        self.dim = checks.integer("dim", dim)

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """``F.log_softmax`` along ``dim``, which must be given."""

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)
