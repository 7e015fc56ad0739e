"""Steps that time each of their kernel calls: of an eager model by observing dispatch, of a plan by its executor."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, no_grad
from fastnn.kernels import Cost, Operator, isa
from fastnn.kernels.operator import find
from fastnn.plan import Plan, TimedCalls
from fastnn.training import train_step

from ..costs import call_cost
from ..timing import interleaved

CALLS = 100  # from which the price of observing one is taken
Key = tuple[int, str]  # the id of whoever made a call, and the phase


class Described(NamedTuple):
    """One kernel call of a step.

    Attributes
    ----------
    owner : object
        The module or optimiser that made it, or None.
    phase : str
        "forward", "backward" or "update".
    kernel : str
        Operator, backend and variant.
    cost : Cost
    memory : int
        Bytes of what it computes.
    """

    owner: object
    phase: str
    kernel: str
    cost: Cost
    memory: int

    @property
    def key(self) -> Key:
        """Whose row it belongs to."""
        return id(self.owner), self.phase


class Steps(Protocol):
    """What can be profiled."""

    kind: str  # "eager" or "plan"
    between: str  # what the time outside kernels goes to
    arena: int  # bytes planned for a step, 0 where nothing was

    def run(self) -> None:
        """One step, as a user would make it."""

    def run_timed(self) -> tuple[dict[Key, int], int]:
        """One step: the nanoseconds of each row's kernels, and of the whole, less what timing itself took."""

    def describe(self) -> list[Described]:
        """The calls of one step."""


def variant(operator: Operator, backend: str, arrays: Any, attributes: Any, outputs: Any) -> str:
    """What runs: operator, backend, level of instructions, and the algorithm where the family says which."""
    name = f"{backend} {isa.level()}" if backend == "cython" else backend
    chooser = getattr(operator.module(backend), "algorithm_of", None)
    algorithm = chooser(operator.name, tuple(arrays), tuple(attributes), tuple(outputs)) if chooser is not None else ""
    return f"{operator.name} ({algorithm}, {name})" if algorithm else f"{operator.name} ({name})"


class EagerSteps:
    """Steps of a model that runs its own Python."""

    kind, between, arena = "eager", "Python, between the kernels", 0

    def __init__(self, model: Any, loss: Any, optimizer: Any, x: np.ndarray, y: np.ndarray | None) -> None:
        self.model, self.loss, self.optimizer, self.x, self.y = model, loss, optimizer, x, y
        self._observing = _observing()

    def run(self) -> None:
        """One step of training, as far as loss and optimiser are there; else a prediction."""
        if self.y is None:
            with no_grad():
                self.model(Tensor(self.x))
        elif self.optimizer is None:
            for parameter in self.model.parameters():
                parameter.grad = None
            self.loss(self.model(Tensor(self.x)), Tensor(self.y)).backward()
        else:
            train_step(self.model, self.loss, self.optimizer, self.x, self.y)

    def run_timed(self) -> tuple[dict[Key, int], int]:
        """One step, observed."""
        found: dict[Key, int] = {}
        own = 0.0

        def note(call: dispatch.Call) -> None:
            nonlocal own
            start = perf_counter_ns()
            key = (id(self._owner(call)), call.phase)
            found[key] = found.get(key, 0) + call.nanoseconds
            own += perf_counter_ns() - start + self._observing

        with dispatch.observe(note):
            start = perf_counter_ns()
            self.run()
            total = perf_counter_ns() - start
        return found, total - round(own)

    def describe(self) -> list[Described]:
        """The calls of one step, observed."""
        found = []

        def note(call: dispatch.Call) -> None:
            arrays, attributes = call.operator.split(call.args)
            memory = sum(array.nbytes for array in call.outputs if array is not None)
            kernel = variant(call.operator, call.backend, arrays, attributes, call.outputs)
            found.append(Described(self._owner(call), call.phase, kernel, call_cost(call), memory))

        with dispatch.observe(note):
            self.run()
        return found

    def _owner(self, call: dispatch.Call) -> object:
        return self.optimizer if call.phase == "update" else call.owner


def _observing() -> float:
    """Nanoseconds by which a call that is observed takes longer than one that is not."""
    x, operator = np.ones(1, np.float32), find("identity")

    def observed() -> None:
        with dispatch.observe(lambda call: None):
            for _ in range(CALLS):
                dispatch.run(operator, (x,))

    def alone() -> None:
        for _ in range(CALLS):
            dispatch.run(operator, (x,))

    times = interleaved({"observed": observed, "alone": alone}, budget=0.02)
    return max(times["observed"].seconds - times["alone"].seconds, 0.0) / CALLS * 1e9


class PlanSteps:
    """Steps of a plan."""

    kind, between = "plan", "the batch in, the result out"

    def __init__(self, plan: Plan, x: np.ndarray, y: np.ndarray | None) -> None:
        self.plan, self.calls = plan, TimedCalls(plan, x, y)
        self.run = self.calls.run
        self.arena = self.calls.arena_bytes
        self._keys = [_shares([self._describe(node) for node in nodes]) for nodes in self.calls.nodes]

    def run_timed(self) -> tuple[dict[Key, int], int]:
        """One step, timed by the executor; what it computes as one is divided by the bytes that each call moves."""
        found: dict[Key, float] = {}
        with self.calls:
            start = perf_counter_ns()
            self.run()
            total = perf_counter_ns() - start
        for shares, nanoseconds in zip(self._keys, np.diff(self.calls.stamps).tolist(), strict=True):
            for key, share in shares.items():
                found[key] = found.get(key, 0) + share * nanoseconds
        return {key: round(nanoseconds) for key, nanoseconds in found.items()}, total

    def describe(self) -> list[Described]:
        """The calls of one step, from the graph."""
        return [self._describe(node) for nodes in self.calls.nodes for node in nodes]

    def _describe(self, node: Any) -> Described:
        owner = self.plan.optimizer if node.phase == "update" else node.owner
        kernel = variant(node.operator, dispatch.backend_for(node.operator), node.inputs, node.attributes, node.outputs)
        memory = sum(value.nbytes for value in node.outputs if value is not None)
        return Described(owner, node.phase, kernel, node.cost(), memory)


def _shares(calls: list[Described]) -> dict[Key, float]:
    """Which share of a piece's time goes to which row."""
    total = sum(call.cost.bytes for call in calls)
    found: dict[Key, float] = {}
    for call in calls:
        found[call.key] = found.get(call.key, 0) + (call.cost.bytes / total if total else 1 / len(calls))
    return found
