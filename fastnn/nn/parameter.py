"""Parameter: what a module trains."""

from __future__ import annotations

from typing import Any

from fastnn.autograd import Tensor


class Parameter(Tensor):
    """A Tensor that a Module registers as its own when it is assigned to an attribute.

    Parameters
    ----------
    data : array or Tensor
        Shares memory with it.
    requires_grad : bool
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()
