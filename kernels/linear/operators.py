"""Products of matrices.

linear              y = x w^T + b          x (N, I)   w (O, I)   b (O,)        ->  y (N, O)
linear_activated    y = f(x w^T + b)       f is identity, relu, sigmoid or tanh
pack_panels         w (O, I) cut into panels (O / PANEL, I, PANEL) of columns of w^T, the last one padded with zeros
linear_packed       linear_activated of a weight in panels
matmul              y[i] = a[i] b[i]       a (B, M, K)           b (B, K, N)   ->  y (B, M, N)
"""

import math

from ..operator import Cost, Operator

PANEL = 32  # columns: those of the widest register tile, a multiple of all others


def _linear_cost(itemsize, x, w, b):
    (N, I), (O, _) = x, w
    bias = 0 if b is None else O
    return Cost(flops=2 * N * I * O + N * bias, bytes=itemsize * (N * I + O * I + bias + N * O))


def _linear_backward_cost(itemsize, dy, x, w):
    (N, O), (_, I) = dy, x
    return Cost(flops=4 * N * I * O + N * O, bytes=itemsize * (N * O + 2 * N * I + 2 * O * I + O))


def _linear_parts(dy, x, w, *_):
    (N, O), (_, I) = dy, x
    return 2 * N * I * O, 2 * N * I * O, N * O


def _activated_cost(itemsize, x, w, b, activation):
    flops, nbytes, _ = _linear_cost(itemsize, x, w, b)
    results = x[0] * w[0]
    more = {"identity": 0, "relu": 1, "sigmoid": 2, "tanh": 0}[activation]
    return Cost(flops + more * results, nbytes, results if activation in ("sigmoid", "tanh") else 0)


def _activated_backward_cost(itemsize, dy, x, w, y, activation):
    flops, nbytes, _ = _linear_backward_cost(itemsize, dy, x, w)
    more = {"identity": 0, "relu": 1, "sigmoid": 3, "tanh": 3}[activation]
    return Cost(flops + more * math.prod(y), nbytes + itemsize * math.prod(y))


