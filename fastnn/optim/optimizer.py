"""What all optimisers share: groups of parameters, state, and one kernel call for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, enable_grad, note_change
from fastnn.functional import checks
from fastnn.kernels import Operator
from fastnn.kernels.memory import aligned_copy

NUMBERS = {"step": int, "mu_product": float}  # state that is one number for a parameter; torch keeps it in a 0-d tensor


class State(dict[str, Any]):
    """What an optimiser keeps of one parameter. Plans, which write to its arrays, are told where others take their places."""

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(value, (int, float)):  # a count changes at every step
            note_change()
        super().__setitem__(name, value)

    def update(self, *others: Any, **values: Any) -> None:
        """Take over all items."""
        note_change()
        super().update(*others, **values)

    def pop(self, name: str, *default: Any) -> Any:
        """Forget one item."""
        note_change()
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """Forget the latest item."""
        note_change()
        return super().popitem()

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __ior__(self, other: Any) -> State:  # type: ignore[override, misc]
        self.update(other)
        return self

    def clear(self) -> None:
        """Start anew."""
        note_change()
        super().clear()


class Rule(NamedTuple):
    """One step of an optimiser for one parameter: ``operator(parameter, gradient, *state, *attributes)``, in place.

    Attributes
    ----------
    operator : Operator
    state : list of array or None
    attributes : tuple
    """

    operator: Operator
    state: list[np.ndarray | None]
    attributes: tuple[Any, ...]


class Optimizer:
    """Base class of optimisers, with the interface of ``torch.optim.Optimizer``.

    Parameters
    ----------
    params : iterable of Tensors, of (name, Tensor) pairs, or of dicts with "params" and options of their own
    defaults : dict
        The options of groups that do not give them.

    Attributes
    ----------
    param_groups : list of dict
        Each has "params" and the options, which may be edited between steps: ``optimizer.param_groups[0]["lr"] = 0.01``.
    state : dict
        Parameter -> its arrays and step count.

    Raises
    ------
    TypeError, ValueError
        Where ``params`` is empty or holds something else, or an option is wrong.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.check(defaults)
        items = _ordered("params", params)
        if not items:
            raise ValueError("params: expected at least one parameter, got an empty list")
        for group in items if isinstance(items[0], dict) else [{"params": items}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; what is not given takes the default."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"param_group: expected a dict with 'params', got {param_group!r}")
        given = param_group["params"]
        group = {**self.defaults, **param_group, "params": [given] if isinstance(given, Tensor) else _ordered("params", given)}
        _take_names(group)
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for index, parameter in enumerate(group["params"]):
            _check_parameter(f"params[{index}]", parameter)
            if id(parameter) in known:
                raise ValueError(f"params[{index}]: the parameter of shape {parameter.shape} is in more than one group or place")
            known.add(id(parameter))
        self.check(group)
        self.param_groups.append(group)
        note_change()

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
                    parameter.grad._touch()

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

    def rule(self, parameter: Tensor, group: dict[str, Any]) -> Rule:
        """The operator that makes this step for one parameter, with its state and attributes; defined by each optimiser.

        Each call counts as a step of that parameter.
        """
        raise TypeError(f"{type(self).__name__} defines neither rule() nor update()")

    def is_steady(self, group: dict[str, Any]) -> bool:
        """Whether, while the group's options stay, the attributes of a rule change from step to step in ``step`` alone."""
        return False

    def update(self, parameter: Tensor, gradient: np.ndarray, group: dict[str, Any]) -> None:
        """Change one parameter and its state in place."""
        rule = self.rule(parameter, group)
        memory = parameter.numpy()
        if not memory.flags.writeable:
            raise ValueError(f"params: the memory of a parameter of shape {parameter.shape} is read-only")
        dispatch.run(rule.operator, (memory, gradient, *rule.state, *rule.attributes), [memory, *rule.state])

    def memory(self, parameter: Tensor, *names: str, fill: float = 0.0) -> list[np.ndarray]:
        """The state arrays of a parameter, made at the first call and converted where the parameter was."""
        state = self.state.setdefault(parameter, State())
        for name in names:
            if name not in state:
                state[name] = aligned_copy(np.full(parameter.shape, fill, parameter.dtype))
            elif state[name].dtype != parameter.dtype:
                state[name] = state[name].astype(parameter.dtype)
        return [state[name] for name in names]

    def count(self, parameter: Tensor) -> int:
        """The number of this step for a parameter, starting at 1."""
        state = self.state.setdefault(parameter, State())
        state["step"] = state.get("step", 0) + 1
        return state["step"]

    def state_dict(self) -> dict[str, Any]:
        """Copies of the state and options in torch's structure: parameters are numbered in order."""
        numbers = {id(p): i for i, p in enumerate(self._parameters())}
        return {
            "state": {
                numbers[id(p)]: {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in state.items()}
                for p, state in self.state.items()
            },
            "param_groups": [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state and options that ``state_dict`` gave, here or in torch; all is checked before anything is changed.

        Raises
        ------
        ValueError, TypeError
            Where the groups are of other sizes, or a state is of another shape than its parameter.
        """
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(f"state_dict: expected a dict with 'state' and 'param_groups', got {state_dict!r}")
        saved, own = ([len(g["params"]) for g in groups] for groups in (state_dict["param_groups"], self.param_groups))
        if saved != own:
            raise ValueError(f"state_dict: expected groups of {own} parameters, got {saved}")
        numbers = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        parameters = dict(zip(numbers, self._parameters(), strict=True))
        state: dict[Tensor, dict[str, Any]] = {}
        for number, values in state_dict["state"].items():
            if number not in parameters:
                raise ValueError(f"state_dict: no group has parameter {number!r}, of which there is a state")
            parameter, label = parameters[number], f"state_dict['state'][{number}]"
            state[parameter] = State({k: _restore(label, k, v, parameter) for k, v in values.items() if v is not None})
        merged = [
            {**group, **new, "params": group["params"]}
            for group, new in zip(self.param_groups, state_dict["param_groups"], strict=True)
        ]
        for group in merged:
            self.check(group)
        for group, new in zip(self.param_groups, merged, strict=True):
            group.update(new)
        self.state = state

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def __repr__(self) -> str:
        groups = "; ".join(
            ", ".join(f"{key}={value}" for key, value in group.items() if key != "params") for group in self.param_groups
        )
        return f"{type(self).__name__}({groups})"


def _ordered(name: str, values: Any) -> list[Any]:
    """A list of what comes in a fixed order."""
    if isinstance(values, (Tensor, str, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a list or another ordered iterable of Tensors, got {type(values).__name__}")
    return list(values)


def _take_names(group: dict[str, Any]) -> None:
    """Part (name, Tensor) pairs, as ``named_parameters()`` gives them, into "params" and "param_names"."""
    pairs = [item for item in group["params"] if isinstance(item, tuple) and len(item) == 2]
    if not pairs:
        return
    if len(pairs) != len(group["params"]):
        raise ValueError(f"params: expected a name for each parameter or for none, got {len(pairs)} for {len(group['params'])}")
    group["param_names"], group["params"] = [name for name, _ in pairs], [parameter for _, parameter in pairs]


def _check_parameter(name: str, parameter: Any) -> None:
    if not isinstance(parameter, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(parameter).__name__}")
    if parameter.dtype not in checks.FLOATS:
        raise TypeError(f"{name}: expected dtype float32 or float64, got {parameter.dtype}")
    if not parameter.is_leaf:
        raise ValueError(f"{name}: a Tensor that was computed cannot be optimised")


def _restore(label: str, key: str, value: Any, parameter: Tensor) -> Any:
    """A state as this package keeps it: a Python number, or an array like the parameter."""
    label = f"{label}[{key!r}]"
    if key in NUMBERS:
        return NUMBERS[key](checks.real(label, value))
    if isinstance(value, (int, float)):
        return value
    array = checks.to_numpy(label, value)
    checks.check_shape(label, array, parameter.shape)
    return np.array(array, parameter.dtype, order="C")


def check_rates(group: dict[str, Any], *names: str) -> None:
    """Raise where one of the named options is no number, or below zero."""
    for name in names:
        checks.real(name, group[name], 0.0)


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
