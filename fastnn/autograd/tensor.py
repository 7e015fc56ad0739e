"""Tensor: an array that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.functional import checks
from fastnn.kernels import Operator

from . import tape
from .operations import Operations

# A plan looks at this to know that no Tensor has got other memory, and no module another parameter, since it was made.
generation: dict[str, int] = {"number": 0, "settings": 0}
_numbers = count(1)  # each is given once, also where two threads change something at the same time


def note_change(settings: bool = False) -> None:
    """Say that something changed that is not an element of an array; ``settings``: a number or flag of a module."""
    if settings:
        generation["settings"] = next(_numbers)
    generation["number"] = next(_numbers)


class Tensor(Operations):
    """An array with a gradient. Functionals called with a Tensor among their arguments record it.

    Parameters
    ----------
    data : array or Tensor
        Shares memory where it can; ``fastnn.tensor`` copies.
    requires_grad : bool
        Whether ``backward`` shall give it a gradient.

    Raises
    ------
    TypeError
        Where ``data`` is no array of numbers or booleans, or ``requires_grad`` is asked of integers.
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_node", "_requires_grad", "_slot", "_version")
    __array_ufunc__ = None  # array * tensor is ours to compute

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        array = data._data if isinstance(data, Tensor) else checks.to_numpy("data", data)
        if array.dtype.kind not in "biu" and array.dtype not in checks.FLOATS:
            raise TypeError(f"data: expected float32, float64, integers or booleans, got dtype {array.dtype}")
        self._data: np.ndarray = array
        self._grad: Tensor | None = None
        self._node: tape.Node | None = None
        self._slot = 0
        self._version = 0
        self._requires_grad = False
        if requires_grad:
            self._check_floating()
            self._requires_grad = True

    @staticmethod
    def _new(array: np.ndarray) -> Tensor:
        return Tensor(array)

    # what it is

    @property
    def is_leaf(self) -> bool:
        """True unless it was computed from Tensors that require gradients."""
        return self._node is None

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            self._check_floating()
        if self._node is not None and not value:
            raise ValueError("requires_grad: a computed Tensor cannot be switched off; use detach()")
        if self._requires_grad != bool(value):
            self._requires_grad = bool(value)
            note_change()

    def _check_floating(self) -> None:
        if self.dtype not in checks.FLOATS:
            raise TypeError(f"requires_grad: only float32 and float64 have gradients, got dtype {self.dtype}")

    @property
    def grad(self) -> Tensor | None:
        """The gradient added up by ``backward`` calls, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            checks.check_shape("grad", value, self.shape)
            if value.dtype != self.dtype:
                raise TypeError(f"grad: expected dtype {self.dtype}, got {value.dtype}")
        self._grad = value

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[checks.axis("dim", dim, self.ndim)]

    def dim(self) -> int:
        """Number of dimensions."""
        return self.ndim

    def numel(self) -> int:
        """Number of elements."""
        return self._data.size

    def numpy(self) -> np.ndarray:
        """The array itself: shares memory, knows nothing of gradients."""
        return self._data

    def item(self) -> Any:
        """The single element as a Python number."""
        if self._data.size != 1:
            raise ValueError(f"item: expected a Tensor with one element, got shape {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        return self._data.tolist()

    def detach(self) -> Tensor:
        """The same memory, without history and without gradient."""
        return Tensor(self._data)

    def clone(self) -> Tensor:
        """A recorded copy."""
        return self * 1 if self.dtype in checks.FLOATS else Tensor(self._data.copy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self._data.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __repr__(self) -> str:
        body = np.array2string(self._data, separator=", ", prefix="tensor(")
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"tensor({body}{kind}{', requires_grad=True' if self._requires_grad else ''})"

    # the tape

    @staticmethod
    def __fastnn_call__(operator: Operator, args: tuple[Any, ...], out: Sequence[np.ndarray | None] | None) -> Any:
        """Compute a call that has a Tensor among its arguments, and record it where a gradient is wanted."""
        raw = tuple([arg._data if isinstance(arg, Tensor) else arg for arg in args])
        arrays = operator.split(args)[0]
        record = (
            operator.backward is not None
            and tape.is_recording()
            and any(isinstance(arg, Tensor) and arg._requires_grad for arg in arrays)
        )
        if record and out is not None and any(out[operator.outputs.index(name)] is not None for name in operator.differentiable):
            raise ValueError("out: cannot be given together with a Tensor that requires a gradient; use no_grad()")
        results = dispatch.run(operator, raw, out)
        tensors = tuple([Tensor(result) for result in results])
        if record:
            parents = tuple([arg if isinstance(arg, Tensor) and arg._requires_grad else None for arg in arrays])
            node = tape.OperatorNode(operator, args, raw, results, parents)
            for slot, name in enumerate(operator.differentiable):
                tensor = tensors[operator.outputs.index(name)]
                tensor._requires_grad, tensor._node, tensor._slot = True, node, slot
        return tensors[0] if len(tensors) == 1 else tensors

    def _touch(self) -> None:
        """Say that the memory was changed in place: a graph that saved the old values refuses to go back."""
        self._version += 1

    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this Tensor to ``.grad`` of every leaf that it was computed from.

        Parameters
        ----------
        grad : array or Tensor, optional
            Gradient of something with respect to this Tensor; needed unless it has one element.
        retain_graph : bool
            Keep the saved values, so that ``backward`` can be called again. Otherwise a second call raises ValueError.

        Examples
        --------
        >>> import fastnn
        >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        if not self._requires_grad:
            raise ValueError("backward: this Tensor does not require a gradient and was not computed from one that does")
        for leaf, value in tape.backpropagate(self, self.output_gradient(grad), retain=retain_graph).values():
            if leaf._grad is None:
                leaf._grad = Tensor(value)
            else:
                leaf._grad._data = np.asarray(leaf._grad._data + value)

    def output_gradient(self, grad: Any, name: str = "grad") -> np.ndarray:
        """A given gradient of this Tensor, checked; the one of a single element with respect to itself where none is given."""
        if grad is None:
            if self._data.size != 1:
                raise ValueError(f"{name}: a gradient is needed for a Tensor of shape {self.shape}")
            return np.ones(self.shape, self.dtype)
        gradient = checks.array(name, grad._data if isinstance(grad, Tensor) else grad, dtype=self.dtype)
        checks.check_shape(name, gradient, self.shape)
        return gradient


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of ``data``: an array, a Tensor, a number or nested lists of numbers.

    Python floats become float32, arrays keep their dtype unless ``dtype`` says otherwise.

    Raises
    ------
    TypeError
        Where ``data`` holds no numbers, or ``requires_grad`` is asked of integers.
    ValueError
        Where nested lists are ragged.

    Examples
    --------
    >>> import fastnn
    >>> fastnn.tensor([[1.0, 2.0]]).shape
    (1, 2)
    """
    if isinstance(data, Tensor):
        array = data._data
    elif isinstance(data, (bool, int, float, list, tuple)) and not isinstance(data, np.generic):
        try:
            array = np.array(data)
        except ValueError as error:
            raise ValueError(f"data: expected numbers in a rectangular nesting of lists ({error})") from None
        if array.dtype == np.float64:
            array = array.astype(np.float32)
    else:
        array = checks.to_numpy("data", data)
    if dtype is not None:
        if array.dtype.kind not in "biuf":
            raise TypeError(f"data: expected numbers, got dtype {array.dtype}")
        array = array.astype(dtype)
    return Tensor(np.array(array, order="C"), requires_grad)
