"""The optimiser's part of a plan: one call for each parameter, with the attributes of this step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn.autograd import Tensor
from fastnn.optim import Optimizer

from .graph import Graph, Node, Value
from .program import Program


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
        self._options: list[Any] = []
        self._fresh = True

    def is_current(self) -> bool:
        """Whether the optimiser still has the state and the parameters that the calls were made for."""
        return (
            self.optimizer.state is self.state
            and self._parameters() == self._trained
            and self._kinds_of_options() == self._kinds
            and all(self.state.get(parameter) is known for parameter, known in self._states)
        )

    def _parameters(self) -> list[tuple[int, int]]:
        """Which parameter stands in which group."""
        return [(id(group), id(p)) for group in self.optimizer.param_groups for p in group["params"]]

    def _kinds_of_options(self) -> list[bool]:
        """Which options are zero or off: a momentum that is turned on wants other state."""
        return [bool(v) for group in self.optimizer.param_groups for key, v in group.items() if key != "params"]

    def next_step(self, program: Program) -> None:
        """Put the attributes of the next step into the calls."""
        if self._fresh:  # made for this very step
            self._fresh = False
            return
        options = self._current_options()
        if options == self._options and self._is_steady():
            for parameter, _, node in self.members:
                if "step" in self.state.get(parameter, ()):
                    self._set(program, node, "step", self.optimizer.count(parameter))
            return
        for parameter, group, node in self.members:
            attributes = self.optimizer.rule(parameter, group).attributes
            for index, value in enumerate(attributes):
                if value is not node.attributes[index]:
                    program.set_attribute(node, index, value)
        self._options = options

    def growing(self, program: Program) -> list[tuple[int, int]] | None:
        """Where the calls' step counts stand, if nothing else changes from step to step; None where more does."""
        if self._fresh or self._current_options() != self._options or not self._is_steady():
            return None
        found = []
        for _, _, node in self.members:
            if "step" in node.operator.attributes:
                call, first = program.places[id(node)]
                found.append((call, first + node.operator.attributes.index("step")))
        return found

    def shortcut(self, program: Program) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        """The options that a step depends on, and the counts that grow with it; None where a step changes more."""
        if self._fresh or self._current_options() != self._options or not self._is_steady():
            return None
        groups = self.optimizer.param_groups
        copied = [(group, key, list(v) if isinstance(v, list) else v) for group in groups for key, v in group.items()]
        options = tuple([item for item in copied if item[1] != "params"])
        steps = []
        for parameter, _, node in self.members:
            if "step" in self.state.get(parameter, ()):
                call, first = program.places[id(node)]
                at = node.operator.attributes.index("step") if "step" in node.operator.attributes else -1
                steps.append((call if at >= 0 else -1, first + at, self.state[parameter]))
        return options, tuple(steps)

    def count(self, program: Program, steps: int) -> None:
        """Note that many steps were made whose counts grew by themselves."""
        for parameter, _, node in self.members:
            state = self.state.get(parameter, {})
            if "step" in state:
                state["step"] += steps
                self._set(program, node, "step", state["step"])

    def _set(self, program: Program, node: Node, name: str, value: Any) -> None:
        if name in node.operator.attributes:
            program.set_attribute(node, node.operator.attributes.index(name), value)

    def _current_options(self) -> list[Any]:
        groups = self.optimizer.param_groups
        return [[list(v) if isinstance(v, list) else v for key, v in group.items() if key != "params"] for group in groups]

    def _is_steady(self) -> bool:
        return all(self.optimizer.is_steady(group) for group in self.optimizer.param_groups)
