"""What a kernel call has to do, by its operator's cost model, which knows shapes alone."""

from __future__ import annotations

from fastnn import dispatch
from fastnn.kernels import Cost


def call_cost(call: dispatch.Call) -> Cost:
    """Cost of an observed call; gradients that nobody wanted cost nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import dispatch
    >>> import fastnn.functional as F
    >>> from fastnn.measure.costs import call_cost
    >>> costs = []
    >>> with dispatch.observe(lambda call: costs.append(call_cost(call))):
    ...     _ = F.linear(np.ones((5, 3)), np.ones((2, 3)))
    >>> costs  # 5 x 3 x 2 multiply-adds; each array read or written once
    [Cost(flops=60, bytes=248, special=0)]
    """
    arrays, attributes = call.operator.split(call.args)
    itemsize = next((a.dtype.itemsize for a in (*arrays, *call.outputs) if a is not None and a.dtype.kind == "f"), 8)
    described = (*[None if a is None else a.shape for a in arrays], *attributes)
    return call.operator.cost_of(itemsize, described, [output is not None for output in call.outputs])
