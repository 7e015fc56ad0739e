"""Limits on gradients, as calls of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels import Operator
from fastnn.kernels.arithmetic.operators import clamp
from fastnn.kernels.clipping.operators import joint_norm, limited

from .graph import Graph, Value


def add_clipping(graph: Graph, gradients: Sequence[Value], norm: float | None, value: float | None) -> list[Value]:
    """Append what :func:`fastnn.nn.utils.clip_grad_value_` and then :func:`fastnn.nn.utils.clip_grad_norm_` do.

    Parameters
    ----------
    graph : Graph
    gradients : sequence of Value
    norm, value : float or None
        The limits.

    Returns
    -------
    list of Value
        The gradients to be used instead.
    """
    found = list(gradients)
    if value is not None:
        found = [_call(graph, clamp, (gradient,), (-value, value)) for gradient in found]
    if norm is not None and found:
        total = Value((), found[0].dtype, np.zeros((), found[0].dtype), name="constant")
        for gradient in found:
            total = _call(graph, joint_norm, (gradient, total), ())
        found = [_call(graph, limited, (gradient, total), (norm,)) for gradient in found]
    return found


def _call(graph: Graph, operator: Operator, inputs: Sequence[Value], attributes: Sequence[Any]) -> Value:
    (result,) = graph.add(operator, inputs, attributes, phase="backward")
    assert result is not None
    return result
