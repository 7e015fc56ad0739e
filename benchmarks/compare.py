"""One row: every candidate is checked against the reference, then all are timed in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

import fastnn
from fastnn.dispatch import has_numba
from fastnn.measure import Race, Timing, interleaved

from .machine import peak_probe, traffic_probe
from .problem import Calls, Problem, convolution_precision, numba_calls, public_calls
from .rows import THREADS_FROM, Row

PILOT = 0.15  # of the budget, after which slow variants and peers are dropped
CLOSE = 1.3  # a variant that is so many times slower than its peer's best
HOPELESS = 3.0  # a peer that is so many times slower than the best one; it keeps the times that it has

OURS, NUMBA, PEAK, TRAFFIC = "fastnn", "fastnn on numba", "peak", "traffic"
Key = tuple[str, str]  # a peer and its variant, or one of these four


@dataclass
class Result:
    """One row in one direction. What was not measured is None.

    Attributes
    ----------
    label, direction : str
    goal, allowed : float or None
        The ratio to reach; seconds that may pass.
    group : str
    seconds, spread : float or None
        Ours, and how far the median lies above, as a share of it.
    peers : dict
        Peer -> seconds of its best variant.
    variants : dict
        Peer -> which variant that was.
    arithmetic, traffic : float or None
        Seconds that the operations take at peak and the compulsory bytes by copying, as measured beside; on one thread alone.
    numba : float or None
        Seconds of Numba's kernels.
    two_threads, machine_threads : float or None
        One thread's time over two threads', of this row and of multiply-adds in registers, in turn.
    error : str
        Why there is no time.
    notes : list of str
        Peers that failed.
    date : str
    """

    label: str
    direction: str
    goal: float | None = None
    allowed: float | None = None
    group: str = ""
    seconds: float | None = None
    spread: float | None = None
    peers: dict[str, float] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    arithmetic: float | None = None
    traffic: float | None = None
    numba: float | None = None
    two_threads: float | None = None
    machine_threads: float | None = None
    error: str = ""
    notes: list[str] = field(default_factory=list)
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M"))

    @property
    def best(self) -> str:
        """The fastest peer, or an empty string."""
        return min(self.peers, key=self.peers.__getitem__, default="")

    @property
    def ratio(self) -> float | None:
        """The best peer's time over ours; 0 after an error, None without a peer."""
        if self.error:
            return 0.0
        return self.peers[self.best] / self.seconds if self.peers and self.seconds else None

    @property
    def bound(self) -> str:
        """What limits the row: "arithmetic" or "traffic", or an empty string where it is not known."""
        if self.arithmetic is None or self.traffic is None:
            return ""
        return "arithmetic" if self.arithmetic > self.traffic else "traffic"

    @property
    def fraction(self) -> float | None:
        """The share of the machine's limit that is reached."""
        if self.arithmetic is None or self.traffic is None or not self.seconds:
            return None
        return max(self.arithmetic, self.traffic) / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self) | {"best": self.best, "ratio": self.ratio, "bound": self.bound, "fraction": self.fraction}


@dataclass(frozen=True)
class Settings:
    """How to measure: with which peers, on how many threads, for how long."""

    peers: dict[str, ModuleType]
    dtype: str
    threads: int
    budget: float  # seconds of each direction of a row
    rounds: int
    directions: tuple[str, ...]
    numba: bool
    two_threads: bool


def compare(row: Row, settings: Settings) -> Iterator[Result]:
    """Measure a row in each direction. What fails is told in the result: a peer's failure costs the peer, ours the row."""
    contest = None
    for direction in settings.directions:
        if direction not in row.directions:
            continue
        result = Result(
            row.label, direction, row.goals.get(direction), row.allowed if direction == "forward" else None, row.group
        )
        try:
            with convolution_precision(row.precision):
                contest = contest or _Contest(row, settings)
                contest.measure(direction, result)
        except Exception as error:  # a kernel that is wrong or refuses is a result
            result.error = _first_line(error)
        yield result


