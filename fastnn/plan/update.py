"""The optimiser's part of a plan: one call for each parameter, with the attributes of this step."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np

from fastnn.autograd import Tensor
from fastnn.optim import Optimizer

from .graph import Graph, Node, Value
from .program import Program

UNCHANGING = (int, float, bool, type(None))  # types of options that are other ones where they are other objects


class Update:
    """The update calls of one program.

    Making one takes the optimiser's step for every parameter that has a gradient: the program's first run belongs to it.

    Parameters
    ----------
    graph : Graph
        The calls are appended to it.
    optimizer : Optimizer
    parameters : sequence of Value
        Bound to the parameters.
    gradients : sequence of Value
    """

    def __init__(self, graph: Graph, optimizer: Optimizer, parameters: Sequence[Value], gradients: Sequence[Value]) -> None:
        self.optimizer = optimizer
        self.state = optimizer.state
        groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
        self.members: list[tuple[Tensor, dict[str, Any], Node]] = []
        self._trained, self._kinds = self._parameters(), self._kinds_of_options()
        self._updated: list[Tensor] = [value.source for value in parameters]
        self._before: list[dict[str, Any]] | None = self._numbers()
        for value, gradient in zip(parameters, gradients, strict=True):
            parameter: Tensor = value.source
            if not parameter.numpy().flags.writeable:
                raise ValueError(f"optimizer: the memory of a parameter of shape {parameter.shape} is read-only")
            rule = optimizer.rule(parameter, groups[id(parameter)])
            states = [None if s is None else Value(s.shape, s.dtype, s, name="state") for s in rule.state]
            graph.add(
                rule.operator, [value, gradient, *states], rule.attributes, out=[parameter.numpy(), *rule.state], phase="update",
                wanted=[True, *(s is not None for s in states)],
            )  # fmt: skip
            self.members.append((parameter, groups[id(parameter)], graph.nodes[-1]))
        self._states = [(parameter, optimizer.state.get(parameter)) for parameter, *_ in self.members]
        self.arrays = [
            (state, name, value)
            for _, state in self._states
            if state is not None
            for name, value in state.items()
            if isinstance(value, np.ndarray)
        ]
        self._options: list[dict[str, Any]] = []
        self._counts: list[tuple[dict[str, Any], Node, int | None]] = [
            (state, node, node.operator.attributes.index("step") if "step" in node.operator.attributes else None)
            for (_, _, node), (_, state) in zip(self.members, self._states, strict=True)
            if state is not None and "step" in state
        ]
        self._fresh = True

    def is_current(self) -> bool:
        """Whether the optimiser still has the state and the parameters that the calls were made for."""
        return (
            self.optimizer.state is self.state
            and self._parameters() == self._trained
            and self._kinds_of_options() == self._kinds
            and all(self.state.get(parameter) is known for parameter, known in self._states)
            and all(state.get(name) is value for state, name, value in self.arrays)
            and all("step" in state for state, *_ in self._counts)
        )

    def _parameters(self) -> list[tuple[int, int]]:
        """Which parameter stands in which group."""
        return [(id(group), id(p)) for group in self.optimizer.param_groups for p in group["params"]]

    def _kinds_of_options(self) -> list[bool]:
        """Which options are zero or off: a momentum that is turned on wants other state."""
        return [bool(v) for group in self.optimizer.param_groups for key, v in group.items() if key != "params"]

    def next_step(self, program: Program) -> bool:
        """Put the attributes of the next step into the calls; whether another one is likely to be like it but for its count."""
        likely = self._is_settled() or (not self._options and not self._fresh)
        if self._fresh:  # made for this very step
            self._fresh = False
        elif self._is_settled():
            self._before = None
            self.count(program, 1)
        else:
            self._before = self._numbers()
            for parameter, group, node in self.members:
                attributes = self.optimizer.rule(parameter, group).attributes
                for index, (name, value) in enumerate(zip(node.operator.attributes, attributes, strict=True)):
                    # Of counts the node may have an old one: compiled code counts in the call.
                    if name == "step" or value is not node.attributes[index] or type(value) not in UNCHANGING:
                        program.set_attribute(node, index, value)
            self._options = self._current_options()
        return likely

    def growing(self, program: Program) -> list[tuple[int, int]] | None:
        """Where the calls' step counts stand, if nothing else changes from step to step; None where more does."""
        if not self._is_settled():
            return None
        return [program.place(node, index) for _, node, index in self._counts if index is not None]

    def shortcut(self, program: Program) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        """The options that a step depends on, and the counts that grow with it; None where a step changes more."""
        if not self._is_settled():
            return None
        options = [
            (group, key, value)
            for group, known in zip(self.optimizer.param_groups, self._options, strict=True)
            for key, value in known.items()
            if key != "params"
        ]
        steps = [(*((-1, -1) if index is None else program.place(node, index)), state) for state, node, index in self._counts]
        return tuple(options), tuple(steps)

    def count(self, program: Program, steps: int) -> None:
        """Note that many steps whose counts grow by themselves."""
        for state, node, index in self._counts:
            state["step"] += steps
            if index is not None:
                program.set_attribute(node, index, state["step"])

    def undo(self, program: Program) -> None:
        """Forget the step that was begun: one that fails is none."""
        if self._before is None:
            self.count(program, -1)
            return
        for (_, state), numbers in zip(self._states, self._before, strict=True):
            if state is not None:
                for name in [name for name, value in state.items() if isinstance(value, UNCHANGING)]:
                    if name in numbers:
                        state[name] = numbers[name]
                    else:
                        del state[name]
        self.count(program, 0)

    def _numbers(self) -> list[dict[str, Any]]:
        """The numbers in the state of each parameter, as they are before a step."""
        states = [self.state.get(parameter, {}) for parameter in self._updated]
        return [{"step": 0} | {name: value for name, value in state.items() if isinstance(value, UNCHANGING)} for state in states]

    def _is_settled(self) -> bool:
        """Whether the next step differs from the last one in nothing but its count."""
        groups = self.optimizer.param_groups
        return (
            not self._fresh
            and [{**group, "params": None} for group in groups] == self._options
            and all(map(self.optimizer.is_steady, groups))
        )

    def _current_options(self) -> list[dict[str, Any]]:
        """The options of each group, as they are now."""
        return [
            {key: deepcopy(v) if isinstance(v, Tensor) else copy(v) for key, v in group.items() if key != "params"}
            | {"params": None}
            for group in self.optimizer.param_groups
        ]
