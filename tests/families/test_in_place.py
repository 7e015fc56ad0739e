"""Operators that a plan lets write over their first operand: to the bit what they give elsewhere."""

import numpy as np
import pytest

from fastnn import dispatch
from fastnn.kernels import Operator, operators

ATTRIBUTES = {"clamp": (-0.5, 0.5), "clamp_backward": (-0.5, 0.5), "dropout": (0.3,), "dropout_backward": (0.3,)}


def _takes_vectors(operator: Operator) -> bool:
    return operator.name in ATTRIBUTES or (not operator.attributes and operator.family in ("activation", "arithmetic"))


CALLS = [
    (backend, operator)
    for operator in operators()
    if operator.inplace and _takes_vectors(operator)
    for backend in operator.needs
    if dispatch.is_available(backend)
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 511, 9001])
@pytest.mark.parametrize(("backend", "operator"), CALLS, ids=lambda value: getattr(value, "name", value))
def test_result_over_the_first_operand(backend, operator, size, dtype, rng):
    arrays = [
        np.array([size], np.int64) if name == "key" else rng.standard_normal(size).astype(dtype) for name in operator.params
    ]
    kernel, elsewhere = operator.kernel(backend), np.empty(size, dtype)
    with np.errstate(all="ignore"):
        kernel(*arrays, *ATTRIBUTES.get(operator.name, ()), elsewhere)
        kernel(*arrays, *ATTRIBUTES.get(operator.name, ()), arrays[0])
    assert arrays[0].tobytes() == elsewhere.tobytes()
