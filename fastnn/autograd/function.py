"""A user's own operator on the tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import tape
from .tensor import Tensor


class Context:
    """What the forward pass of a Function leaves for its backward pass.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        For each argument of ``apply``, whether a gradient is wanted.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Any, ...] | None = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep Tensors or arrays for the backward pass."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What ``save_for_backward`` kept."""
        if self._saved is None:
            raise ValueError("saved_tensors: they are gone after the first backward pass; pass retain_graph=True there")
        return self._saved


class Function:
    """Base class of operators written by users: define ``forward`` and ``backward`` as static methods, call ``apply``.

    ``forward(ctx, *args)`` gets the arguments of ``apply`` (Tensors that do not record) and returns a Tensor or an array.
    ``backward(ctx, dy)`` gets the gradient of the output as a Tensor and returns one gradient (Tensor, array or None) for each argument.

    Examples
    --------
    >>> import fastnn
    >>> class Square(fastnn.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, dy):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * dy
    >>> x = fastnn.tensor([3.0], requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor([6.])
    """

    @staticmethod
    def forward(ctx: Context, *args: Any) -> Any:
        """Compute the output."""
        raise TypeError("a Function defines forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Context, dy: Tensor) -> Any:
        """Compute the gradients of the arguments."""
        raise TypeError("a Function defines backward(ctx, dy)")

    @classmethod
    def apply(cls, *args: Any) -> Tensor:
        """Run ``forward`` and record it."""
        parents = tuple([arg if isinstance(arg, Tensor) and arg.requires_grad else None for arg in args])
        ctx = Context(tuple(parent is not None for parent in parents))
        record = tape.is_recording() and any(ctx.needs_input_grad)
        with tape.no_grad():
            result = cls.forward(ctx, *[arg.detach() if isinstance(arg, Tensor) else arg for arg in args])
        output = Tensor(result)
        if record:
            output = output.detach()  # forward may have returned an argument itself
            output._node = _FunctionNode(cls, ctx, parents, output)
            output._requires_grad = True
        return output


class _FunctionNode(tape.Node):
    """A recorded call of a user's Function."""

    __slots__ = ("ctx", "function")

    def __init__(self, function: type[Function], ctx: Context, parents: tuple[Tensor | None, ...], output: Tensor) -> None:
        super().__init__(parents, [(output.shape, output.dtype)])
        self.function = function
        self.ctx = ctx

    def gradients(self, dys: list[np.ndarray], out: Sequence[np.ndarray | None] | None) -> Sequence[np.ndarray | None]:
        with tape.no_grad():
            results = self.function.backward(self.ctx, Tensor(dys[0]))
        results = results if isinstance(results, tuple) else (results,)
        name = self.function.__name__
        if len(results) != len(self.parents):
            raise ValueError(f"{name}.backward: expected {len(self.parents)} gradients, got {len(results)}")
        gradients: list[np.ndarray | None] = []
        for index, (result, parent) in enumerate(zip(results, self.parents, strict=True)):
            if parent is None:
                gradients.append(None)
                continue
            value = np.zeros(parent.shape, parent.dtype) if result is None else Tensor(result).numpy()
            if value.shape != parent.shape or value.dtype != parent.dtype:
                raise ValueError(
                    f"{name}.backward: expected a gradient of shape {parent.shape} and dtype {parent.dtype} for argument {index}, "
                    f"got {value.shape} and {value.dtype}"
                )
            gradients.append(value)
        return [None if value is None else value.view() for value in gradients]  # it may be memory of the user's

    def release(self) -> None:
        self.ctx._saved = None
