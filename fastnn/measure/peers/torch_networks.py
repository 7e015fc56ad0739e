"""PyTorch: eager with its fused optimiser, in both layouts, and the whole step compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..problems.networks import RATES, Problem, Stages


def contestants(problem: Problem) -> dict[str, dict[str, Callable[[], Any]]]:
    """Steps and predictions at each setting."""
    layouts = {"eager": torch.contiguous_format}
    if not problem.network.is_dense:
        layouts["eager, channels_last"] = torch.channels_last
    steps = {name: _step(problem, layout) for name, layout in layouts.items()}
    steps |= {name.replace("eager", "torch.compile"): _step(problem, layout, compiled=True) for name, layout in layouts.items()}
    return {
        "step": steps,
        "predict": {name: _predict(problem, problem.x[:1], layout) for name, layout in layouts.items()},
        "predict batch": {name: _predict(problem, problem.x, layout) for name, layout in layouts.items()},
    }


def stages(problem: Problem) -> dict[str, Stages]:
    """The forward pass to the loss, the backward pass, and the update, to be called in turn."""
    model, optimizer, x, y, loss = _trained(problem, torch.contiguous_format)
    recorded = {}

    def recording(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode(False), torch.enable_grad():
                return call()

        return run

    def forward() -> torch.Tensor:
        recorded["loss"] = loss(model(x), y)
        return recorded["loss"]

    def backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        recorded["loss"].backward()

    return {"eager": tuple([recording(call) for call in (forward, backward, optimizer.step)])}


def _model(problem: Problem, layout: Any) -> nn.Module:
    makers: dict[str, Any] = {
        "linear": nn.Linear, "relu": nn.ReLU, "tanh": nn.Tanh, "flatten": nn.Flatten,
        "conv": lambda i, o, k, p: nn.Conv2d(i, o, k, padding=p), "pool": lambda: nn.MaxPool2d(2),
    }  # fmt: skip
    model = nn.Sequential(*[makers[kind](*sizes) for kind, *sizes in problem.network.layers])
    model.to(torch.from_numpy(problem.x[:0]).dtype)
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in problem.weights.items()})
    return model.to(memory_format=layout)


def _own(array: Any, layout: Any) -> torch.Tensor:
    tensor = torch.from_numpy(array).clone()
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _trained(problem: Problem, layout: Any) -> tuple[nn.Module, Any, torch.Tensor, torch.Tensor, Callable[..., Any]]:
    """The model, its optimiser, a batch and the loss."""
    with torch.inference_mode(False):
        model = _model(problem, layout)
        x, y = _own(problem.x, layout), _own(problem.y, torch.contiguous_format)
        lr = RATES[problem.network.optimizer]
        if problem.network.optimizer == "adam":
            optimizer: Any = torch.optim.Adam(model.parameters(), lr, fused=True)
        else:
            momentum = 0.9 if problem.network.optimizer == "momentum" else 0.0
            optimizer = torch.optim.SGD(model.parameters(), lr, momentum=momentum, fused=True)
    return model, optimizer, x, y, F.cross_entropy if problem.network.classes else F.mse_loss


def _step(problem: Problem, layout: Any, compiled: bool = False) -> Callable[[], float]:
    model, optimizer, x, y, loss = _trained(problem, layout)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    whole = torch.compile(step) if compiled else step

    def run() -> float:
        with torch.inference_mode(False), torch.enable_grad():
            return whole().item()

    return run


def _predict(problem: Problem, rows: np.ndarray, layout: Any) -> Callable[[], Any]:
    model = _model(problem, layout).eval()
    x = _own(rows, layout)

    def predict() -> Any:
        with torch.inference_mode():
            return model(x).numpy()

    return predict
