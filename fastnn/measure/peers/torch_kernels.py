"""PyTorch eager in inference mode, by the ``out=`` and ``grad_input=`` overloads, in NCHW and in channels_last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..problems.kernels import Calls, Problem

version = torch.__version__
aten = torch.ops.aten
nn = torch._C._nn  # what torch.nn.functional calls, with out=: a microsecond less than by way of aten
_LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


@contextmanager
def running(threads: int) -> Iterator[None]:
    """Hold PyTorch to so many threads, and record nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def to_numpy(result: Any) -> np.ndarray:
    """The values of a tensor, in NumPy's order."""
    return result.contiguous().numpy()


def variants(problem: Problem) -> dict[str, Calls]:
    """Settings to try: layouts, and the overloads that do the same."""
    operation = problem.row.operation
    if operation in _SPATIAL:
        return {name: _SPATIAL[operation](problem, layout) for name, layout in _LAYOUTS.items()}
    return _FLAT[operation](problem)


def _tensors(problem: Problem, layout: Any = torch.contiguous_format) -> list[Any]:
    """The problem's arrays in memory of PyTorch's own; those of four dimensions in ``layout``."""
    return [_own(a, layout) for a in (*problem.arrays.values(), problem.dy)]


def _own(array: np.ndarray, layout: Any = torch.contiguous_format) -> Any:
    tensor = torch.from_numpy(array).clone()
    return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor


def _with_both(forward: Callable[[], Any], backward: Callable[[], Any]) -> Calls:
    forward()  # a backward pass needs what it leaves
    return {"forward": forward, "backward": backward, "both": lambda: (forward(), backward())}


def _linear(problem: Problem) -> dict[str, Calls]:
    x, w, b, dy = _tensors(problem)
    y, dx, dw, db = map(torch.empty_like, (dy, x, w, b))
    wt, dyt = w.t(), dy.t()

    def backward() -> Any:
        return torch.mm(dy, w, out=dx), torch.mm(dyt, x, out=dw), torch.sum(dy, 0, out=db)

    found = {
        "linear": _with_both(lambda: F.linear(x, w, b), backward),
        "addmm": _with_both(lambda: torch.addmm(b, x, wt, out=y), backward),
    }
    if len(x) == 1:
        found |= _one_row(x, wt, b, dy, (y, dx, dw, db))
    return found


def _one_row(x: Any, wt: Any, b: Any, dy: Any, out: tuple[Any, ...]) -> dict[str, Calls]:
    """A row is a vector: products of a matrix and a vector, outer products, and no sum."""
    (y, dx, dw, db), w, dyt = out, wt.t(), dy.t()
    x_row, y_row, dy_row, dx_row = x[0], y[0], dy[0], dx[0]

    def forward() -> Any:
        torch.addmv(b, w, x_row, out=y_row)
        return y

    def multiplied() -> Any:
        return torch.mm(dy, w, out=dx), torch.mul(dyt, x, out=dw), db.copy_(dy_row)

    def outer() -> Any:
        torch.mv(wt, dy_row, out=dx_row)
        return dx, torch.mm(dyt, x, out=dw), db.copy_(dy_row)

    return {"vectors": _with_both(forward, multiplied), "vectors, mm": _with_both(forward, outer)}


