"""What a plan keeps for one kind of call and one shape of its arguments: a program, and what it was made for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import nn
from fastnn.autograd import Tensor, enable_grad, generation, no_grad
from fastnn.nn.mode import mode_kept
from fastnn.optim import Optimizer
from fastnn.random import seeding

from .clipping import add_clipping
from .gradients import add_backward
from .graph import Graph, Value
from .passes import improve
from .program import Program
from .trace import trace
from .update import Update

if TYPE_CHECKING:
    from .plan import Plan

Inputs = Sequence[tuple[str, Sequence[int], Any]]  # name, shape and dtype of each


class Compiled:
    """A program, and what tells whether it is still the right one.

    Attributes
    ----------
    program : Program
    gradients : dict of str to array
        Where the program leaves the gradients that it does not use itself.
    update : Update or None
        The optimiser's calls, where the program makes them.
    written : list of array
        The model's and optimiser's memory that the program writes to.
    traced : Graph
        The graph before its passes.
    notes : list of str
        One line for each pass.
    """

    def __init__(
        self, model: nn.Module, graph: Graph, gradients: dict[str, Value] | None = None, update: Update | None = None
    ) -> None:
        self._model, self._members = model, _members(model)
        for module in model.modules():
            vars(module)["_planned"] = True  # from now on a change of its attributes is told
        self._seeding = seeding["number"]
        self._generation, self._settings = generation["number"], generation["settings"]
        self.traced = graph.copy()
        self.notes = improve(graph)
        self.program = Program(graph)
        self.notes.append(self.program.layout.explain())
        outputs = [value for node in graph.nodes for value in node.outputs if value is not None and value.is_bound]
        self.written = [value.memory() for value in outputs]
        self.gradients = {name: self.program.array(value) for name, value in (gradients or {}).items()}
        self.update = update
        self._has_run = False

    def is_current(self) -> bool:
        """Whether model, Tensors and optimiser are still those that the program was made for."""
        if generation["number"] != self._generation:
            members = _members(self._model)
            same = len(members) == len(self._members) and all(a is b for a, b in zip(members, self._members, strict=True))
            if generation["settings"] != self._settings or not same:
                return False
            self._generation = generation["number"]
        if self.is_random and seeding["number"] != self._seeding:
            return False
        return self.program.is_current() and (self.update is None or self.update.is_current())

    @property
    def is_random(self) -> bool:
        """Whether each step draws anew."""
        return bool(self.program.graph.counters)

    @property
    def checks_rows(self) -> bool:
        """Whether every check of classes is one of single elements: so that all rows of an epoch can be checked at once."""
        return all(check.is_whole for check in self.program.graph.class_checks)

    def check(self, name: str, number: int, array: np.ndarray) -> None:
        """Raise ValueError where elements given for an input are to be classes and are not."""
        for check in self.program.graph.class_checks:
            if check.source is self.program.graph.inputs[number]:
                check(name, array)

    def check_bound(self) -> None:
        """Likewise for Tensors and arrays that the loss itself has."""
        for check in self.program.graph.class_checks:
            if check.source.is_bound:
                check("target", check.source.memory())

    def take(self, *arrays: np.ndarray) -> None:
        """Check and copy what a step is given."""
        self.check_bound()
        for number, (value, array) in enumerate(zip(self.program.graph.inputs, arrays, strict=True)):
            self.check(value.name, number, array)
        arena = self.program.arena  # where one input goes, another one may lie: an earlier prediction
        kept = [array.copy() if np.may_share_memory(array, arena) else array for array in arrays]
        for memory, array in zip(self.program.inputs, kept, strict=True):
            np.copyto(memory, array)

    def check_written(self) -> None:
        """Raise ValueError where a step would write to read-only memory."""
        for array in self.written:
            if not array.flags.writeable:
                raise ValueError(
                    f"model: a step writes to parameters and running statistics; one of shape {array.shape} is read-only"
                )

    def run_batches(self, X: np.ndarray, Y: np.ndarray, rows: np.ndarray, growing: list[tuple[int, int]]) -> float:
        """Run once for each batch of rows, with the optimiser's step counts growing; the sum of the losses."""
        assert self.update is not None
        self.check_bound()
        self.check_written()
        self.update.count(self.program, 0)  # another program may have made the last steps
        sources, done = list(zip((X, Y), self.program.inputs, strict=True)), np.zeros(1, np.int64)
        try:
            return self.program.executor.epoch(sources, np.ascontiguousarray(rows), self.program.outputs[0], growing, done)
        finally:  # Ctrl-C comes between two batches
            self.update.count(self.program, int(done[0]))

    def run(self) -> bool:
        """Run the program on what it took, with the attributes that the optimiser has for this step.

        Returns whether the next run is likely to be like this one.
        """
        self.check_written()
        likely = self._has_run if self.update is None else self.update.next_step(self.program)
        try:
            self.program.run()
        except BaseException:
            if self.update is not None:
                self.update.undo(self.program)
            raise
        self._has_run = True
        return likely


