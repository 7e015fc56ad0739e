"""Random silence."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.kernels.dropout import operators

from ..dispatch import call, count
from ..random import generator
from . import checks


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, rng: Any = None, out: Any = None) -> Any:
    """Inverted dropout: each element is zero with probability ``p``, the others are scaled by 1/(1-p).

    Source: Srivastava et al., "Dropout" (2014), section 10 (scaling in training, so that evaluation does nothing).

    Parameters
    ----------
    input : array
    p : float in [0, 1]
    training : bool
        Where False the input is passed on, without a copy.
    inplace : bool
        Only False; inputs are never changed.
    rng : int or numpy.random.Generator, optional
        Draws the mask; without it fastnn's own generator does (``fastnn.manual_seed``).
    out : array, optional

    Raises
    ------
    TypeError, ValueError
        Where ``p`` is no number, outside [0, 1] or NaN, ``inplace`` is True, or ``rng`` or ``out`` does not fit.

    Examples
    --------
    >>> import numpy as np, fastnn.functional as F
    >>> F.dropout(np.ones(2), p=1.0)
    array([0., 0.])
    """
    if inplace:
        raise ValueError("inplace: inputs are never changed, expected False; use out=input")
    x = checks.array("input", input)
    p = checks.real("p", p, 0.0, 1.0)
    out = checks.out(out, tuple(x.shape), x.dtype)
    if not checks.flag("training", training):
        return checks.deliver(x, out)
    key = generator(rng).integers(2**63, size=1)
    if not isinstance(rng, (int, np.integer)):
        count(key)  # in a plan, another mask at each step
    return call(operators.dropout, x, key, p, out=None if out is None else (out,))
