"""JAX, jitted: the forward pass, the pullback with what the forward pass left it, and both in one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..problems.kernels import Calls, Problem

version = jax.__version__
to_numpy = np.asarray


@contextmanager
def running(threads: int) -> Iterator[None]:
    """Hold XLA to so many threads, by the one setting that it heeds: the intra-op pool is made at the first use, of NPROC threads.

    (Without it, ``--xla_cpu_multi_thread_eigen=false`` still left a product of matrices 1.9 processors busy.) Calls run in the
    caller's thread, which saves handing them over.
    """
    os.environ["NPROC"] = str(threads)
    settings = ("jax_cpu_enable_async_dispatch", False), ("jax_enable_x64", True)
    before = [(name, jax.config.values[name]) for name, _ in settings]
    for name, value in settings:
        jax.config.update(name, value)
    try:
        jnp.zeros(1).block_until_ready()
        yield
    finally:
        for name, value in before:
            jax.config.update(name, value)


def variants(problem: Problem) -> dict[str, Calls]:
    """Jitted functions of arrays that are on the device already."""
    if problem.row.updates:
        return {}
    function = _functions(problem)
    floats = [jnp.asarray(a) for a in problem.arrays.values() if a.dtype.kind == "f"]
    dy = jnp.asarray(problem.dy)
    forward = jax.jit(function)
    pull = jax.jit(lambda pullback, dy: pullback(dy))

    def all_at_once(dy: Any, *arrays: Any) -> Any:
        y, pullback = jax.vjp(function, *arrays)
        return y, pullback(dy)

    training = jax.jit(all_at_once)
    again = jax.jit(lambda dy, *arrays: jax.vjp(function, *arrays)[1](dy))
    residuals = jax.jit(lambda *arrays: jax.vjp(function, *arrays)[1])(*floats)
    return {
        "jit": {
            "forward": lambda: forward(*floats).block_until_ready(),
            "backward": lambda: jax.block_until_ready(pull(residuals, dy)),
            "both": lambda: jax.block_until_ready(training(dy, *floats)),
        },
        "jit, recomputing": {"backward": lambda: jax.block_until_ready(again(dy, *floats))},
    }


def _functions(problem: Problem) -> Callable[..., Any]:
    """The problem as a function of its floating arrays."""
    options = problem.row.options
    if problem.row.operation == "conv2d":
        stride, padding, dilation = ((options.get(k, d),) * 2 for k, d in (("stride", 1), ("padding", 0), ("dilation", 1)))
        groups, pads = options.get("groups", 1), [(padding[0],) * 2] * 2
        return lambda x, w, b: (
            lax.conv_general_dilated(x, w, stride, pads, rhs_dilation=dilation, feature_group_count=groups) + b[:, None, None]
        )
    if problem.row.operation in ("max_pool2d", "avg_pool2d"):
        return _pool(problem.row.operation, options)
    if problem.row.operation == "cross_entropy":
        t = jnp.asarray(problem.arrays["t"])
        return lambda x: -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], 1).mean()
    return _SIMPLE[problem.row.operation]


def _pool(operation: str, options: Any) -> Callable[..., Any]:
    kernel = options["kernel_size"]
    window, strides = (1, 1, kernel, kernel), (1, 1, *(options.get("stride", kernel),) * 2)
    pads = [(0, 0), (0, 0), *[(options.get("padding", 0),) * 2] * 2]
    if operation == "max_pool2d":
        return lambda x: lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pads)
    return lambda x: lax.reduce_window(x, 0.0, lax.add, window, strides, pads) / kernel**2


_SIMPLE = {
    "linear": lambda x, w, b: x @ w.T + b,
    "global_avg_pool": lambda x: x.mean((2, 3)),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "elu": jax.nn.elu,
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
}
