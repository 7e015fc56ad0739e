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

import numpy as np
from autograd.extend import defvjp_argnums
from autograd.extend import primitive as traced
from autograd.tracer import isbox

import fastnn
from fastnn import functional

__all__ = ["primitive"]

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

    def value(*args: Any, **options: Any) -> np.ndarray:
        places = [place for place, argument in enumerate(args) if isinstance(argument, (np.ndarray, np.generic))]

        def of_arrays(*arrays: Any) -> Any:
            given = dict(zip(places, arrays, strict=True))
            return function(*[given.get(place, argument) for place, argument in enumerate(args)], **options)

        y, pullback = fastnn.vjp(of_arrays, *[args[place] for place in places])
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
            return [gradients[place] for place in wanted]

        return pull

    node = traced(value)
    defvjp_argnums(node, make_pullback)

    @functools.wraps(function)
    def call(*args: Any, **params: Any) -> Any:
        if not any(map(isbox, (*args, *params.values()))):
            return function(*args, **params)
        bound = signature.bind(*args, **params)
        for name, option in bound.kwargs.items():
            if isbox(option):
                raise TypeError(f"{name}: an argument that can only be given by name has no gradient here")
        return node(*bound.args, **bound.kwargs)

    return call


def __getattr__(name: str) -> Any:
    function = getattr(functional, name)
    return primitive(function) if callable(function) else function


def __dir__() -> list[str]:
    return sorted({*__all__, *functional.__all__})
