"""Random silence."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F
from fastnn.functional import checks
from fastnn.random import generator

from .module import Module


class Dropout(Module):
    """In training set each element to zero with probability ``p`` and scale the others by 1/(1-p); in evaluation do nothing.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        Only False.
    rng : int or numpy.random.Generator, optional
        Draws the masks, a new one at each call; without it fastnn's own generator does.

    Raises
    ------
    TypeError, ValueError
        Where ``p`` is no number in [0, 1] or ``inplace`` is True.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Dropout(0.5).eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, *, rng: Any = None) -> None:
        super().__init__()
        if inplace:
            raise ValueError("inplace: inputs are never changed, expected False")
        self.p = checks.real("p", p, 0.0, 1.0)
        self.rng = None if rng is None else generator(rng)

    def forward(self, input: Any) -> Any:
        """The same shape."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace=False"
