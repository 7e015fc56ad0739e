"""Products of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, implements
from ..values import check_broadcast, check_room, is_float, numbers, reshape


@implements("MatMul", integers=True)
def matmul(node: Node, a: Any, b: Any) -> Any:
    """The product, by NumPy's rules."""
    if len(a.shape) > 1 and len(b.shape) > 1:
        check_room([*_batch(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]])
    return F.matmul(a, b) if is_float(a) else np.asarray(np.matmul(numbers(a), numbers(b)))


def _batch(a: tuple[int, ...], b: tuple[int, ...]) -> list[int]:
    """An upper bound of what two shapes broadcast to."""
    ndim = max(len(a), len(b))
    return [max(pair) for pair in zip((1,) * (ndim - len(a)) + tuple(a), (1,) * (ndim - len(b)) + tuple(b), strict=True)]


@implements("Gemm")
def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    """alpha A' B' + beta C, where ' transposes where asked for; what is a linear map with a bias is computed as one."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ValueError(f"A, B: expected two dimensions each, got {tuple(a.shape)} and {tuple(b.shape)}")
    a = F.transpose(a, 0, 1) if node["transA"] else a
    weight = b if node["transB"] else F.transpose(b, 0, 1)
    check_room((a.shape[0], weight.shape[0]))
    alpha, beta = node["alpha"], node["beta"] if c is not None else 0.0
    columns = weight.shape[0]
    is_bias = c is not None and math.prod(c.shape) == columns == c.shape[-1] if c is not None and c.shape else False
    if alpha == 1 and beta == 1 and is_bias:
        return F.linear(a, weight, reshape(c, (columns,)))
    product = F.linear(a, weight) if node["transB"] else F.matmul(a, b)
    product = product if alpha == 1 else F.multiply(product, alpha)
    if c is None or beta == 0:
        return product
    check_broadcast(product, c)
    return F.add(product, c if beta == 1 else F.multiply(c, beta))