def _panels(w):
    return -(-w[0] // PANEL), w[1], PANEL


def _packed_cost(itemsize, x, panels, b, out_features, activation):
    flops, nbytes, special = _activated_cost(itemsize, x, (out_features, x[1]), b, activation)
    return Cost(flops, nbytes + itemsize * (math.prod(panels) - out_features * x[1]), special)  # the padding is read too


def _matmul_cost(itemsize, a, b):
    (B, M, K), (_, _, N) = a, b
    return Cost(flops=2 * B * M * K * N, bytes=itemsize * B * (M * K + K * N + M * N))


def _matmul_backward_cost(itemsize, dy, a, b):
    (B, M, K), (_, _, N) = a, b
    return Cost(flops=4 * B * M * K * N, bytes=itemsize * B * (M * N + 2 * M * K + 2 * K * N))


linear_backward = Operator(
    "linear_backward",
    __package__,
    ("dy", "x", "w"),
    shape=lambda dy, x, w: (x, w, dy[1:]),
    cost=_linear_backward_cost,
    parts=_linear_parts,
    outputs=("dx", "dw", "db"),
)
linear = Operator(
    "linear", __package__, ("x", "w", "b"),
    shape=lambda x, w, b: ((x[0], w[0]),),
    cost=_linear_cost,
    optional=("b",),
    backward=linear_backward,
    examples=(
        {"x": (1, 1), "w": (1, 1), "b": (1,)},
        {"x": (1, 37), "w": (19, 37), "b": (19,)},
        {"x": (3, 5), "w": (7, 5), "b": None},
        {"x": (33, 130), "w": (67, 130), "b": (67,)},
        {"x": (0, 4), "w": (3, 4), "b": (3,)},
        {"x": (128, 784), "w": (256, 784), "b": (256,)},
        {"x": (2, 70), "w": (9, 70), "b": (9,)},
        {"x": (40, 33), "w": (3, 33), "b": (3,)},
        {"x": (15, 600), "w": (530, 600), "b": (530,)},
        {"x": (3, 0), "w": (4, 0), "b": (4,)},
    ),
)  # fmt: skip

linear_activated_backward = Operator(
    "linear_activated_backward",
    __package__,
    ("dy", "x", "w", "y"),
    shape=lambda dy, x, w, y, activation: (x, w, dy[1:]),
    cost=_activated_backward_cost,
    parts=_linear_parts,
    attributes=("activation",),
    outputs=("dx", "dw", "db"),
)
linear_activated = Operator(
    "linear_activated", __package__, ("x", "w", "b"),
    shape=lambda x, w, b, activation: ((x[0], w[0]),),
    cost=_activated_cost,
    attributes=("activation",),
    optional=("b",),
    backward=linear_activated_backward,
    examples=(
        {"x": (1, 19), "w": (21, 19), "b": (21,), "activation": "relu"},
        {"x": (30, 40), "w": (35, 40), "b": (35,), "activation": "relu"},
        {"x": (2, 40), "w": (3, 40), "b": None, "activation": "sigmoid"},
        {"x": (16, 530), "w": (33, 530), "b": (33,), "activation": "sigmoid"},
        {"x": (17, 9), "w": (16, 9), "b": (16,), "activation": "tanh"},
        {"x": (4, 5), "w": (6, 5), "b": (6,), "activation": "identity"},
    ),
)  # fmt: skip

pack_panels = Operator(
    "pack_panels", __package__, ("w",),
    shape=lambda w: (_panels(w),),
    cost=lambda itemsize, w: Cost(flops=0, bytes=itemsize * (math.prod(w) + math.prod(_panels(w)))),
    outputs=("panels",),
    examples=({"w": (1, 3)}, {"w": (40, 17)}, {"w": (64, 33)}, {"w": (0, 4)}, {"w": (5, 0)}),
)  # fmt: skip
linear_packed = Operator(
    "linear_packed", __package__, ("x", "panels", "b"),
    shape=lambda x, panels, b, out_features, activation: ((x[0], out_features),),
    cost=_packed_cost,
    attributes=("out_features", "activation"),
    optional=("b",),
    examples=(
        {"x": (1, 7), "panels": (1, 7, PANEL), "b": (5,), "out_features": 5, "activation": "identity"},
        {"x": (15, 40), "panels": (3, 40, PANEL), "b": None, "out_features": 70, "activation": "relu"},
        {"x": (20, 530), "panels": (17, 530, PANEL), "b": (530,), "out_features": 530, "activation": "tanh"},
        {"x": (0, 4), "panels": (1, 4, PANEL), "b": (3,), "out_features": 3, "activation": "sigmoid"},
    ),
)  # fmt: skip

matmul_backward = Operator(
    "matmul_backward",
    __package__,
    ("dy", "a", "b"),
    shape=lambda dy, a, b: (a, b),
    cost=_matmul_backward_cost,
    parts=lambda dy, a, b: (2 * math.prod(a) * b[2],) * 2,
    outputs=("da", "db"),
)
matmul = Operator(
    "matmul", __package__, ("a", "b"),
    shape=lambda a, b: ((a[0], a[1], b[2]),),
    cost=_matmul_cost,
    backward=matmul_backward,
    examples=(
        {"a": (1, 1, 1), "b": (1, 1, 1)},
        {"a": (3, 5, 7), "b": (3, 7, 2)},
        {"a": (1, 45, 401), "b": (1, 401, 35)},
        {"a": (2, 1, 64), "b": (2, 64, 50)},
        {"a": (2, 3, 0), "b": (2, 0, 4)},
        {"a": (1, 60, 30), "b": (1, 30, 1)},
        {"a": (1, 520, 20), "b": (1, 20, 300)},
        {"a": (1, 1, 600), "b": (1, 600, 2100)},
    ),
)  # fmt: skip
