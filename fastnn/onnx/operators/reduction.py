"""Reductions along dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, always, implements
from ..values import axis_of, by_numpy, check_room, integers, is_float, scalar


def _same(x: Any) -> Any:
    return x


def _square(x: Any) -> Any:
    return F.multiply(x, x)


def _axes(node: Node, x: Any, axes: Any) -> list[int] | None:
    """The dimensions to reduce: an attribute in older versions, an input in newer; None for none at all."""
    ndim = len(x.shape)
    chosen = node.get("axes") if axes is None else integers(axes)
    if not chosen:
        return None if node.get("noop_with_empty_axes") else list(range(ndim))
    return sorted({axis_of(axis, ndim) for axis in chosen})


def _reduction(kind: str, reduce: Callable[..., Any], integral: Any, before: Any = _same, after: Any = _same) -> None:
    """Enter ``after(reduce(before(x)))`` into the table."""

    def compute(node: Node, x: Any, axes: Any = None) -> Any:
        dims, keep = _axes(node, x, axes), bool(node["keepdims"])
        if is_float(x):
            inner = before(x)
            return after(inner if dims is None or not dims else reduce(inner, dims, keep))
        if integral is None:
            raise NotImplementedError(f"fastnn lacks: {kind} of {x.dtype}")
        return x if dims is None else by_numpy(lambda array: integral(array, tuple(dims), keep).astype(array.dtype), x)

    lacks = None if integral is not None else _of_integers
    implements(kind, integers=True, lacks=lacks)(compute)


def _of_integers(node: Node, facts: Any) -> str | None:
    dtype = facts.types.get(node.inputs[0])
    return f"{node.kind} of {dtype}" if dtype is not None and dtype.kind != "f" else None


def _extremum(function: Callable[..., Any], of_nothing: float) -> Callable[..., Any]:
    """The largest or smallest element; of none at all the infinity that any element beats."""

    def reduce(x: Any, dims: list[int], keep: bool) -> Any:
        if math.prod(x.shape[d] for d in dims):
            return function(x, dims, keep)
        shape = [1 if d in dims else n for d, n in enumerate(x.shape) if keep or d not in dims]
        return np.full(shape, of_nothing, x.dtype)

    return reduce


def _integral(function: Callable[..., Any], largest: bool) -> Callable[..., Any]:
    """The largest or smallest integer or boolean; of none at all what any other beats."""

    def reduce(x: np.ndarray, dims: tuple[int, ...], keep: bool) -> Any:
        least, most = (False, True) if x.dtype.kind == "b" else (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
        return function(x, axis=dims, keepdims=keep, initial=least if largest else most)

    return reduce


def _integer_sum(x: np.ndarray, dims: tuple[int, ...], keep: bool) -> Any:
    return np.sum(x, axis=dims, keepdims=keep)


def _log_sum_exp(x: Any, dims: list[int], keep: bool) -> Any:
    """log sum e^x = m + log sum e^(x - m), m the largest element limited to what is finite, so that infinities come out right."""
    most = float(np.finfo(x.dtype).max)
    largest = F.clamp(_extremum(F.amax, -math.inf)(x, dims, True), -most, most)
    total = F.log(F.sum(F.exp(F.subtract(x, largest)), dims, keep))
    return F.add(total, largest if keep else F.squeeze(largest, dims))


_largest, _smallest = _extremum(F.amax, -math.inf), _extremum(F.amin, math.inf)
_reduction("ReduceSum", F.sum, _integer_sum)
_reduction("ReduceMean", F.mean, None)
_reduction("ReduceMax", _largest, _integral(np.max, True))
_reduction("ReduceMin", _smallest, _integral(np.min, False))
_reduction("ReduceL1", F.sum, None, before=F.abs)
_reduction("ReduceL2", F.sum, None, before=_square, after=F.sqrt)
_reduction("ReduceSumSquare", F.sum, None, before=_square)
_reduction("ReduceLogSum", F.sum, None, after=F.log)


@implements("ReduceLogSumExp")
def log_sum_exp(node: Node, x: Any, axes: Any = None) -> Any:
    """log sum e^x."""
    dims = _axes(node, x, axes)
    return _log_sum_exp(x, dims, bool(node["keepdims"])) if dims else x


def _position(largest: bool) -> Callable[..., Any]:
    """Where the largest or smallest element stands: the first of equal ones, or the last."""

    def compute(node: Node, x: Any) -> Any:
        axis, keep = axis_of(node["axis"], max(len(x.shape), 1)), bool(node["keepdims"])
        last, choose = bool(node.get("select_last_index")), np.argmax if largest else np.argmin

        def find(array: np.ndarray) -> Any:
            if last:
                return array.shape[axis] - 1 - choose(np.flip(array, axis), axis=axis, keepdims=keep)
            return choose(array, axis=axis, keepdims=keep)

        return by_numpy(find, x)

    return compute


implements("ArgMax", integers=True, results=(always(np.int64),))(_position(True))
implements("ArgMin", integers=True, results=(always(np.int64),))(_position(False))


@implements("CumSum", integers=True)
def cumulative_sum(node: Node, x: Any, axis: Any) -> Any:
    """The sum of all elements up to each one; floats by a product with a triangle of ones."""
    d, n = axis_of(int(scalar(axis)), len(x.shape)), x.shape[axis_of(int(scalar(axis)), len(x.shape))]
    check_room((n, n))
    ones = np.tril(np.ones((n, n), x.dtype if is_float(x) else np.int64), -1 if node["exclusive"] else 0)
    ones = ones.T if node["reverse"] else ones
    if is_float(x):
        return F.transpose(F.linear(F.transpose(x, d, -1), ones), d, -1)
    return by_numpy(lambda array: np.moveaxis(np.moveaxis(array, d, -1) @ ones.T, -1, d).astype(array.dtype), x)


@implements("Hardmax")
def hardmax(node: Node, x: Any) -> Any:
    """1 at the first of the largest elements, 0 elsewhere; before version 13 of all from ``axis`` on together. It has no gradient."""
    axis = axis_of(node["axis"], len(x.shape))
    shape = x.shape if node.version >= 13 else (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    along = axis if node.version >= 13 else 1

    def mark(array: np.ndarray) -> np.ndarray:
        folded = array.reshape(shape)
        places = np.arange(folded.shape[along]).reshape([-1 if d == along else 1 for d in range(folded.ndim)])
        return (folded.argmax(along, keepdims=True) == places).astype(array.dtype).reshape(array.shape)

    return by_numpy(mark, x)


@implements("GlobalAveragePool")
def global_average_pool(node: Node, x: Any) -> Any:
    """The mean of each channel."""
    return F.adaptive_avg_pool2d(x, 1) if len(x.shape) == 4 else F.mean(x, list(range(2, len(x.shape))), True)


@implements("GlobalMaxPool")
def global_max_pool(node: Node, x: Any) -> Any:
    """The maximum of each channel."""
    return F.adaptive_max_pool2d(x, 1) if len(x.shape) == 4 else F.amax(x, list(range(2, len(x.shape))), True)


@implements("GlobalLpPool")
def global_lp_pool(node: Node, x: Any) -> Any:
    """The p-norm of each channel."""
    return lp_norm(x, list(range(2, len(x.shape))), node["p"])


def lp_norm(x: Any, dims: list[int], p: int) -> Any:
    """(sum |x|^p)^(1/p), with the dimensions kept."""
    if p == 1:
        return F.sum(F.abs(x), dims, True)
    if p == 2:
        return F.sqrt(F.sum(_square(x), dims, True))
    return F.power(F.sum(F.power(F.abs(x), p), dims, True), 1 / p)
