"""Recurrent layers, step by step: one product with the inputs of all steps, then one with the state at each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn import functional as F

from ..node import Facts, Node, implements
from ..values import check_room, integers, reshape

Activation = Callable[[Any], Any]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS: dict[str, tuple[Any, list[float]]] = {  # name -> function of x and its numbers, whose defaults stand beside it
    "affine": (lambda x, alpha, beta: F.add(F.multiply(x, alpha), beta), [1.0, 0.0]),
    "elu": (F.elu, [1.0]),
    "hardsigmoid": (lambda x, alpha, beta: F.clamp(F.add(F.multiply(x, alpha), beta), 0.0, 1.0), [0.2, 0.5]),
    "leakyrelu": (F.leaky_relu, [0.01]),
    "relu": (F.relu, []),
    "scaledtanh": (lambda x, alpha, beta: F.multiply(F.tanh(F.multiply(x, beta)), alpha), [1.0, 1.0]),
    "sigmoid": (F.sigmoid, []),
    "softplus": (lambda x: F.softplus(x, threshold=math.inf), []),
    "softsign": (F.softsign, []),
    "tanh": (F.tanh, []),
    "thresholdedrelu": (lambda x, alpha: F.threshold(x, alpha, 0.0), [1.0]),
}


class Weights(NamedTuple):
    """One direction of a layer: products with the input and the state, both biases, and the peepholes of a LSTM."""

    w: Any
    r: Any
    wb: Any
    rb: Any
    p: Any


def _unknown(node: Node, facts: Facts) -> str | None:
    unknown = [name for name in node.get("activations") or () if name.lower() not in ACTIVATIONS]
    return f"{node.kind} with the activation {unknown[0][:40]}" if unknown else None


def _activations(node: Node, directions: int) -> list[list[Activation]]:
    """The activations of each direction; their numbers are taken one after another from activation_alpha and activation_beta."""
    needed = len(DEFAULTS[node.kind]) * directions
    names = (node.get("activations") or DEFAULTS[node.kind] * directions)[:needed]  # the default is for both directions
    if len(names) != needed:
        raise ValueError(f"activations: expected {needed}, got {names}")
    given, clip = [list(node.get(f"activation_{name}") or ()) for name in ("alpha", "beta")], node.get("clip")
    functions: list[Activation] = []
    for name in names:
        function, numbers = ACTIVATIONS[name.lower()]
        numbers = [source.pop(0) if source else default for source, default in zip(given, numbers, strict=False)]
        is_of_cell = len(functions) % len(DEFAULTS[node.kind]) == 2  # a LSTM's third, which takes the cell as it is
        functions.append(_clipped(function, numbers, None if is_of_cell else clip))
    count = len(names) // directions
    return [functions[i * count : (i + 1) * count] for i in range(directions)]


def _clipped(function: Any, numbers: list[float], clip: float | None) -> Activation:
    if clip is None:
        return lambda x: function(x, *numbers)
    return lambda x: function(F.clamp(x, -clip, clip), *numbers)


def _parts(x: Any, count: int) -> list[Any]:
    """Equal parts of the last dimension."""
    size = x.shape[-1] // count
    return [F.index(x, (Ellipsis, slice(i * size, (i + 1) * size))) for i in range(count)]


def _rnn_step(node: Node, f: list[Activation], k: Weights, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    return f[0](F.add(x, F.linear(h, k.r, k.rb))), c


def _gru_step(node: Node, f: list[Activation], k: Weights, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    H = h.shape[-1]
    xz, xr, xh = _parts(x, 3)
    if node["linear_before_reset"]:
        hz, hr, hh = _parts(F.linear(h, k.r, k.rb), 3)
        z, r = f[0](F.add(xz, hz)), f[0](F.add(xr, hr))
        new = f[1](F.add(xh, F.multiply(r, hh)))
    else:
        hz, hr = _parts(F.linear(h, k.r[: 2 * H], k.rb[: 2 * H]), 2)
        z, r = f[0](F.add(xz, hz)), f[0](F.add(xr, hr))
        new = f[1](F.add(xh, F.linear(F.multiply(r, h), k.r[2 * H :], k.rb[2 * H :])))
    return F.add(new, F.multiply(z, F.subtract(h, new))), c


def _lstm_step(node: Node, f: list[Activation], k: Weights, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, o, forget, new = _parts(F.add(x, F.linear(h, k.r, k.rb)), 4)
    pi, po, pf = (None, None, None) if k.p is None else _parts(k.p, 3)
    i = f[0](i if pi is None else F.add(i, F.multiply(pi, c)))
    forget = forget if pf is None else F.add(forget, F.multiply(pf, c))
    forget = F.subtract(1.0, i) if node["input_forget"] else f[0](forget)
    c = F.add(F.multiply(forget, c), F.multiply(i, f[1](new)))
    o = f[0](o if po is None else F.add(o, F.multiply(po, c)))
    return F.multiply(o, f[2](c)), c


STEPS = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


def _direction(
    node: Node, f: list[Activation], k: Weights, x: Any, h: Any, c: Any, lengths: np.ndarray | None, backwards: bool
) -> tuple[Any, Any, Any]:
    """All states (T, N, H) of one direction, the last one, and the last cell."""
    T, N = x.shape[:2]
    order = np.broadcast_to(np.arange(T)[:, None], (T, N))
    if backwards:
        ends = np.full(N, T) if lengths is None else lengths
        order = np.where(order < ends, ends - 1 - order, order)
    examples = np.arange(N)
    inputs = F.linear(F.index(x, (order, examples)) if backwards else x, k.w, k.wb)
    states = []
    for t in range(T):
        new, cell = STEPS[node.kind](node, f, k, F.index(inputs, (t,)), h, c)
        if lengths is None:
            h, c = new, cell
            states.append(new)
            continue
        active = (t < lengths)[:, None]
        h, c = F.where(active, new, h), cell if cell is None else F.where(active, cell, c)
        states.append(F.where(active, new, 0.0))
    y = F.stack(states, 0)
    return (F.index(y, (order, examples)) if backwards else y), h, c


@implements("RNN", "GRU", "LSTM", lacks=_unknown)
def recurrent(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None
) -> Any:
    """All states, the last one, and for LSTM the last cell; in one direction or both."""
    batch_first = bool(node.get("layout"))
    x = F.transpose(x, 0, 1) if batch_first else x
    (T, N, _), directions, H = x.shape, w.shape[0], r.shape[2]
    G, dtype = GATES[node.kind], x.dtype
    if T == 0 or node.get("hidden_size", H) != H or directions != (2 if node["direction"] == "bidirectional" else 1):
        raise ValueError(
            f"X, W, R: shapes {tuple(x.shape)}, {tuple(w.shape)} and {tuple(r.shape)} do not fit {node['direction']!r}"
        )
    check_room((T, directions, N, G * H))
    steps = None if lengths is None else np.array(integers(lengths))
    if steps is not None and (steps.shape != (N,) or steps.min(initial=0) < 0 or steps.max(initial=0) > T):
        raise ValueError(f"sequence_lens: expected {N} lengths of at most {T}, got {steps}")
    zeros, none = np.zeros((N, H), dtype), np.zeros(G * H, dtype)
    found = []
    for d, functions in enumerate(_activations(node, directions)):
        wb, rb = (none, none) if b is None else (b[d, : G * H], b[d, G * H :])
        weights = Weights(w[d], r[d], wb, rb, None if p is None else p[d])
        first = [_initial(value, d, batch_first, zeros) for value in (h, c)]
        backwards = node["direction"] == "reverse" or d == 1
        found.append(
            _direction(node, functions, weights, x, first[0], first[1] if node.kind == "LSTM" else None, steps, backwards)
        )
    y = F.stack([states for states, _, _ in found], 1)
    last = [None if item[0] is None else F.stack(list(item), 0) for item in zip(*[rest for _, *rest in found], strict=True)]
    if batch_first:
        y, last = F.permute(y, (2, 0, 1, 3)), [None if item is None else F.transpose(item, 0, 1) for item in last]
    return (y, *[item for item in last if item is not None])


def _initial(value: Any, d: int, batch_first: bool, zeros: np.ndarray) -> Any:
    """The state that direction ``d`` starts from."""
    if value is None:
        return zeros
    return reshape(F.index(value, (slice(None), d) if batch_first else (d,)), zeros.shape)
