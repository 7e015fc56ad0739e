"""What a Tensor computes: the operators of Python and torch's methods, each a functional of the same name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import functional as F
from fastnn.functional import checks

from . import tape

if TYPE_CHECKING:
    from .tensor import Tensor


class Operations:
    """The part of Tensor that computes; integers and booleans have what needs no gradient."""

    __slots__ = ()

    _data: np.ndarray
    _requires_grad: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the dimensions."""
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        """NumPy dtype of the elements."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._data.ndim

    @staticmethod
    def _new(array: np.ndarray) -> Tensor:
        """A Tensor without history."""
        raise TypeError("a class that computes says how its results are made")

    def __add__(self, other: Any) -> Tensor:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return F.subtract(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return F.subtract(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return F.multiply(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return F.multiply(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return F.divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return F.divide(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return F.power(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return F.power(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return F.matmul(other, self)

    def __neg__(self) -> Tensor:
        return F.negative(self)

    def __abs__(self) -> Tensor:
        return F.abs(self)

    def __getitem__(self, key: Any) -> Tensor:
        if self.dtype in checks.FLOATS:
            return F.index(self, key)
        return self._new(np.asarray(self._data[key]))

    def _compare(self, other: Any, how: Any) -> Tensor:
        return self._new(np.asarray(how(self._data, other._data if isinstance(other, Operations) else other)))

    def __eq__(self, other: object) -> Any:
        return self._compare(other, np.equal)

    def __ne__(self, other: object) -> Any:
        return self._compare(other, np.not_equal)

    def __lt__(self, other: Any) -> Tensor:
        return self._compare(other, np.less)

    def __le__(self, other: Any) -> Tensor:
        return self._compare(other, np.less_equal)

    def __gt__(self, other: Any) -> Tensor:
        return self._compare(other, np.greater)

    def __ge__(self, other: Any) -> Tensor:
        return self._compare(other, np.greater_equal)

    __hash__ = object.__hash__

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """``fastnn.functional.sum``; integers and booleans are added up as int64, so that ``(a == b).sum()`` counts."""
        if self.dtype in checks.FLOATS:
            return F.sum(self, dim, keepdim)
        axes = checks.axes("dim", dim, self.ndim) or tuple(range(self.ndim))
        numbers = self._data if self.dtype == np.bool_ else checks.index_array("input", self)
        return self._new(
            np.asarray(
                np.sum(numbers, axis=axes if self.ndim else None, dtype=np.int64, keepdims=checks.flag("keepdim", keepdim))
            )
        )

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """``fastnn.functional.mean``; a mean of integers or booleans needs ``float()`` or ``double()`` first."""
        if self.dtype not in checks.FLOATS:
            raise TypeError(
                f"input: expected dtype float32 or float64, got {self.dtype}; convert it by float() or double() first"
            )
        return F.mean(self, dim, keepdim)

    # views whose arguments differ from the functional's

    @property
    def T(self) -> Tensor:
        """Dimensions in reverse order."""
        return F.permute(self, range(self.ndim)[::-1])

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape: ``reshape(2, -1)`` or ``reshape((2, -1))``."""
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return F.reshape(self, wanted) if self.dtype in checks.FLOATS else self._new(self._data.reshape(wanted))

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """``fastnn.functional.flatten``; of integers and booleans too."""
        if self.dtype in checks.FLOATS:
            return F.flatten(self, start_dim, end_dim)
        first, last = (checks.axis(name, d, self.ndim) for name, d in (("start_dim", start_dim), ("end_dim", end_dim)))
        joined = math.prod(self.shape[first : last + 1])
        return self.reshape(*self.shape[:first], joined, *self.shape[last + 1 :])

    def permute(self, *dims: Any) -> Tensor:
        """Dimensions reordered: ``permute(1, 0)`` or ``permute((1, 0))``."""
        return F.permute(self, dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)

    def _cast(self, dtype: Any) -> Any:
        if self.dtype == dtype:
            return self
        if self._requires_grad and tape.is_recording():
            raise TypeError(
                f"cannot convert a Tensor that requires a gradient from {self.dtype} to {np.dtype(dtype)}; detach() it first"
            )
        return self._new(self._data.astype(dtype))

    def float(self) -> Tensor:
        """As float32."""
        return self._cast(np.float32)

    def double(self) -> Tensor:
        """As float64."""
        return self._cast(np.float64)


def _method(name: str) -> Any:
    """A method that is the functional of the same name; looked up when it is called."""

    def method(self: Operations, *args: Any, **options: Any) -> Any:
        return getattr(F, name)(self, *args, **options)

    method.__name__ = name
    method.__qualname__ = f"Tensor.{name}"
    method.__doc__ = f"``fastnn.functional.{name}`` of this Tensor, with the same arguments."
    return method


METHODS = (
    "abs", "amax", "amin", "clamp", "exp", "log", "log_softmax", "matmul", "max", "maximum", "min", "minimum",
    "relu", "sigmoid", "softmax", "sqrt", "squeeze", "tanh", "transpose", "unsqueeze", "var",
)  # fmt: skip
for _name in METHODS:
    setattr(Operations, _name, _method(_name))
Operations.pow = _method("power")  # type: ignore[attr-defined]
