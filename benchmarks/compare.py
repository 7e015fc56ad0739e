"""One row: every candidate is checked against the reference, then all are timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

import fastnn
from fastnn import dispatch
from fastnn.measure import Timing, interleaved

from .machine import Machine
from .problem import Calls, Problem, convolution_precision, numba_calls, public_calls
from .rows import THREADS_FROM, Row

PILOT = 0.15  # of the budget: finds each peer's best variant
CLOSE = 1.2  # variants of a peer that are this many times slower than its best are dropped


@dataclass
class Result:
    """One row in one direction.

    Attributes
    ----------
    label, direction : str
    seconds : float
        Ours.
    spread : float
        Of ours.
    peers : dict
        Peer -> seconds of its best variant.
    variants : dict
        Peer -> which variant that was.
    goal : float or None
    limit : float
        Seconds that the machine needs at the least.
    numba : float or None
        Seconds of Numba's kernels.
    two_threads : float or None
        Seconds on two threads.
    group : str
    """

    label: str
    direction: str
    seconds: float
    spread: float
    peers: dict[str, float]
    variants: dict[str, str]
    goal: float | None
    limit: float
    numba: float | None = None
    two_threads: float | None = None
    group: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The fastest peer, or an empty string."""
        return min(self.peers, key=self.peers.__getitem__, default="")

    @property
    def ratio(self) -> float:
        """The best peer's time over ours; NaN without a peer."""
        return self.peers[self.best] / self.seconds if self.peers else float("nan")

    @property
    def fraction(self) -> float:
        """The share of the machine's limit that is reached."""
        return self.limit / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {"best": self.best, "ratio": self.ratio, "fraction": self.fraction}


@dataclass(frozen=True)
class Settings:
    """How to measure: with which peers, on which machine, for how long."""

    peers: dict[str, ModuleType]
    machine: Machine
    dtype: str
    budget: float  # seconds of each direction of a row
    rounds: int
    directions: tuple[str, ...]
    numba: bool


def compare(row: Row, settings: Settings) -> Iterator[Result]:
    """Measure a row in each direction."""
    with convolution_precision(row.precision):
        problem = Problem(row, settings.dtype)
        ours = public_calls(problem)
        rivals = {
            (name, variant): (calls, module.to_numpy)
            for name, module in settings.peers.items()
            for variant, calls in module.variants(problem).items()
        }
        numba = numba_calls(problem) if row.numba and settings.numba else {}
        for direction in problem.directions:
            if direction in settings.directions:
                yield _measure(problem, direction, ours, rivals, numba, settings)


def _measure(
    problem: Problem, direction: str, ours: Calls, rivals: dict[tuple[str, str], Any], numba: Calls, settings: Settings
) -> Result:
    row = problem.row
    candidates: dict[Any, Callable[[], Any]] = {("fastnn", ""): ours[direction]}
    problem.check("fastnn", direction, ours[direction]())
    for key, (calls, to_numpy) in rivals.items():
        if direction in calls:
            problem.check(" ".join(key), direction, calls[direction](), to_numpy)
            candidates[key] = calls[direction]
    if numba:
        problem.check("fastnn on numba", direction, numba[direction]())
        candidates["numba", ""] = numba[direction]
    if row.label == "linear 1x4->4" and direction == "forward":
        x, w, b = problem.arrays.values()
        candidates["x @ w.T + b", ""] = lambda: x @ w.T + b
    times = _time(candidates, settings)
    ours_time = times.pop(("fastnn", ""))
    numba_time = times.pop(("numba", ""), None)
    plain = times.pop(("x @ w.T + b", ""), None)
    fastest: dict[str, tuple[float, str]] = {}
    for (name, variant), timing in times.items():
        fastest[name] = min(fastest.get(name, (np.inf, "")), (timing.seconds, variant))
    limit = settings.machine.limit(problem.cost(direction))
    return Result(
        row.label, direction, ours_time.seconds, ours_time.spread,
        {name: seconds for name, (seconds, _) in fastest.items()}, {name: variant for name, (_, variant) in fastest.items()},
        row.goals.get(direction), limit, numba_time and numba_time.seconds,
        _two_threads(problem, direction, ours, ours_time.seconds, settings), row.group,
        {} if plain is None else {"x @ w.T + b": plain.seconds},
    )  # fmt: skip


def _time(candidates: dict[Any, Callable[[], Any]], settings: Settings) -> dict[Any, Timing]:
    """Time each peer's fastest variants together with the rest; a short first round finds which those are."""
    variants = [key for key in candidates if sum(other[0] == key[0] for other in candidates) > 1]
    if variants:
        pilot = interleaved({key: candidates[key] for key in variants}, budget=PILOT * settings.budget, rounds=2)
        for key in variants:
            best = min(timing.seconds for other, timing in pilot.items() if other[0] == key[0])
            if pilot[key].seconds > CLOSE * best:
                del candidates[key]
    return interleaved(candidates, budget=settings.budget, rounds=settings.rounds)


def _two_threads(problem: Problem, direction: str, ours: Calls, seconds: float, settings: Settings) -> float | None:
    """Seconds on two threads, of a case that is long and bound by arithmetic."""
    cost, machine = problem.cost(direction), settings.machine
    bound = cost.flops / machine.peak > cost.bytes / machine.bandwidth(cost.bytes)
    if not (problem.row.threads and machine.threads == 1 and bound and seconds > THREADS_FROM and direction != "both"):
        return None
    fastnn.set_num_threads(2)
    try:
        return interleaved({"ours": ours[direction]}, budget=settings.budget / 2, rounds=settings.rounds)["ours"].seconds
    finally:
        fastnn.set_num_threads(machine.threads)


def numba_is_there() -> bool:
    """Whether Cython can be compared with Numba here."""
    return dispatch.is_available("numba")