def _conv2d(problem: Problem, layout: Any) -> Calls:
    x, w, b, dy = _tensors(problem, layout)
    options = problem.row.options
    stride, padding, dilation = (
        [options.get(name, start)] * 2 for name, start in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    groups, sizes = options.get("groups", 1), [len(b)]

    def backward() -> Any:
        return aten.convolution_backward(
            dy, x, w, sizes, stride, padding, dilation, False, [0, 0], groups, [True, True, True]
        )  # fmt: skip

    return _with_both(lambda: torch.conv2d(x, w, b, stride, padding, dilation, groups), backward)


def _max_pool2d(problem: Problem, layout: Any) -> Calls:
    x, dy = _tensors(problem, layout)
    kernel, stride, padding = _windows(problem)
    y, dx = torch.empty_like(dy), torch.empty_like(x)
    indices = torch.empty_like(dy, dtype=torch.int64)

    def forward() -> Any:
        return nn.max_pool2d_with_indices(x, kernel, stride, padding, [1, 1], False, out=(y, indices))[0]

    def backward() -> Any:
        return aten.max_pool2d_with_indices_backward.grad_input(
            dy, x, kernel, stride, padding, [1, 1], False, indices, grad_input=dx
        )  # fmt: skip

    return _with_both(forward, backward)


def _avg_pool2d(problem: Problem, layout: Any) -> Calls:
    x, dy = _tensors(problem, layout)
    kernel, stride, padding = _windows(problem)
    y, dx = torch.empty_like(dy), torch.empty_like(x)

    def backward() -> Any:
        return aten.avg_pool2d_backward.grad_input(dy, x, kernel, stride, padding, False, True, None, grad_input=dx)

    return _with_both(lambda: nn.avg_pool2d(x, kernel, stride, padding, False, True, None, out=y), backward)


def _windows(problem: Problem) -> tuple[list[int], ...]:
    options = problem.row.options
    kernel = options["kernel_size"]
    return [kernel] * 2, [options.get("stride", kernel)] * 2, [options.get("padding", 0)] * 2


def _global_avg_pool(problem: Problem, layout: Any) -> Calls:
    x, dy = _tensors(problem, layout)
    y, dx = torch.empty_like(dy), torch.empty_like(x)
    wide, share = dy[:, :, None, None].expand_as(x), 1 / x[0, 0].numel()
    return _with_both(lambda: torch.mean(x, (2, 3), out=y), lambda: torch.mul(wide, share, out=dx))


def _elementwise(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[[Problem], dict[str, Calls]]:
    """``forward(x, y)`` writes y, ``backward(dy, x, y, dx)`` writes dx."""

    def make(problem: Problem) -> dict[str, Calls]:
        x, dy = _tensors(problem)
        y, dx = torch.empty_like(dy), torch.empty_like(x)
        return {"out": _with_both(lambda: forward(x, y), lambda: backward(dy, x, y, dx))}

    return make


def _softmax(problem: Problem) -> dict[str, Calls]:
    x, dy = _tensors(problem)
    y, dx = torch.empty_like(dy), torch.empty_like(x)

    def backward() -> Any:
        return torch._softmax_backward_data(dy, y, 1, x.dtype, grad_input=dx)

    return {"out": _with_both(lambda: torch.softmax(x, 1, out=y), backward)}


def _cross_entropy(problem: Problem) -> dict[str, Calls]:
    x, t, dy = _tensors(problem)
    logs, dlogs, dx = (torch.empty_like(x) for _ in range(3))
    y, total = torch.empty_like(dy), torch.empty_like(dy)

    def forward() -> Any:
        torch.log_softmax(x, 1, out=logs)
        return aten.nll_loss_forward.output(logs, t, None, 1, -100, output=y, total_weight=total)[0]

    def backward() -> Any:
        aten.nll_loss_backward.grad_input(dy, logs, t, None, 1, -100, total, grad_input=dlogs)
        return torch._log_softmax_backward_data(dlogs, logs, 1, x.dtype, out=dx)

    return {"out": _with_both(forward, backward), "cross_entropy": {"forward": lambda: F.cross_entropy(x, t)}}


def _optimizer(problem: Problem) -> dict[str, Calls]:
    p = _own(problem.arrays["p"])
    p.grad = _own(problem.dy)
    optimizer = getattr(torch.optim, problem.row.operation)([p], fused=True, **problem.row.options)

    def forward() -> Any:
        optimizer.step()
        return p

    return {"fused": {"forward": forward}}


_SPATIAL = {"conv2d": _conv2d, "max_pool2d": _max_pool2d, "avg_pool2d": _avg_pool2d, "global_avg_pool": _global_avg_pool}
_FLAT = {
    "linear": _linear,
    "relu": _elementwise(
        lambda x, y: torch.clamp_min(x, 0, out=y),
        lambda dy, x, y, dx: aten.threshold_backward.grad_input(dy, y, 0, grad_input=dx),
    ),
    "sigmoid": _elementwise(
        lambda x, y: torch.sigmoid(x, out=y), lambda dy, x, y, dx: aten.sigmoid_backward.grad_input(dy, y, grad_input=dx)
    ),
    "tanh": _elementwise(
        lambda x, y: torch.tanh(x, out=y), lambda dy, x, y, dx: aten.tanh_backward.grad_input(dy, y, grad_input=dx)
    ),
    "gelu": _elementwise(
        lambda x, y: nn.gelu(x, out=y), lambda dy, x, y, dx: aten.gelu_backward.grad_input(dy, x, grad_input=dx)
    ),
    "elu": _elementwise(
        lambda x, y: nn.elu(x, out=y),
        lambda dy, x, y, dx: aten.elu_backward.grad_input(dy, 1.0, 1.0, 1.0, False, x, grad_input=dx),
    ),
    "softmax": _softmax,
    "cross_entropy": _cross_entropy,
    "Adam": _optimizer,
    "SGD": _optimizer,
}  # fmt: skip
