"""Attention: softmax(Q K^T / sqrt(size) + bias) V, for several heads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn import functional as F

from ..node import Node, implements
from ..values import by_numpy, cat, check_broadcast, check_room, index, is_float, numbers, permute, reshape


def _heads(x: Any, count: int | None) -> Any:
    """(N, heads, length, size), of that or of (N, length, heads * size)."""
    if len(x.shape) == 4:
        return x
    if not count or len(x.shape) != 3 or x.shape[2] % count:
        raise ValueError(f"Q, K, V: expected shape (N, heads, length, size), or (N, length, heads * size), got {tuple(x.shape)}")
    N, length, width = x.shape
    return permute(reshape(x, (N, length, count, width // count)), (0, 2, 1, 3))


def _repeated(x: Any, times: int) -> Any:
    """Each head several times, for the queries that share it."""
    return x if times == 1 else index(x, (slice(None), np.repeat(np.arange(x.shape[1]), times)))


def _positions(node: Node, queries: int, keys: int, offset: Any) -> np.ndarray | None:
    """Which keys each query may see by their positions: (..., queries, keys); None where nothing is hidden."""
    left, right = node.get("left_window_size", -1), node.get("right_window_size", -1)
    if not node["is_causal"] and left < 0 and right < 0:
        return None
    check_room((queries, keys))
    ahead = np.arange(keys) - (np.arange(queries)[:, None] + offset)
    seen = np.ones(ahead.shape, np.bool_)
    seen &= (ahead <= 0) if node["is_causal"] else True
    seen &= (-ahead <= left) if left >= 0 else True
    return seen & ((ahead <= right) if right >= 0 else True)


def _bias(node: Node, q: Any, keys: int, mask: Any, past: int, lengths: Any) -> Any:
    """What is added to the scores: 0 where a query may see a key, -inf where not, or the mask's own numbers; None for nothing."""
    biases = []
    if mask is not None:
        short = keys - mask.shape[-1]
        bias = mask if is_float(mask) else _hiding(mask, q.dtype)
        borders = [np.full((*mask.shape[:-1], short), -np.inf, q.dtype)] if short > 0 else []
        biases.append(cat([bias, *borders], len(mask.shape) - 1))
    offset: Any = past
    if lengths is not None:
        counts = numbers(lengths).reshape(-1, 1, 1, 1)
        offset = counts - q.shape[2]
        biases.append(_hiding(np.arange(keys) < counts, q.dtype))
    seen = _positions(node, q.shape[2], keys, offset)
    if seen is not None:
        biases.append(_hiding(seen, q.dtype))
    total = None
    for bias in biases:
        if total is not None:
            check_broadcast(total, bias)
        total = bias if total is None else F.add(total, bias)
    return total


def _hiding(seen: Any, dtype: Any) -> Any:
    """0 where it is true, -inf where not."""
    return by_numpy(lambda array: np.where(array, dtype.type(0), dtype.type(-np.inf)), seen)


@implements("Attention")
def attention(
    node: Node, q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None, lengths: Any = None
) -> Any:
    """The values, weighted; all keys and values; and the scores, in the state that qk_matmul_output_mode names.

    A query that may see nothing gets zeros. Softmax is computed in the precision of the input, whatever softmax_precision says.
    """
    joined = len(q.shape) == 3
    q, k, v = _heads(q, node.get("q_num_heads")), _heads(k, node.get("kv_num_heads")), _heads(v, node.get("kv_num_heads"))
    past = 0 if past_k is None else past_k.shape[2]
    k, v = k if past_k is None else cat([past_k, k], 2), v if past_v is None else cat([past_v, v], 2)
    (N, heads, queries, size), keys = q.shape, k.shape[2]
    if heads % max(k.shape[1], 1) or k.shape[1] != v.shape[1]:
        raise ValueError(f"K, V: expected a divisor of {heads} heads, got shapes {tuple(k.shape)} and {tuple(v.shape)}")
    check_room((N, heads, queries, keys))
    root = math.sqrt(node.get("scale", 1 / math.sqrt(size)))
    times = heads // k.shape[1]
    scores = F.matmul(F.multiply(q, root), F.transpose(F.multiply(_repeated(k, times), root), 2, 3))
    states = [scores]
    cap = node["softcap"]
    scores = F.multiply(F.tanh(F.divide(scores, cap)), cap) if cap else scores
    states.append(scores)
    bias = _bias(node, q, keys, mask, past, lengths)
    if bias is not None:
        check_broadcast(scores, bias)
        scores = F.add(scores, bias)
    states.append(scores)
    weights = _softmax(scores, bias)
    y = F.matmul(weights, _repeated(v, times))
    y = reshape(permute(y, (0, 2, 1, 3)), (N, queries, heads * v.shape[3])) if joined else y
    mode = node["qk_matmul_output_mode"]
    return y, k, v, [*states, weights][mode]


def _softmax(scores: Any, bias: Any) -> Any:
    """Along the last dimension; zeros where the bias hides everything."""
    if bias is None:
        return F.softmax(scores, -1)
    some = by_numpy(lambda array: (array > -np.inf).any(-1, keepdims=True).astype(array.dtype), bias)
    least = float(np.finfo(scores.dtype).min)
    return F.multiply(F.softmax(F.clamp(scores, least), -1), some)
