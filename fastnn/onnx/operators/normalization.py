"""Normalization, and dropout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, always, implements, like
from ..values import axis_of, check_broadcast, numbers, reshape, scalar
from .reduction import lp_norm


def _only_by_channel(node: Node, facts: Any) -> str | None:
    return None if node.get("spatial", 1) else "BatchNormalization with spatial=0"


@implements("BatchNormalization", trains=True, lacks=_only_by_channel)
def batch_norm(node: Node, x: Any, scale: Any, bias: Any, mean: Any, var: Any, training: bool = False) -> Any:
    """Of each channel by the statistics given; those of the batch in training, or where the graph itself says training_mode."""
    momentum, eps = 1 - node["momentum"], node["epsilon"]
    if not node.get("training_mode"):
        return F.batch_norm(x, mean, var, scale, bias, training, momentum, eps)
    dims = [d for d in range(len(x.shape)) if d != 1]
    batch_mean, batch_var = F.mean(x, dims), F.var(x, dims, correction=0)
    y = F.batch_norm(x, None, None, scale, bias, True, momentum, eps)
    moved = [
        F.add(F.multiply(old, 1 - momentum), F.multiply(new, momentum)) for old, new in ((mean, batch_mean), (var, batch_var))
    ]
    return (y, *moved)


@implements("InstanceNormalization")
def instance_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Of each channel of each example by its own statistics."""
    return F.group_norm(x, x.shape[1], scale, bias, node["epsilon"])


@implements("GroupNormalization")
def group_norm(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    """Of groups of channels."""
    return F.group_norm(x, node["num_groups"], scale, bias, node["epsilon"])


@implements("LayerNormalization", results=(like(0), always(np.float32), always(np.float32)))
def layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """Of each example over the dimensions from ``axis`` on; with the mean and 1 / deviation where the graph takes them."""
    axis, eps = axis_of(node["axis"], len(x.shape)), node["epsilon"]
    inner = tuple(x.shape[axis:])
    if all(value is None or tuple(value.shape) == inner for value in (scale, bias)):
        y = F.layer_norm(x, inner, scale, bias, eps)
    else:
        check_broadcast(x, scale)
        y = F.multiply(F.layer_norm(x, inner, eps=eps), scale)
        y = y if bias is None else F.add(y, bias)
    if not (node.wants(1) or node.wants(2)):
        return y
    dims = list(range(axis, len(x.shape)))
    deviation = F.sqrt(F.add(F.var(x, dims, correction=0, keepdim=True), eps))
    return y, F.mean(x, dims, True), F.divide(1.0, deviation)


@implements("RMSNormalization")
def rms_norm(node: Node, x: Any, scale: Any) -> Any:
    """scale x / sqrt(mean x^2 + epsilon), over the dimensions from ``axis`` on."""
    dims = list(range(axis_of(node["axis"], len(x.shape)), len(x.shape)))
    root = F.sqrt(F.add(F.mean(F.multiply(x, x), dims, True), node["epsilon"]))
    check_broadcast(x, scale)
    return F.multiply(F.divide(x, root), scale)


@implements("MeanVarianceNormalization")
def mean_variance_norm(node: Node, x: Any) -> Any:
    """(x - mean) / (deviation + 1e-9) over ``axes``, by default all but the channels."""
    axes = node.get("axes") or [0, 2, 3]
    dims = sorted({axis_of(axis, len(x.shape)) for axis in axes})
    centred = F.subtract(x, F.mean(x, dims, True))
    return F.divide(centred, F.add(F.sqrt(F.mean(F.multiply(centred, centred), dims, True)), 1e-9))


@implements("LpNormalization")
def lp_normalization(node: Node, x: Any) -> Any:
    """x / norm along ``axis``; zeros stay zeros."""
    norm = lp_norm(x, [axis_of(node["axis"], len(x.shape))], node["p"])
    return F.divide(x, F.clamp(norm, float(np.finfo(x.dtype).tiny)))


@implements("LRN")
def local_response_norm(node: Node, x: Any) -> Any:
    """x / (bias + alpha / size * the sum of x^2 over ``size`` neighbouring channels)^beta."""
    size, (N, C) = node["size"], x.shape[:2]
    if size < 1:
        raise ValueError(f"size: expected a positive number, got {size}")
    before, after = (min(n, C) for n in ((size - 1) // 2, size // 2))  # beyond the channels there is nothing
    squares = reshape(F.multiply(x, x), (N, 1, C, math.prod(x.shape[2:])))
    squares = F.cat([np.zeros((*squares.shape[:2], before, squares.shape[3]), x.dtype), squares,
                     np.zeros((*squares.shape[:2], after, squares.shape[3]), x.dtype)], 2)  # fmt: skip
    sums = F.conv2d(squares, np.ones((1, 1, before + after + 1, 1), x.dtype))
    scale = F.add(F.multiply(reshape(sums, x.shape), node["alpha"] / size), node["bias"])
    return F.divide(x, F.power(scale, node["beta"]))


@implements("Dropout", trains=True, results=(like(0), always(np.bool_)))
def dropout(node: Node, x: Any, ratio: Any = None, training_mode: Any = None, training: bool = False) -> Any:
    """Random silence in training, or where the graph itself says training_mode; else the input."""
    p = node.get("ratio", 0.5) if ratio is None else scalar(ratio)
    if not training and not (training_mode is not None and scalar(training_mode)):
        return (x, np.ones(x.shape, np.bool_)) if node.wants(1) else x
    seed = node.get("seed")
    rng = None if seed is None else node.attributes.setdefault("generator", np.random.default_rng(seed % 2**64))
    if not node.wants(1):
        return F.dropout(x, p, rng=rng)
    scaled = F.dropout(np.ones(x.shape, x.dtype), p, rng=rng)
    return F.multiply(x, scaled), numbers(scaled) != 0
