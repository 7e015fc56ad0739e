"""JAX: the whole step jitted, and a scan over the batches of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problems.networks import RATES, Problem, Stages


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """Jitted functions; weights and state stay on the device, and their memory is given back to be written to."""
    update = _update(problem)
    step = jax.jit(update, donate_argnums=0)

    def over_epoch(state: Any, batches: Any) -> Any:
        state, losses = lax.scan(lambda state, batch: update(state, *batch), state, batches)
        return state, losses.mean()

    epoch = jax.jit(over_epoch, donate_argnums=0)
    network = problem.network
    x, y = jnp.asarray(problem.x), jnp.asarray(problem.y)
    batches = tuple(jnp.asarray(a).reshape(network.batches, network.batch, *a.shape[1:]) for a in (problem.X, problem.Y))
    states = {"step": _state(problem), "epoch": _state(problem)}

    def run_step() -> float:
        states["step"], loss = step(states["step"], x, y)
        return float(loss)

    def run_epoch() -> float:
        states["epoch"], loss = epoch(states["epoch"], batches)
        return float(loss)

    forward = jax.jit(lambda weights, x: _forward(problem, weights, x))
    weights, one = _weights(problem), jnp.asarray(problem.x[:1])
    return {
        "step": {"jit": run_step},
        "epoch": {"scan": run_epoch},
        "predict": {"jit": lambda: np.asarray(forward(weights, one))},
        "predict batch": {"jit": lambda: np.asarray(forward(weights, x))},
    }


def stages(problem: Problem) -> dict[str, Stages]:
    """The forward pass to the loss, the backward pass from what it left, and the update, each jitted, to be called in turn."""
    loss_of, x, y = _loss(problem), jnp.asarray(problem.x), jnp.asarray(problem.y)
    apply = jax.jit(_apply(problem), donate_argnums=0)
    start = jax.jit(lambda weights, x, y: jax.vjp(lambda weights: loss_of(weights, x, y), weights))
    pull = jax.jit(lambda pullback: pullback(jnp.ones((), x.dtype))[0])
    found: dict[str, Any] = {"state": _state(problem)}

    def forward() -> Any:
        found["loss"], found["pullback"] = jax.block_until_ready(start(found["state"][0], x, y))
        return found["loss"]

    def backward() -> None:
        found["gradients"] = jax.block_until_ready(pull(found["pullback"]))

    def update() -> None:
        found["state"] = jax.block_until_ready(apply(found["state"], found["gradients"]))

    return {"jit": (forward, backward, update)}


def _weights(problem: Problem) -> dict[str, Any]:
    return {name: jnp.array(value) for name, value in problem.weights.items()}


def _state(problem: Problem) -> Any:
    weights = _weights(problem)
    zeros = {name: jnp.zeros_like(value) for name, value in weights.items()}
    return weights, zeros, {name: jnp.zeros_like(value) for name, value in weights.items()}, jnp.zeros((), jnp.float32)


def _forward(problem: Problem, weights: Any, x: Any) -> Any:
    for number, (kind, *sizes) in enumerate(problem.network.layers):
        if kind == "linear":
            x = x @ weights[f"{number}.weight"].T + weights[f"{number}.bias"]
        elif kind == "conv":
            x = lax.conv_general_dilated(x, weights[f"{number}.weight"], (1, 1), [(sizes[3], sizes[3])] * 2)
            x = x + weights[f"{number}.bias"][:, None, None]
        elif kind == "pool":
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        else:
            x = {"relu": jax.nn.relu, "tanh": jnp.tanh, "flatten": lambda x: x.reshape(len(x), -1)}[kind](x)
    return x


def _loss(problem: Problem) -> Callable[..., Any]:
    """The loss as a function of weights, rows and targets."""

    def loss_of(weights: Any, x: Any, y: Any) -> Any:
        prediction = _forward(problem, weights, x)
        if problem.network.classes:
            return -jnp.take_along_axis(jax.nn.log_softmax(prediction), y[:, None], 1).mean()
        return ((prediction - y) ** 2).mean()

    return loss_of


def _apply(problem: Problem) -> Callable[..., Any]:
    """The optimiser: state and gradients -> state."""
    kind, lr = problem.network.optimizer, RATES[problem.network.optimizer]

    def apply(state: Any, gradients: Any) -> Any:
        weights, first, second, count = state
        count = count + 1
        if kind == "adam":
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
            c1, c2 = 1 - 0.9**count, 1 - 0.999**count
            weights = jax.tree.map(lambda p, m, v: p - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), weights, first, second)
        elif kind == "momentum":
            first = jax.tree.map(lambda b, g: 0.9 * b + g, first, gradients)
            weights = jax.tree.map(lambda p, b: p - lr * b, weights, first)
        else:
            weights = jax.tree.map(lambda p, g: p - lr * g, weights, gradients)
        return weights, first, second, count

    return apply


def _update(problem: Problem) -> Callable[..., Any]:
    """A whole step: state and batch -> state and loss."""
    loss_of, apply = _loss(problem), _apply(problem)

    def update(state: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(state[0], x, y)
        return apply(state, gradients), loss

    return update