class _Contest:
    """A row's problem, and everybody's calls that solve it."""

    def __init__(self, row: Row, settings: Settings) -> None:
        self.row, self.settings = row, settings
        self.problem = Problem(row, settings.dtype)
        self.ours = public_calls(self.problem)
        self.others: dict[Key, tuple[Calls, Callable[[Any], Any]]] = {}
        self.notes = []
        makers = {name: (module.variants, module.to_numpy) for name, module in settings.peers.items()}
        if row.numba and settings.numba:
            makers[NUMBA] = (lambda problem: {"": numba_calls(problem)}), np.asarray
        for name, (variants, to_numpy) in makers.items():
            try:
                self.others |= {(name, variant): (calls, to_numpy) for variant, calls in variants(self.problem).items()}
            except Exception as error:  # the others are compared all the same
                self.notes.append(f"{name}: {_first_line(error)}")

    def measure(self, direction: str, result: Result) -> None:
        """Check, time and fill in the result."""
        result.notes += self.notes
        works = self.problem.works[direction]
        self.problem.check(OURS, direction, self.ours[direction]())
        candidates = {(OURS, ""): self.ours[direction], **self._right_ones(direction, result)}
        with peak_probe(1, self.settings.dtype) as (peak, operations):
            if self.settings.threads == 1:
                candidates[PEAK, ""] = peak
                candidates[TRAFFIC, ""], share = traffic_probe(works)
            times = _time(candidates, self.settings)
        result.seconds, result.spread, *_ = times.pop((OURS, ""))
        if (PEAK, "") in times:
            result.arithmetic = sum(work.flops for work in works) / operations * times.pop((PEAK, "")).seconds
            result.traffic = share * times.pop((TRAFFIC, "")).seconds
        if (NUMBA, "") in times:
            result.numba = times.pop((NUMBA, "")).seconds
        for (name, variant), timing in times.items():
            if timing.seconds < result.peers.get(name, float("inf")):
                result.peers[name], result.variants[name] = timing.seconds, variant
        wanted = self.settings.two_threads and self.row.threads and direction != "both"
        if wanted and result.bound == "arithmetic" and result.seconds > THREADS_FROM:
            self._two_threads(direction, result)

    def _right_ones(self, direction: str, result: Result) -> dict[Key, Callable[[], Any]]:
        """The others' calls whose results are right; the rest is noted."""
        found = {}
        for key, (calls, to_numpy) in self.others.items():
            if direction not in calls:
                continue
            who = " ".join(key).strip()
            try:
                self.problem.check(who, direction, calls[direction](), to_numpy)
            except Exception as error:  # a peer that is wrong or refuses does not compete
                result.notes.append(f"{who}: {_first_line(error)}")
            else:
                found[key] = calls[direction]
        return found

    def _two_threads(self, direction: str, result: Result) -> None:
        """One thread's time over two threads', and what the machine can do of that kind at the moment."""
        if (os.cpu_count() or 1) < 2 or not has_numba():
            return
        call, dtype = self.ours[direction], self.settings.dtype
        try:
            with peak_probe(1, dtype) as (one, of_one), peak_probe(2, dtype) as (two, of_two):
                calls = {"1": partial(_on_threads, 1, call), "2": partial(_on_threads, 2, call), "peak 1": one, "peak 2": two}
                times = interleaved(calls, budget=self.settings.budget, rounds=self.settings.rounds)
        finally:
            fastnn.set_num_threads(self.settings.threads)
        seconds = {name: timing.seconds for name, timing in times.items()}
        result.two_threads = seconds["1"] / seconds["2"]
        result.machine_threads = of_two / seconds["peak 2"] / (of_one / seconds["peak 1"])


def _on_threads(count: int, call: Callable[[], Any]) -> None:
    fastnn.set_num_threads(count)
    call()


def _time(candidates: dict[Key, Callable[[], Any]], settings: Settings) -> dict[Key, Timing]:
    """Time everybody in turn; after two rounds each peer's slower variants retire, and the peers that are far behind."""
    race = Race(candidates)
    race.run(PILOT * settings.budget, rounds=2)
    pilot = race.timings()
    best: dict[str, float] = {}
    for (name, _), timing in pilot.items():
        best[name] = min(best.get(name, timing.seconds), timing.seconds)
    rivals = [key for key in candidates if key[0] not in (OURS, NUMBA, PEAK, TRAFFIC)]
    fastest = min((best[name] for name, _ in rivals), default=0.0)
    slow = {key for key in rivals if best[key[0]] > HOPELESS * fastest or pilot[key].seconds > CLOSE * best[key[0]]}
    race.drop(slow)
    race.run(settings.budget, settings.rounds - 2)
    times = race.timings()
    return {key: times[key] for key in candidates if key not in slow or best[key[0]] > HOPELESS * fastest}


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"
