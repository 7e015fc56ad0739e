"""Products of matrices.

linear    y = x w^T + b          x (N, I)   w (O, I)   b (O,)        ->  y (N, O)
matmul    y[i] = a[i] b[i]       a (B, M, K)           b (B, K, N)   ->  y (B, M, N)
"""

from ..operator import Cost, Operator


def _linear_cost(itemsize, x, w, b):
    (N, I), (O, _) = x, w
    bias = 0 if b is None else O
    return Cost(flops=2 * N * I * O + N * bias, bytes=itemsize * (N * I + O * I + bias + N * O))


def _linear_backward_cost(itemsize, dy, x, w):
    (N, O), (_, I) = dy, x
    return Cost(flops=4 * N * I * O + N * O, bytes=itemsize * (N * O + 2 * N * I + 2 * O * I + O))


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
    ),
)  # fmt: skip

matmul_backward = Operator(
    "matmul_backward",
    __package__,
    ("dy", "a", "b"),
    shape=lambda dy, a, b: (a, b),
    cost=_matmul_backward_cost,
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
    ),
)  # fmt: skip
