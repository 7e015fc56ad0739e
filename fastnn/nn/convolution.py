"""Convolutional layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F
from fastnn.functional import checks
from fastnn.random import generator

from .linear import refuse_device, uniform_parameter
from .module import Module

PADDING_MODES: dict[str, Any] = {
    "zeros": None,
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}  # ours -> numpy.pad's


class _Convolution(Module):
    """What the two layers share; ``dims`` is the number of dimensions that the kernel moves along."""

    dims: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None, *, rng: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        refuse_device(device)
        self.in_channels = checks.integer("in_channels", in_channels, 1)
        self.out_channels = checks.integer("out_channels", out_channels, 1)
        self.groups = checks.integer("groups", groups, 1)
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name}: expected a multiple of groups = {self.groups}, got {channels}")
        self.kernel_size = checks.integers("kernel_size", kernel_size, self.dims, 1)
        self.stride = checks.integers("stride", stride, self.dims, 1)
        self.dilation = checks.integers("dilation", dilation, self.dims, 1)
        self.padding_mode = checks.choice("padding_mode", padding_mode, PADDING_MODES)
        if isinstance(padding, str):
            self.padding: Any = checks.choice("padding", padding, ("valid", "same"))
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(f"padding: 'same' needs a stride of 1, got {self.stride}")
        else:
            self.padding = checks.integers("padding", padding, self.dims, 0)
        source = generator(rng)
        inputs = self.in_channels // self.groups
        fan_in = inputs * math.prod(self.kernel_size)
        self.weight = uniform_parameter((self.out_channels, inputs, *self.kernel_size), fan_in, source, dtype)
        if bias:
            self.bias = uniform_parameter((self.out_channels,), fan_in, source, dtype)
        else:
            self.register_parameter("bias", None)

    def _sides(self) -> list[tuple[int, int]]:
        """Padding before and after each dimension."""
        if self.padding == "valid":
            return [(0, 0)] * self.dims
        if self.padding == "same":
            totals = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(p, p) for p in self.padding]

    def _pad(self, input: Any) -> Any:
        """The input with its borders reflected, repeated or wrapped around: a gather along each dimension."""
        mode = PADDING_MODES[self.padding_mode]
        x = checks.array("input", input, (self.dims + 1, self.dims + 2))
        for dim, (before, after) in enumerate(self._sides(), start=len(x.shape) - self.dims):
            size = x.shape[dim]
            limit = {"reflect": size - 1, "circular": size}.get(self.padding_mode, math.inf)
            if max(before, after) > limit or size == 0:
                raise ValueError(
                    f"padding: {self.padding_mode!r} padding of {(before, after)} is too large for input {tuple(x.shape)}"
                )
            if before or after:
                places = np.pad(np.arange(size), (before, after), mode=mode)
                x = F.index(x, (*(slice(None),) * dim, places))
        return x

    def forward(self, input: Any) -> Any:
        """Shape (N, in_channels, ...) -> (N, out_channels, ...), or both without N."""
        convolve: Any = F.conv1d if self.dims == 1 else F.conv2d
        if self.padding_mode == "zeros":
            return convolve(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        return convolve(self._pad(input), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (
            ("padding", (0,) * self.dims),
            ("dilation", (1,) * self.dims),
            ("groups", 1),
            ("padding_mode", "zeros"),
        ):
            value = getattr(self, name)
            text += f", {name}={value!r}" if value != usual else ""
        return text + (", bias=False" if self.bias is None else "")


class Conv1d(_Convolution):
    """``F.conv1d`` with a learned weight (out_channels, in_channels / groups, kernel_size) and bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or (int,)
    padding : int, (int,), "valid" or "same"
    groups : int
    bias : bool
    padding_mode : "zeros", "reflect", "replicate" or "circular"
    device : None or "cpu"
    dtype : float32 (default) or float64
    rng : int or numpy.random.Generator, optional
        Where the start values come from.
    """

    dims = 1


class Conv2d(_Convolution):
    """``F.conv2d`` with a learned weight (out_channels, in_channels / groups, KH, KW) and bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or pair of int
    padding : int, pair of int, "valid" or "same"
    groups : int
    bias : bool
    padding_mode : "zeros", "reflect", "replicate" or "circular"
    device : None or "cpu"
    dtype : float32 (default) or float64
    rng : int or numpy.random.Generator, optional
        Where the start values come from.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Conv2d(1, 6, 5)(np.zeros((2, 1, 28, 28), np.float32)).shape
    (2, 6, 24, 24)
    """

    dims = 2
