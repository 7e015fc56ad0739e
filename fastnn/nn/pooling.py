"""Maxima and means over windows. Inputs are batched, (N, C, L) or (N, C, H, W), or a single example without N."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F
from fastnn.functional.pooling import Size
from fastnn.functional.pooling_adaptive import OutputSize

from .module import Module


class _Pool(Module):
    """What pooling layers share: their arguments are kept as attributes, and shown."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self._arguments = tuple(arguments)
        for name, value in arguments.items():
            setattr(self, name, value)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self._arguments)


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding, dilation=dilation,
            return_indices=return_indices, ceil_mode=ceil_mode,
        )  # fmt: skip

    def _pool(self, pool: Any, input: Any) -> Any:
        return pool(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool):
    """Maxima over windows of a sequence. Arguments as of ``MaxPool2d``, in one dimension."""

    def forward(self, input: Any) -> Any:
        """Shape (N, C, L) -> (N, C, OL), or a tuple with the indices."""
        return self._pool(F.max_pool1d, input)


class MaxPool2d(_MaxPool):
    """Maxima over windows.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As of ``fastnn.functional.max_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.MaxPool2d(2)(np.zeros((1, 3, 8, 8))).shape
    (1, 3, 4, 4)
    """

    def forward(self, input: Any) -> Any:
        """Shape (N, C, H, W) -> (N, C, OH, OW), or a tuple with the indices."""
        return self._pool(F.max_pool2d, input)


class AvgPool1d(_Pool):
    """Means over windows of a sequence. Arguments as of ``fastnn.functional.avg_pool1d``."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding, ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )  # fmt: skip

    def forward(self, input: Any) -> Any:
        """Shape (N, C, L) -> (N, C, OL)."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_Pool):
    """Means over windows.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As of ``fastnn.functional.avg_pool2d``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.AvgPool2d(2, padding=1)(np.zeros((1, 3, 8, 8))).shape
    (1, 3, 5, 5)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding, ceil_mode=ceil_mode,
            count_include_pad=count_include_pad, divisor_override=divisor_override,
        )  # fmt: skip

    def forward(self, input: Any) -> Any:
        """Shape (N, C, H, W) -> (N, C, OH, OW)."""
        return F.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )


class AdaptiveAvgPool1d(_Pool):
    """Means over as many windows of a sequence as asked for."""

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__(output_size=output_size)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, L) -> (N, C, output_size)."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_Pool):
    """Means over as many windows as asked for; None keeps the size of the input.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.AdaptiveAvgPool2d((1, None))(np.zeros((2, 3, 8, 7))).shape
    (2, 3, 1, 7)
    """

    def __init__(self, output_size: OutputSize) -> None:
        super().__init__(output_size=output_size)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, H, W) -> (N, C, *output_size)."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool1d(_Pool):
    """Maxima over as many windows of a sequence as asked for."""

    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__(output_size=output_size, return_indices=return_indices)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, L) -> (N, C, output_size), or a tuple with the indices."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_Pool):
    """Maxima over as many windows as asked for; None keeps the size of the input."""

    def __init__(self, output_size: OutputSize, return_indices: bool = False) -> None:
        super().__init__(output_size=output_size, return_indices=return_indices)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, H, W) -> (N, C, *output_size), or a tuple with the indices."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)
