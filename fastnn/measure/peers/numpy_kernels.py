"""NumPy, with preallocated outputs. No convolution and no pooling: it has neither."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems.kernels import Calls, Problem

version = np.__version__
to_numpy = np.asarray


def variants(problem: Problem) -> dict[str, Calls]:
    """The ways to write the problem in NumPy."""
    make = _MAKERS.get(problem.row.operation)
    found = {} if make is None else {"out": make(problem)}
    if problem.row.operation == "linear" and len(problem.arrays["x"]) == 1:
        found["outer"] = _one_row(problem)
    return found


def _with_both(forward: Any, backward: Any) -> Calls:
    return {"forward": forward, "backward": backward, "both": lambda: (forward(), backward())}


def _linear(problem: Problem) -> Calls:
    x, w, b = problem.arrays.values()
    dy = problem.dy
    y, dx, dw, db = map(np.empty_like, (dy, x, w, b))

    def forward() -> np.ndarray:
        np.matmul(x, w.T, out=y)
        return np.add(y, b, out=y)

    def backward() -> tuple[np.ndarray, ...]:
        return np.matmul(dy, w, out=dx), np.matmul(dy.T, x, out=dw), np.sum(dy, axis=0, out=db)

    return _with_both(forward, backward)


def _one_row(problem: Problem) -> Calls:
    """The weights' gradient as a product of a column and a row: np.matmul would take several times as long."""
    x, w, b = problem.arrays.values()
    dy, column, row = problem.dy, problem.dy.T, problem.dy[0]
    dx, dw, db = map(np.empty_like, (x, w, b))

    def backward() -> tuple[np.ndarray, ...]:
        np.copyto(db, row)
        return np.matmul(dy, w, out=dx), np.multiply(column, x, out=dw), db

    return _with_both(_linear(problem)["forward"], backward)


def _relu(problem: Problem) -> Calls:
    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)
    return _with_both(lambda: np.maximum(x, 0, out=y), lambda: np.multiply(dy, x > 0, out=dx))


def _sigmoid(problem: Problem) -> Calls:
    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)

    def forward() -> np.ndarray:
        np.negative(x, out=y)
        np.exp(y, out=y)
        np.add(y, 1, out=y)
        return np.reciprocal(y, out=y)

    def backward() -> np.ndarray:
        np.subtract(1, y, out=dx)
        np.multiply(dx, y, out=dx)
        return np.multiply(dx, dy, out=dx)

    forward()
    return _with_both(forward, backward)


def _tanh(problem: Problem) -> Calls:
    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)

    def backward() -> np.ndarray:
        np.multiply(y, y, out=dx)
        np.subtract(1, dx, out=dx)
        return np.multiply(dx, dy, out=dx)

    np.tanh(x, out=y)
    return _with_both(lambda: np.tanh(x, out=y), backward)


def _gelu(problem: Problem) -> Calls:
    from scipy.special import erf

    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)
    root, density = x.dtype.type(np.sqrt(0.5)), x.dtype.type(1 / np.sqrt(2 * np.pi))

    def distribution(out: np.ndarray) -> np.ndarray:
        np.multiply(x, root, out=out)
        erf(out, out=out)
        np.add(out, 1, out=out)
        return np.multiply(out, 0.5, out=out)

    def forward() -> np.ndarray:
        return np.multiply(distribution(y), x, out=y)

    def backward() -> np.ndarray:
        np.multiply(x, x, out=dx)
        np.multiply(dx, -0.5, out=dx)
        np.exp(dx, out=dx)
        np.multiply(dx, density, out=dx)
        np.multiply(dx, x, out=dx)
        np.add(dx, distribution(y), out=dx)
        return np.multiply(dx, dy, out=dx)

    calls = {"forward": forward, "backward": backward}

    def both() -> tuple[np.ndarray, np.ndarray]:
        gradient = backward()
        return np.multiply(y, x, out=y), gradient

    return {**calls, "both": both}


def _elu(problem: Problem) -> Calls:
    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)

    def forward() -> np.ndarray:
        np.minimum(x, 0, out=y)
        np.expm1(y, out=y)
        np.copyto(y, x, where=x > 0)
        return y

    def backward() -> np.ndarray:
        np.minimum(y, 0, out=dx)
        np.add(dx, 1, out=dx)
        return np.multiply(dx, dy, out=dx)

    forward()
    return _with_both(forward, backward)


def _softmax(problem: Problem) -> Calls:
    x, dy, (y, dx) = problem.arrays["x"], problem.dy, _two(problem)

    def forward() -> np.ndarray:
        np.subtract(x, x.max(axis=1, keepdims=True), out=y)
        np.exp(y, out=y)
        return np.divide(y, y.sum(axis=1, keepdims=True), out=y)

    def backward() -> np.ndarray:
        np.multiply(dy, y, out=dx)
        np.subtract(dy, dx.sum(axis=1, keepdims=True), out=dx)
        return np.multiply(dx, y, out=dx)

    forward()
    return _with_both(forward, backward)


def _cross_entropy(problem: Problem) -> Calls:
    x, t = problem.arrays.values()
    rows, dx = np.arange(len(t)), np.empty_like(problem.arrays["x"])
    scale = x.dtype.type(1 / len(t))

    def forward() -> Any:
        np.subtract(x, x.max(axis=1, keepdims=True), out=dx)
        chosen = dx[rows, t]
        np.exp(dx, out=dx)
        return (np.log(dx.sum(axis=1)) - chosen).mean()

    def both() -> tuple[Any, np.ndarray]:
        np.subtract(x, x.max(axis=1, keepdims=True), out=dx)
        chosen = dx[rows, t]
        np.exp(dx, out=dx)
        total = dx.sum(axis=1, keepdims=True)
        np.divide(dx, total, out=dx)
        dx[rows, t] -= 1
        np.multiply(dx, scale, out=dx)
        return (np.log(total[:, 0]) - chosen).mean(), dx

    return {"forward": forward, "backward": lambda: both()[1], "both": both}


def _two(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    return np.empty_like(problem.arrays["x"]), np.empty_like(problem.arrays["x"])


_MAKERS = {
    "linear": _linear, "relu": _relu, "sigmoid": _sigmoid, "tanh": _tanh, "gelu": _gelu, "elu": _elu, "softmax": _softmax,
    "cross_entropy": _cross_entropy,
}  # fmt: skip
