"""scikit-learn: ``partial_fit`` of a dense network on one batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier, MLPRegressor

from ..problems.networks import RATES, Problem

version = sklearn.__version__


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """A step of a dense network, from the common weights."""
    network = problem.network
    if not network.is_dense:
        return {}
    warnings.filterwarnings("ignore", module="sklearn")
    half = 1.0 if network.classes else 2.0  # it halves the squared error
    linear = [(n, sizes) for n, (kind, *sizes) in enumerate(network.layers) if kind == "linear"]
    options: dict[str, Any] = {
        "hidden_layer_sizes": [sizes[1] for _, sizes in linear[:-1]],
        "activation": "tanh" if ("tanh",) in network.layers else "relu",
        "solver": "adam" if network.optimizer == "adam" else "sgd",
        "learning_rate_init": RATES[network.optimizer] * (1.0 if network.optimizer == "adam" else half),  # Adam does not see it
        "momentum": 0.0, "alpha": 0.0, "batch_size": network.batch, "shuffle": False,
    }  # fmt: skip
    if network.classes:
        model, arguments = MLPClassifier(**options), {"classes": np.arange(network.classes)}
        x, y = problem.x, problem.y
    else:
        model, arguments = MLPRegressor(**options), {}
        x, y = problem.x, problem.y.ravel()
    model.partial_fit(x, y, **arguments)
    model.coefs_ = [problem.weights[f"{n}.weight"].T.copy() for n, _ in linear]
    model.intercepts_ = [problem.weights[f"{n}.bias"].copy() for n, _ in linear]
    model._optimizer.params = model.coefs_ + model.intercepts_
    if network.optimizer == "adam":  # the first call left its moments
        optimizer = model._optimizer
        optimizer.t, optimizer.ms, optimizer.vs = 0, *([np.zeros_like(p) for p in optimizer.params] for _ in range(2))

    def step() -> float:
        model.partial_fit(x, y)
        return half * float(model.loss_)

    return {"step": {"partial_fit": step}}
