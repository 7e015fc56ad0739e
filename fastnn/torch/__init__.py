"""fastnn networks as blocks of a PyTorch program: :func:`as_function`. Needs torch on the CPU.

Memory is shared in both directions: no array is copied on the way in or out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastnn import Tensor, enable_grad, nn, no_grad
from fastnn.autograd import grad
from fastnn.functional import checks
from fastnn.plan import Plan

__all__ = ["Block", "as_function"]


def as_function(model: nn.Module | Plan) -> Block:
    """A torch module that computes with a fastnn model or plan, forward and backward.

    Parameters
    ----------
    model : fastnn.nn.Module or plan of fastnn.compile
        It returns one Tensor. Its parameters become torch parameters of the same names over the same memory, so that either a torch
        or a fastnn optimiser trains them. A plan takes one input, computes in evaluation mode, and computes the forward pass a second
        time on the way back (``plan.vjp``).

    Returns
    -------
    Block
        Call it with torch tensors; it is differentiable once, with respect to its inputs and its parameters.

    Raises
    ------
    TypeError
        Where ``model`` is no fastnn module or plan, or an argument of the call no dense tensor on the CPU.
    ValueError
        In a call, where model and block no longer share memory: ``load_state_dict(assign=True)``, a parameter that was replaced.

    Examples
    --------
    >>> import torch, fastnn.torch
    >>> from fastnn import nn
    >>> block = fastnn.torch.as_function(nn.Linear(3, 2))
    >>> network = torch.nn.Sequential(block, torch.nn.Softmax(dim=1))
    >>> network(torch.ones(4, 3)).sum().backward()
    >>> [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    ['0.weight', '0.bias']
    """
    if isinstance(model, Plan):
        return Block(model.model, model)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a fastnn Module or plan, got {type(model).__name__}")
    return Block(model)


class Block(torch.nn.Module):
    """A fastnn model in torch's clothes; made by :func:`as_function`.

    Attributes
    ----------
    model : fastnn.nn.Module
        Its mode (training or evaluation) follows the block's.
    """

    def __init__(self, model: nn.Module, plan: Plan | None = None) -> None:
        super().__init__()
        self.__dict__.update(model=model, plan=plan)  # not among torch's modules
        _mirror(model, self, {})
        self.__dict__["_places"] = self._memory()
        self.train(model.training)

    def _memory(self) -> list[tuple[str, int, int]]:
        """Where the model and the block have each parameter and buffer; the block keeps the array alive, so its id tells."""
        mirrored = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        own = (*self.model.named_parameters(), *self.model.named_buffers())
        return [(name, id(tensor.numpy()), mirrored[name].data_ptr()) for name, tensor in own]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """What the model computes of dense tensors on the CPU, as a tensor over the model's result."""
        if self._memory() != self._places:
            raise ValueError("the block and its model no longer share memory, since one was given other arrays; make a new block")
        for index, value in enumerate(inputs):
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"inputs[{index}]: expected a torch Tensor, got {type(value).__name__}")
            if value.device.type != "cpu" or value.layout != torch.strided:
                raise TypeError(
                    f"inputs[{index}]: expected a dense tensor on the CPU, got one of {value.layout} on {value.device}"
                )
        own, mirrored = dict(self.model.named_parameters()), dict(self.named_parameters())
        tensors = (*inputs, *[mirrored[name] for name in own])
        if self.plan is None:
            return _ModelCall.apply(self.model, list(own.values()), len(inputs), *tensors)
        if len(inputs) != 1:
            raise TypeError(f"inputs: expected one tensor, since a plan takes one, got {len(inputs)}")
        return _PlanCall.apply(self.plan, list(own), *tensors)

    def train(self, mode: bool = True) -> Block:
        """Put the block and its model into training or evaluation mode."""
        super().train(mode)
        self.model.train(mode)
        return self

    def __reduce__(self) -> Any:  # a copy mirrors a copy of the model
        frozen = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        return _copied, (self.model if self.plan is None else self.plan, frozen)

    def _apply(self, *args: Any, **options: Any) -> Any:
        raise TypeError("the block shares its model's memory; convert the fastnn model (model.double()) and make a new block")


def _copied(model: nn.Module | Plan, frozen: Sequence[str]) -> Block:
    """A block of which torch does not train the ``frozen`` parameters."""
    block = as_function(model)
    for name, parameter in block.named_parameters():
        parameter.requires_grad = name not in frozen
    return block


def _mirror(model: nn.Module, target: torch.nn.Module, known: dict[int, torch.nn.Parameter]) -> None:
    """Give a torch module the parameters, buffers and children of a fastnn module, over the same memory."""
    for name, parameter in model.named_parameters(recurse=False):
        if id(parameter) not in known:
            shared = torch.from_numpy(parameter.numpy())
            known[id(parameter)] = torch.nn.Parameter(shared, requires_grad=parameter.requires_grad)
        target.register_parameter(name, known[id(parameter)])
    for name, buffer in model.named_buffers(recurse=False):
        target.register_buffer(name, torch.from_numpy(buffer.numpy()))
    for name, child in model.named_children():
        mirrored = torch.nn.Module()
        _mirror(child, mirrored, known)
        target.add_module(name, mirrored)


class _ModelCall(torch.autograd.Function):
    """One call of a model; torch's arguments after the first three are the inputs and the parameters."""

    @staticmethod
    def forward(ctx: Any, model: nn.Module, parameters: Sequence[Tensor], count: int, *tensors: torch.Tensor) -> torch.Tensor:
        wanted = ctx.needs_input_grad[3:]
        inputs = [
            Tensor(checks.to_numpy(f"inputs[{index}]", tensor.detach()), requires_grad=needed)
            for index, (tensor, needed) in enumerate(zip(tensors[:count], wanted, strict=False))
        ]
        with enable_grad() if any(wanted) else no_grad():
            result = model(*inputs)
        if not isinstance(result, Tensor):
            raise TypeError(f"model: expected one Tensor as its output, got {type(result).__name__}")
        ctx.save_for_backward(*tensors)  # torch notices by them what was changed in place before the backward pass
        ctx.result, ctx.leaves = result, [*inputs, *parameters]
        return _tensor(result.numpy())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        wanted = ctx.needs_input_grad[3:]
        ctx.saved_tensors  # noqa: B018  raises where one was changed since
        leaves = [leaf for leaf, needed in zip(ctx.leaves, wanted, strict=True) if needed]
        found = iter(grad(ctx.result, leaves, dy.numpy(), retain_graph=True))
        gradients = [next(found) if needed else None for needed in wanted]
        return None, None, None, *[None if gradient is None else _tensor(gradient.numpy()) for gradient in gradients]


class _PlanCall(torch.autograd.Function):
    """One call of a plan; torch's arguments after the names of the parameters are the input and the parameters."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, names: Sequence[str], x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        y, ctx.pullback = plan.vjp(x.detach())
        ctx.names = names
        ctx.save_for_backward(x, *parameters)
        return torch.from_numpy(y)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: torch.Tensor) -> Any:
        ctx.saved_tensors  # noqa: B018  raises where one was changed since
        dx, gradients = ctx.pullback(dy)
        found = [dx, *[gradients.get(name) for name in ctx.names]]
        wanted = ctx.needs_input_grad[2:]
        return (
            None,
            None,
            *[
                torch.from_numpy(gradient) if needed and gradient is not None else None
                for gradient, needed in zip(found, wanted, strict=True)
            ],
        )


def _tensor(array: np.ndarray) -> torch.Tensor:
    """A torch tensor over the same memory; a copy of what torch cannot hold (reversed or read-only views)."""
    return torch.from_numpy(array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy())
