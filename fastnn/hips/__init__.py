"""fastnn's functionals inside programs that are differentiated by HIPS autograd.

Every functional stands here under its own name: replace ``import fastnn.functional as F`` by ``import fastnn.hips as F``. The gradient is
fastnn's own backward kernel, so it can be taken once: gradients of gradients raise TypeError.

Examples
--------
>>> import autograd, autograd.numpy as np, fastnn.hips as F
>>> w = np.array([[1.0, 2.0]])
>>> autograd.grad(lambda w: np.sum(F.relu(F.linear(np.ones((3, 2)), w)) ** 2))(w)
array([[18., 18.]])
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp_argnums
from autograd.extend import primitive as traced
from autograd.tracer import getval, isbox

import fastnn
from fastnn import functional

__all__ = ["primitive"]

Lengths = tuple[int | None, ...]
_latest = threading.local()  # the pullback of the call that autograd makes a node for next


@functools.cache
def primitive(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays, made of fastnn calls, that autograd differentiates.

    Parameters
    ----------
    function : callable
        Anything that ``fastnn.vjp`` takes.

    Returns
    -------
    callable
        With the same arguments; it may be called with plain arrays too.

    Raises
    ------
    TypeError
        When a gradient of a gradient is taken, or an argument that can only be given by name is differentiated.

    Examples
    --------
    >>> import autograd, autograd.numpy as np, fastnn.functional, fastnn.hips
    >>> block = fastnn.hips.primitive(lambda x, w: fastnn.functional.tanh(fastnn.functional.linear(x, w)))
    >>> autograd.grad(lambda w: np.sum(block(np.ones((1, 2)), w)))(np.zeros((1, 2)))
    array([[1., 1.]])
    """
    signature = inspect.signature(function)

    def value(lengths: Lengths, *leaves: Any, **options: Any) -> np.ndarray:
        places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, (np.ndarray, np.generic))]

        def of_arrays(*arrays: Any) -> Any:
            given = dict(zip(places, arrays, strict=True))
            return function(*_nested(lengths, [given.get(place, leaf) for place, leaf in enumerate(leaves)]), **options)

        y, pullback = fastnn.vjp(of_arrays, *[leaves[place] for place in places])
        _latest.call = y, places, pullback
        return y

    def make_pullback(wanted: Any, y: np.ndarray, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[[Any], Any]:
        latest, places, pullback = _latest.call
        if latest is not y:
            raise TypeError(f"{function.__name__}: fastnn's gradients can be taken once, not again")
        _latest.call = None, (), None

        def pull(dy: Any) -> list[np.ndarray]:
            if isbox(dy):
                raise TypeError(f"{function.__name__}: fastnn's gradients can be taken once, not again")
            gradients = dict(zip(places, pullback(np.asarray(dy, y.dtype)), strict=True))
            return [gradients[argument - 1] for argument in wanted]  # the first argument is the lengths

        return pull

    node = traced(value)
    defvjp_argnums(node, make_pullback)

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        if not any(map(_is_traced, (*args, *params.values()))):
            return function(*args, **params)
        bound = signature.bind(*args, **params)
        for name, option in bound.kwargs.items():
            if _is_traced(option):
                raise TypeError(f"{name}: an argument that can only be given by name has no gradient here")
        return node(*_flat(bound.args), **bound.kwargs)

    return call


def _is_traced(argument: Any) -> bool:
    """Whether autograd follows an argument, or an element of a sequence."""
    return isbox(argument) or (isinstance(argument, (list, tuple)) and any(map(isbox, argument)))


def _flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The lengths of traced sequences (None for other arguments), then all arguments, with the sequences spread out."""
    lengths: list[int | None] = []
    leaves: list[Any] = []
    for argument in args:
        is_sequence = _is_traced(argument) and isinstance(getval(argument), (list, tuple))
        lengths.append(len(argument) if is_sequence else None)
        leaves.extend(argument if is_sequence else [argument])
    arrays = [anp.array(leaf) if isbox(leaf) and isinstance(getval(leaf), float) else leaf for leaf in leaves]
    return tuple(lengths), *arrays


def _nested(lengths: Lengths, leaves: list[Any]) -> list[Any]:
    """The arguments as they were before they were spread out."""
    rest = iter(leaves)
    return [next(rest) if length is None else [next(rest) for _ in range(length)] for length in lengths]


def __getattr__(name: str) -> Any:
    function = getattr(functional, name)
    return primitive(function) if callable(function) else function


def __dir__() -> list[str]:
    return sorted({*__all__, *functional.__all__})
