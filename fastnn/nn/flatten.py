"""Joining dimensions."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F
from fastnn.functional import checks

from .module import Module


class Flatten(Module):
    """Join the dimensions from ``start_dim`` to ``end_dim``; by default all but the batch.

    Parameters
    ----------
    start_dim, end_dim : int
        The first and the last dimension to join; negative ones count from the end.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = checks.integer("start_dim", start_dim)
        self.end_dim = checks.integer("end_dim", end_dim)

    def forward(self, input: Any) -> Any:
        """Shape (N, ...) -> (N, product of the rest)."""
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
