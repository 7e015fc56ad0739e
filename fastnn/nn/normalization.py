"""Normalization layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn import functional as F
from fastnn.functional import checks

from .linear import float_dtype, refuse_device
from .module import Module
from .parameter import Parameter


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share; they differ in the inputs that they take."""

    dimensions: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refuse_device(device)
        self.num_features = checks.integer("num_features", num_features, 0)
        self.eps = checks.real("eps", eps, 0.0)
        self.momentum = None if momentum is None else checks.real("momentum", momentum)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        shape, kind = (self.num_features,), float_dtype(dtype)
        self.register_parameter("weight", Parameter(np.ones(shape, kind)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, kind)) if affine else None)
        tracked = self.track_running_stats
        self.register_buffer("running_mean", np.zeros(shape, kind) if tracked else None)
        self.register_buffer("running_var", np.ones(shape, kind) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Forget all batches: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.numpy().fill(0)
            self.running_var.numpy().fill(1)
            self.num_batches_tracked.numpy().fill(0)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, ...) -> the same."""
        x = checks.array("input", input, self.dimensions)
        if x.shape[1] != self.num_features:
            raise ValueError(f"input: expected {self.num_features} channels, got shape {tuple(x.shape)}")
        momentum = 0.0 if self.momentum is None else self.momentum
        update = self.training and self.num_batches_tracked is not None
        if update and self.momentum is None:  # the average of all batches so far
            if dispatch.current_tracer.get() is not None:
                raise dispatch.TraceError("momentum: None, which makes it depend on the number of batches, cannot be compiled")
            momentum = 1 / (int(self.num_batches_tracked.numpy()) + 1)
        tracked = self.running_mean is not None and (not self.training or self.track_running_stats)
        y = F.batch_norm(
            x,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )
        if update:
            dispatch.count(self.num_batches_tracked.numpy())
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalization of shape (N, C) or (N, C, L), see :func:`fastnn.functional.batch_norm`.

    Parameters
    ----------
    num_features : int
        Number of channels, C.
    eps : float
    momentum : float or None
        Weight of the newest batch in the running statistics; None averages all batches alike.
    affine : bool
        Whether there are ``weight`` and ``bias``.
    track_running_stats : bool
        Without them, evaluation too uses the statistics of the batch.
    device : None or "cpu"
    dtype : float32 (default) or float64

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> layer = nn.BatchNorm1d(3)
    >>> layer(np.ones((4, 3), np.float32)).shape
    (4, 3)
    >>> int(layer.num_batches_tracked)
    1
    """

    dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of shape (N, C, H, W); the parameters are those of :class:`BatchNorm1d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.BatchNorm2d(3, affine=False)(np.ones((4, 3, 2, 2), np.float32)).shape
    (4, 3, 2, 2)
    """

    dimensions = (4,)


class LayerNorm(Module):
    """Normalization over the last dimensions, see :func:`fastnn.functional.layer_norm`.

    Parameters
    ----------
    normalized_shape : int or sequence of int
    eps : float
    elementwise_affine : bool
        Whether there is a ``weight``, and a ``bias`` where that is True too.
    bias : bool
    device : None or "cpu"
    dtype : float32 (default) or float64

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.LayerNorm(3)(np.ones((4, 3), np.float32)).shape
    (4, 3)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refuse_device(device)
        count = len(normalized_shape) if isinstance(normalized_shape, Sequence) else 1
        self.normalized_shape = checks.integers("normalized_shape", normalized_shape, count, 0)
        self.eps = checks.real("eps", eps, 0.0)
        self.elementwise_affine = bool(elementwise_affine)
        kind = float_dtype(dtype)
        self.register_parameter("weight", Parameter(np.ones(self.normalized_shape, kind)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(np.zeros(self.normalized_shape, kind)) if elementwise_affine and bias else None)

    def forward(self, input: Any) -> Any:
        """Shape (..., *normalized_shape) -> the same."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalization over groups of channels, see :func:`fastnn.functional.group_norm`.

    Parameters
    ----------
    num_groups, num_channels : int
        The first divides the second.
    eps : float
    affine : bool
        Whether there are ``weight`` and ``bias``.
    device : None or "cpu"
    dtype : float32 (default) or float64

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.GroupNorm(2, 6)(np.ones((4, 6, 5), np.float32)).shape
    (4, 6, 5)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        refuse_device(device)
        self.num_groups = checks.integer("num_groups", num_groups, 1)
        self.num_channels = checks.integer("num_channels", num_channels, 0)
        if self.num_channels % self.num_groups:
            raise ValueError(f"num_channels: expected a multiple of num_groups {self.num_groups}, got {self.num_channels}")
        self.eps = checks.real("eps", eps, 0.0)
        self.affine = bool(affine)
        shape, kind = (self.num_channels,), float_dtype(dtype)
        self.register_parameter("weight", Parameter(np.ones(shape, kind)) if affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, kind)) if affine else None)

    def forward(self, input: Any) -> Any:
        """Shape (N, C, ...) -> the same."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"