def compile_call(plan: Plan, kind: str, inputs: Inputs) -> Compiled:
    """What a plan needs for one kind of call: "step", "gradients", "predict" or "pullback"."""
    if kind == "predict":
        return compile_prediction(plan.model, inputs)
    if kind == "pullback":
        return compile_pullback(plan.model, inputs)
    assert plan.loss is not None
    if kind == "gradients":
        named: dict[str, Tensor] = {name: p for name, p in plan.model.named_parameters() if p.requires_grad}
        return compile_training(plan.model, plan.loss, inputs, named)
    limits = plan.clip_grad_norm, plan.clip_grad_value
    return compile_training(plan.model, plan.loss, inputs, plan.trained(), plan.optimizer, *limits)


def compile_prediction(model: nn.Module, inputs: Inputs) -> Compiled:
    """The model in evaluation mode."""
    with mode_kept(model, training=False), no_grad():
        graph, results = trace(model, inputs)
    if len(results) > 1:
        raise TypeError(f"model: expected one Tensor as its output, got {len(results)}")
    return Compiled(model, graph)


def compile_pullback(model: nn.Module, inputs: Inputs) -> Compiled:
    """The model in evaluation mode, with the gradients of its input and parameters: the program's second input flows into its result."""
    with mode_kept(model, training=False), enable_grad():
        graph, (y,) = trace(model, inputs, differentiable=True)
    wanted = {value.name: value for value in graph.inputs if value.requires_grad}
    bound = {id(value.source): value for value in graph.bound()}
    wanted |= {name: bound[id(p)] for name, p in model.named_parameters() if id(p) in bound and p.requires_grad}
    dy = Value(y.shape, y.dtype, name="dy")
    graph.inputs.append(dy)
    found = dict(zip(wanted, add_backward(graph, y, list(wanted.values()), dy), strict=True))
    gradients = {name: gradient for name, gradient in found.items() if gradient is not None}
    graph.outputs = list(gradients.values())
    return Compiled(model, graph, gradients)


def compile_training(
    model: nn.Module,
    loss: Callable[..., Any],
    inputs: Inputs,
    trained: dict[str, Tensor],
    optimizer: Any = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> Compiled:
    """Loss and prediction, the gradients of what is trained, and the optimiser's update where it has calls for it.

    Parameters
    ----------
    trained : dict of str to Tensor
    optimizer : Optimizer, optional
        Without one the gradients are left in ``Compiled.gradients``.
    clip_norm, clip_value : float, optional
        Limits of the gradients.
    """

    def loss_and_prediction(x: Any, y: Any) -> tuple[Any, Any]:
        prediction = model(x)
        return loss(prediction, y), prediction

    with mode_kept(model, training=True), enable_grad():
        graph, (value, _) = trace(loss_and_prediction, inputs)
    bound = {id(value.source): value for value in graph.bound()}
    wanted = {name: bound[id(tensor)] for name, tensor in trained.items() if id(tensor) in bound}
    if optimizer is not None and trained and not wanted:
        raise ValueError("optimizer: none of its parameters takes part in the loss; is it the optimiser of another model?")
    found = dict(zip(wanted, add_backward(graph, value, list(wanted.values())), strict=True))
    gradients = {name: gradient for name, gradient in found.items() if gradient is not None}
    gradients = dict(zip(gradients, add_clipping(graph, list(gradients.values()), clip_norm, clip_value), strict=True))
    if optimizer is not None and type(optimizer).update is Optimizer.update:
        update = Update(graph, optimizer, [wanted[name] for name in gradients], list(gradients.values()))
        return Compiled(model, graph, update=update)
    graph.outputs = [*graph.outputs, *gradients.values()]
    return Compiled(model, graph, gradients)


def weight_of(loss: Any, rows: int) -> int:
    """What the loss of a batch counts in the sum over all rows: its rows, or once where it is a sum itself."""
    return 1 if getattr(loss, "reduction", None) == "sum" else rows


def _members(model: nn.Module) -> list[Any]:
    """Everything that a model is made of."""
    return [*model.modules(), *model.parameters(), *model.buffers()]
