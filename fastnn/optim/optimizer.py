"""What all optimisers share: groups of parameters, state, and one kernel call for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, enable_grad
from fastnn.functional import checks
from fastnn.kernels import Operator


class Optimizer:
    """Base class of optimisers, with the interface of ``torch.optim.Optimizer``.

    Attributes
    ----------
    param_groups : list of dict
        Each has "params" and the options, which may be edited between steps: ``optimizer.param_groups[0]["lr"] = 0.01``.
    state : dict
        Parameter -> its arrays and step count.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, (Tensor, str, dict)) or not isinstance(params, Iterable):
            raise TypeError(f"params: expected an iterable of Tensors or of group dicts, got {type(params).__name__}")
        items = list(params)
        if not items:
            raise ValueError("params: expected at least one parameter, got an empty list")
        for group in items if isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; what is not given takes the default."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"param_group: expected a dict with 'params', got {param_group!r}")
        params = param_group["params"]
        group = {**self.defaults, **param_group, "params": [params] if isinstance(params, Tensor) else list(params)}
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for index, parameter in enumerate(group["params"]):
            if not isinstance(parameter, Tensor):
                raise TypeError(f"params[{index}]: expected a Tensor, got {type(parameter).__name__}")
            if not parameter.is_leaf:
                raise ValueError(f"params[{index}]: a Tensor that was computed cannot be optimised")
            if id(parameter) in known:
                raise ValueError(f"params[{index}]: the parameter of shape {parameter.shape} is in more than one group or place")
            known.add(id(parameter))
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: dict[str, Any]) -> None:
        """Raise TypeError or ValueError, naming the option, where the group's options are wrong."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.numpy().fill(0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first, to compute the loss and its gradients again; its value is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with dispatch.scope(None, "update"):
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.update(parameter, parameter.grad.numpy(), group)
                        parameter._touch()
        return loss

    def update(self, parameter: Tensor, gradient: np.ndarray, group: dict[str, Any]) -> None:
        """Change one parameter and its state in place; defined by each optimiser."""
        raise TypeError(f"{type(self).__name__} does not define update()")

    def memory(self, parameter: Tensor, *names: str, fill: float = 0.0) -> list[np.ndarray]:
        """The state arrays of a parameter, made at the first call."""
        state = self.state.setdefault(parameter, {})
        for name in names:
            if name not in state:
                state[name] = np.full(parameter.shape, fill, parameter.dtype)
        return [state[name] for name in names]

    def count(self, parameter: Tensor) -> int:
        """The number of this step for a parameter, starting at 1."""
        state = self.state.setdefault(parameter, {})
        state["step"] = state.get("step", 0) + 1
        return state["step"]

    def state_dict(self) -> dict[str, Any]:
        """Copies of the state and options in torch's structure: parameters are numbered in order."""
        numbers = {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {numbers[id(p)]: {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in state.items()} for p, state in self.state.items()},
            "param_groups": [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and options that ``state_dict`` gave; everything is checked before anything is changed."""
        groups, states = state_dict["param_groups"], state_dict["state"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError(
                f"state_dict: expected groups of {[len(g['params']) for g in self.param_groups]} parameters, got {[len(g['params']) for g in groups]}"
            )
        parameters = [p for group in self.param_groups for p in group["params"]]
        loaded: dict[Tensor, dict[str, Any]] = {}
        for number, state in states.items():
            parameter = parameters[number]
            loaded[parameter] = {}
            for name, value in state.items():
                if isinstance(value, (int, float)):
                    loaded[parameter][name] = value
                    continue
                array = np.array(checks.to_numpy(f"state[{number}][{name!r}]", value))
                if array.shape != parameter.shape:
                    loaded[parameter][name] = array.item()  # torch keeps the step count as a tensor
                else:
                    loaded[parameter][name] = array.astype(parameter.dtype)
        for group, new in zip(self.param_groups, groups, strict=True):
            group.update({key: value for key, value in new.items() if key != "params"})
        self.state = loaded

    def __repr__(self) -> str:
        groups = "; ".join(
            ", ".join(f"{key}={value}" for key, value in group.items() if key != "params") for group in self.param_groups
        )
        return f"{type(self).__name__}({groups})"


def run_update(operator: Operator, arrays: list[np.ndarray | None], gradient: np.ndarray, *attributes: Any) -> None:
    """One update in place: ``arrays`` are the parameter and its state, inputs and outputs at once."""
    dispatch.run(operator, (arrays[0], gradient, *arrays[1:], *attributes), arrays)


def check_rates(group: dict[str, Any], **bounds: tuple[float, float]) -> None:
    """Raise where one of the named options is no number within its bounds."""
    for name, (low, high) in bounds.items():
        checks.real(name, group[name], low, high)


def check_betas(name: str, value: Any) -> None:
    """Raise unless ``value`` is a pair of numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{name}: expected a pair of numbers in [0, 1), got {value!r}")
    for item in value:
        if not 0 <= checks.number(name, item) < 1:
            raise ValueError(f"{name}: expected a pair of numbers in [0, 1), got {value!r}")


def refuse(**options: Any) -> None:
    """Options of torch that choose an implementation: only their defaults make sense here."""
    for name, value in options.items():
        if value:
            raise ValueError(f"{name}: fastnn has one implementation, expected None or False, got {value!r}")
