"""How the cost of a training step grows with one property of a network, measured beside the theory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from typing import Any

import numpy as np

from fastnn import dispatch, nn, optim
from fastnn.autograd import Tensor, no_grad
from fastnn.functional import checks
from fastnn.kernels import BACKENDS
from fastnn.plan.stages import stages as plan_stages
from fastnn.threads import get_num_threads, set_num_threads
from fastnn.training import compile, train_step

from . import peers as libraries
from .costs import call_cost
from .problems.networks import RATES, Network, Problem, layers_of
from .scaling_result import PHASES, Curve, Scaling
from .timing import Race, pinned

Stages = Sequence[Callable[[], Any]]  # forward to the loss, which it returns, backward, update

OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda parameters: optim.SGD(parameters, RATES["sgd"]),
    "momentum": lambda parameters: optim.SGD(parameters, RATES["momentum"], momentum=0.9),
    "adam": lambda parameters: optim.Adam(parameters, RATES["adam"]),
}
_CHECKED = 2  # steps whose losses must agree; the second one tells of the first one's gradients and update
_TOLERANCE = 1e-3
_TWO_PRODUCTS = ("linear_backward", "matmul_backward", "conv2d_backward")  # one for each of the two that were multiplied


def scaling(
    make_model: Callable[[Any], nn.Module],
    parameter: str,
    values: Sequence[int],
    *,
    input_shape: tuple[int, ...] | Callable[[Any], tuple[int, ...]] | None = None,
    batch_size: int | Callable[[Any], int] | None = None,
    optimizer: str = "sgd",
    backends: Sequence[str] | None = None,
    eager: bool = False,
    peers: Sequence[str] = (),
    threads: int | None = None,
    budget: float = 1.0,
    progress: Callable[[str], None] | None = None,
) -> Scaling:
    """Measure forward, backward and update of a training step for several values of one property of a network.

    The step is that of a plan (:func:`fastnn.compile`) on random data, with the mean squared error as its loss; forward has the loss
    in it. All contestants are timed in turn for each value, going up and then down again, so that drift does not look like growth;
    their losses are compared before.

    Parameters
    ----------
    make_model : callable
        ``make_model(value)`` -> Module.
    parameter : str
        What the values are, for the tables. "batch" makes them the batch size, where none is given.
    values : sequence of int
        At least three, growing.
    input_shape : tuple of int, or callable of a value, optional
        Of one example. By default that of a model that begins with ``Linear``.
    batch_size : int, or callable of a value, optional
        By default 32.
    optimizer : "sgd", "momentum" or "adam"
    backends : sequence of str, optional
        "cython", "numba", "reference"; by default the one in use.
    eager : bool
        Run the model's own Python too, without a plan.
    peers : sequence of str
        "torch", "jax", where they are installed; for a ``Sequential`` of the layers that they know.
    threads : int, optional
        By default as many as fastnn uses now.
    budget : float
        Seconds of measuring for each value.
    progress : callable, optional
        Told what is being done.

    Returns
    -------
    Scaling
        With ``sentences()``, ``table()``, ``markdown()``, ``save(path)`` and ``plot(path)``.

    Raises
    ------
    TypeError, ValueError
        Where an argument is wrong.
    ImportError
        Where peers are asked for and threadpoolctl is not installed.

    Examples
    --------
    >>> import fastnn
    >>> from fastnn import nn
    >>> found = fastnn.scaling(lambda width: nn.Linear(width, width), "width", [8, 16, 32], budget=0.01)
    >>> [curve.phase for curve in found.curves]
    ['forward', 'backward', 'update']
    >>> len(found.curves[0].seconds)
    3
    """
    values = _checked_values(values)
    if not isinstance(parameter, str):
        raise TypeError(f"parameter: expected the name of what the values are, got {type(parameter).__name__}")
    optimizer = checks.choice("optimizer", optimizer, tuple(OPTIMIZERS))
    peers = checks.choices("peers", peers, ("torch", "jax"))
    budget = checks.real("budget", budget, 0.0)
    before = get_num_threads()
    count = before if threads is None else checks.integer("threads", threads, 1)
    study = _Study(make_model, parameter, input_shape, batch_size, optimizer, backends, eager)
    with ExitStack() as stack:
        stack.callback(set_num_threads, before)
        set_num_threads(count)
        stack.enter_context(pinned(count))
        found = stack.enter_context(libraries.running(peers, count)) if peers else {}
        tell = progress or (lambda text: None)
        result = Scaling(parameter, values, {phase: [] for phase in PHASES}, [], [], count)
        result.notes += [f"{libraries.TITLES[name]} is not installed" for name in peers if name not in found]
        races: list[Race[str]] = []
        for value in values:
            tell(f"{parameter} {value}: building and checking")
            contestants = study.contestants(value, found, result.notes)
            flops, memory = study.theory(value)
            for phase in PHASES:
                result.flops[phase].append(flops[phase])
            result.memory.append(memory)
            races.append(Race(contestants))
        for order in (values, values[::-1]):
            for value in order:
                tell(f"{parameter} {value}: measuring")
                races[values.index(value)].run(budget / 2, rounds=4)
    _collect(result, races)
    return result


def _checked_values(values: Any) -> list[int]:
    if not isinstance(values, Iterable):
        raise TypeError(f"values: expected at least three growing numbers, got {values!r}")
    found = [checks.integer("values", value, 1) for value in values]
    if len(found) < 3 or sorted(set(found)) != found:
        raise ValueError(f"values: expected at least three growing numbers, got {found}")
    return found


def _collect(result: Scaling, races: Sequence[Race[str]]) -> None:
    """Turn samples into curves, of those that took part at every value."""
    timings = [race.timings() for race in races]
    for name in timings[0]:
        if not all(name in found for found in timings):
            continue
        stages = [race.stages(name) for race in races]
        for number, phase in enumerate(PHASES):
            points = [found[number] for found in stages]
            result.curves.append(Curve(name, phase, [p.seconds for p in points], [p.spread for p in points]))


class _Study:
    """What is measured, for any value."""

    def __init__(
        self, make_model: Any, parameter: str, input_shape: Any, batch_size: Any, optimizer: str, backends: Any, eager: bool
    ) -> None:
        if not callable(make_model):
            raise TypeError(f"make_model: expected a function of a value, got {type(make_model).__name__}")
        if batch_size is None:
            batch_size = (lambda value: value) if parameter == "batch" else 32
        self.make_model, self.parameter, self.optimizer, self.eager = make_model, parameter, optimizer, eager
        self.input_shape, self.batch_size = input_shape, batch_size
        first = next(backend for backend in dispatch.current_backends.get() if dispatch.is_available(backend))
        self.backends = (first,) if backends is None else checks.choices("backends", backends, BACKENDS)
        for backend in self.backends:
            with dispatch.use_backend(backend):
                pass  # refuses by name what is not there

    def model(self, value: int) -> nn.Module:
        """A model for a value, of our own: the same object may be returned for every one."""
        model = copy.deepcopy(self.make_model(value))
        if not isinstance(model, nn.Module):
            raise TypeError(f"make_model: expected a Module for {value}, got {type(model).__name__}")
        return model

    def batch(self, value: int, model: nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """Random rows and targets."""
        rng = np.random.default_rng(0)
        shape = self.input_shape(value) if callable(self.input_shape) else self.input_shape
        if shape is None:
            first = next((layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))), None)
            if not isinstance(first, nn.Linear):
                raise ValueError("input_shape: the shape of one example is needed where the model does not begin with Linear")
            shape = (first.in_features,)
        size = checks.integer("batch_size", self.batch_size(value) if callable(self.batch_size) else self.batch_size, 1)
        x = rng.standard_normal((size, *shape)).astype(np.float32)
        with no_grad():
            outputs = model(Tensor(x)).shape
        return x, rng.standard_normal(outputs).astype(np.float32)

    def contestants(self, value: int, found: dict[str, libraries.Peer], notes: list[str]) -> dict[str, Stages]:
        """Everybody's stages whose losses agree with the first one's."""
        model = self.model(value)
        weights = model.state_dict()
        x, y = self.batch(value, model)
        makers: dict[str, Callable[[], Stages]] = {}
        for backend in self.backends:
            makers[f"fastnn, {backend}"] = partial(self._plan, value, backend, weights, x, y)
            if self.eager:
                makers[f"fastnn, {backend}, eager"] = partial(self._eager, value, backend, weights, x, y)
        if found:
            problem = _problem(model, x, y, self.optimizer)
            for name, peer in found.items():
                for setting, stages in peer.networks.stages(problem).items():  # type: ignore[union-attr]
                    makers[f"{libraries.TITLES[name]}, {setting}"] = partial(tuple, stages)
        contestants: dict[str, Stages] = {}
        expected: list[float] = []
        for name, make in makers.items():
            stages = make()
            losses = [_step(stages) for _ in range(_CHECKED)]
            expected = expected or losses
            if not np.allclose(losses, expected, rtol=_TOLERANCE, atol=1e-6):
                notes.append(f"{name} does not take part: its losses at {self.parameter} {value} are {losses}, not {expected}")
                continue
            contestants[name] = stages
        return contestants

    def theory(self, value: int) -> tuple[dict[str, int], int]:
        """Operations of each phase by the cost model, and bytes of all arrays that a step touches."""
        model = self.model(value)
        x, y = self.batch(value, model)
        flops, arrays = dict.fromkeys(PHASES, 0), {}

        def note(call: dispatch.Call) -> None:
            work = call_cost(call).flops
            if call.operator.name in _TWO_PRODUCTS and call.outputs[0] is None:
                work //= 2  # nobody wants the gradient of the data
            flops[call.phase] += work
            arrays.update({a.ctypes.data: a.nbytes for a in (*call.args, *call.outputs) if isinstance(a, np.ndarray)})

        with dispatch.observe(note):
            train_step(model, nn.MSELoss(), OPTIMIZERS[self.optimizer](model.parameters()), x, y)
        return flops, sum(arrays.values())

    def _trainer(self, value: int, weights: Any) -> tuple[nn.Module, nn.Module, optim.Optimizer]:
        model = self.model(value)
        model.load_state_dict(weights)
        return model, nn.MSELoss(), OPTIMIZERS[self.optimizer](model.parameters())

    def _plan(self, value: int, backend: str, weights: Any, x: np.ndarray, y: np.ndarray) -> Stages:
        with dispatch.use_backend(backend):
            found = plan_stages(compile(*self._trainer(value, weights)), x, y)
        return [found[phase] for phase in PHASES]

    def _eager(self, value: int, backend: str, weights: Any, x: np.ndarray, y: np.ndarray) -> Stages:
        model, loss, optimizer = self._trainer(value, weights)
        inputs, target, recorded = Tensor(x), Tensor(y), {}

        def forward() -> float:
            recorded["loss"] = loss(model(inputs), target)
            return float(recorded["loss"].item())

        def backward() -> None:
            optimizer.zero_grad()
            recorded["loss"].backward()

        with dispatch.use_backend(backend):
            context = copy_context()
        return [partial(context.run, stage) for stage in (forward, backward, optimizer.step)]


def _step(stages: Stages) -> float:
    """One step; its loss."""
    loss, *_ = [stage() for stage in stages]
    return float(loss)


def _problem(model: nn.Module, x: np.ndarray, y: np.ndarray, optimizer: str) -> Problem:
    """The model as others are given it."""
    network = Network("", layers_of(model), x.shape[1:], len(x), optimizer, 0, 1, outputs=y.shape[1:])
    problem = Problem(network, model.state_dict())
    problem.x, problem.y = x, y
    return problem
