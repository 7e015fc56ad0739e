"""NumPy by hand: a step of a dense network as one writes it, in place where that is easy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems.networks import RATES, Problem


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """Steps and predictions of a dense network; nobody writes a convolution by hand to be fast."""
    if not problem.network.is_dense:
        return {}
    return {
        "step": {"by hand": _step(problem)},
        "predict": {"by hand": _predict(problem, problem.x[:1])},
        "predict batch": {"by hand": _predict(problem, problem.x)},
    }


def _predict(problem: Problem, rows: np.ndarray) -> Callable[[], np.ndarray]:
    layers = problem.network.layers
    numbers = [n for n, (kind, *_) in enumerate(layers) if kind == "linear"]
    maps = [(problem.weights[f"{n}.weight"].T, problem.weights[f"{n}.bias"]) for n in numbers]
    tanh = ("tanh",) in layers

    def predict() -> np.ndarray:
        x = rows
        for number, (w, b) in enumerate(maps):
            x = x @ w
            x += b
            if number < len(maps) - 1:
                x = np.tanh(x, out=x) if tanh else np.maximum(x, 0, out=x)
        return x

    return predict


def _step(problem: Problem) -> Callable[[], float]:
    numbers = [n for n, (kind, *_) in enumerate(problem.network.layers) if kind == "linear"]
    weights = [problem.weights[f"{n}.weight"].copy() for n in numbers]
    biases = [problem.weights[f"{n}.bias"].copy() for n in numbers]
    parameters = [*weights, *biases]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    rows, count = np.arange(problem.network.batch), 0
    tanh = ("tanh",) in problem.network.layers
    kind, lr = problem.network.optimizer, np.float32(RATES[problem.network.optimizer])

    def step() -> float:
        nonlocal count
        count += 1
        hidden = [problem.x]
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            z = hidden[-1] @ w.T + b
            hidden.append(np.tanh(z) if tanh else np.maximum(z, 0))
        z = hidden[-1] @ weights[-1].T + biases[-1]
        if problem.network.classes:
            e = np.exp(z - z.max(1, keepdims=True))
            probabilities = e / e.sum(1, keepdims=True)
            loss = -np.log(probabilities[rows, problem.y]).mean()
            probabilities[rows, problem.y] -= 1
            delta = probabilities / len(rows)
        else:
            difference = z - problem.y
            loss, delta = np.mean(difference**2), difference * np.float32(2 / difference.size)
        dws, dbs = [], []
        for layer in reversed(range(len(weights))):
            dws.append(delta.T @ hidden[layer])
            dbs.append(delta.sum(0))
            if layer:
                delta = delta @ weights[layer]
                delta *= 1 - hidden[layer] ** 2 if tanh else hidden[layer] > 0
        for p, g, m, v in zip(parameters, [*dws[::-1], *dbs[::-1]], first, second, strict=True):
            if kind == "adam":
                m += np.float32(0.1) * (g - m)
                v += np.float32(0.001) * (g * g - v)
                p -= lr * (m / np.float32(1 - 0.9**count)) / (np.sqrt(v / np.float32(1 - 0.999**count)) + np.float32(1e-8))
            else:
                p -= lr * g
        return float(loss)

    return step
