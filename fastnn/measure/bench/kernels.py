"""One row: every candidate is checked against the reference, then all are timed in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from fastnn.dispatch import has_numba
from fastnn.threads import set_num_threads

from ..machine import Work, peak_probe, traffic_probe
from ..peers import Peer
from ..problems.kernels import Calls, Problem, backend_calls, convolution_precision, public_calls
from ..problems.rows import THREADS_FROM, Row
from ..samples import Ratio, Timing
from ..timing import Race, interleaved

PILOT = 0.15  # of the budget, after which slow variants and peers are dropped
CLOSE = 1.3  # a variant that is so many times slower than its peer's best
HOPELESS = 3.0  # a peer that is so many times slower than the best one; it keeps the times that it has

OURS, PEAK, TRAFFIC = "fastnn", "peak", "traffic"
BACKENDS = {"numba": "fastnn on Numba", "reference": "the reference"}
Key = tuple[str, str]  # a peer and its variant, or one of these


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
    low, high : float or None
        The interval of the ratio.
    numba, reference : float or None
        Seconds of Numba's kernels and of the NumPy reference.
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
    low: float | None = None
    high: float | None = None
    numba: float | None = None
    reference: float | None = None
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
    def verdict(self) -> str:
        """What the ratio says for certain: "faster", "slower", "even" or "uncertain"; empty without a ratio."""
        if self.error:
            return "error"
        return (
            "" if self.ratio is None or self.low is None or self.high is None else Ratio(self.ratio, self.low, self.high).verdict
        )

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
        found = {name: getattr(self, name) for name in ("best", "ratio", "verdict", "bound", "fraction")}
        return asdict(self) | found


@dataclass(frozen=True)
class Settings:
    """How to measure: with which peers, on how many threads, for how long."""

    peers: dict[str, Peer]
    dtype: str
    threads: int
    budget: float  # seconds of each direction of a row
    rounds: int
    directions: tuple[str, ...]
    numba: bool
    two_threads: bool
    reference: bool = False
    compilers: bool = True  # whether settings that run a compiler of their own, as torch.compile does, take part


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
            result.error = first_line(error)
        yield result


class _Contest:
    """A row's problem, and everybody's calls that solve it."""

    def __init__(self, row: Row, settings: Settings) -> None:
        self.row, self.settings = row, settings
        self.problem = Problem(row, settings.dtype)
        self.ours = public_calls(self.problem)
        self.others: dict[Key, tuple[Calls, Callable[[Any], Any]]] = {}
        self.notes = []
        makers = {name: (peer.kernels.variants, peer.kernels.to_numpy) for name, peer in settings.peers.items() if peer.kernels}
        for backend, wanted in (("numba", row.numba and settings.numba), ("reference", settings.reference)):
            if wanted:
                makers[BACKENDS[backend]] = partial(_of_backend, backend), np.asarray
        for name, (variants, to_numpy) in makers.items():
            try:
                self.others |= {(name, variant): (calls, to_numpy) for variant, calls in variants(self.problem).items()}
            except Exception as error:  # the others are compared all the same
                self.notes.append(f"{name}: {first_line(error)}")

    def measure(self, direction: str, result: Result) -> None:
        """Check, time and fill in the result."""
        result.notes += self.notes
        works = self.problem.works[direction]
        self.problem.check(OURS, direction, self.ours[direction]())
        candidates = {(OURS, ""): self.ours[direction], **self._right_ones(direction, result)}
        measure_candidates(candidates, self.settings, result, works)
        assert result.seconds is not None
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
                result.notes.append(f"{who}: {first_line(error)}")
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
                calls: dict[str, Callable[[], Any]] = {
                    "1": partial(_on_threads, 1, call),
                    "2": partial(_on_threads, 2, call),
                    "peak 1": one,
                    "peak 2": two,
                }
                times = interleaved(calls, budget=self.settings.budget, rounds=self.settings.rounds)
        finally:
            set_num_threads(self.settings.threads)
        seconds = {name: timing.seconds for name, timing in times.items()}
        result.two_threads = seconds["1"] / seconds["2"]
        result.machine_threads = of_two / seconds["peak 2"] / (of_one / seconds["peak 1"])


def measure_candidates(
    candidates: dict[Key, Callable[[], Any]], settings: Settings, result: Result, works: Sequence[Work], times_work: int = 1
) -> None:
    """Time everybody in turn, on one thread beside what the machine can do, and fill in the result.

    Parameters
    ----------
    candidates : dict
        What to call; ours among them.
    settings : Settings
    result : Result
    works : sequence of Work
    times_work : int
        How often the candidates do that work.
    """
    candidates = dict(candidates)
    with peak_probe(1, settings.dtype) as (peak, operations):
        if settings.threads == 1:
            candidates[PEAK, ""] = peak
            candidates[TRAFFIC, ""], share = traffic_probe(works)
        times, race = _time(candidates, settings)
    result.seconds, result.spread, *_ = times.pop((OURS, ""))
    if (PEAK, "") in times:
        result.arithmetic = times_work * sum(work.flops for work in works) / operations * times.pop((PEAK, "")).seconds
        result.traffic = times_work * share * times.pop((TRAFFIC, "")).seconds
    for backend, name in BACKENDS.items():
        if (name, "") in times:
            setattr(result, backend, times.pop((name, "")).seconds)
    for (name, variant), timing in times.items():
        if timing.seconds < result.peers.get(name, float("inf")):
            result.peers[name], result.variants[name] = timing.seconds, variant
    if result.best:
        _, result.low, result.high = race.ratio((result.best, result.variants[result.best]), (OURS, ""))


def _of_backend(backend: str, problem: Problem) -> dict[str, Calls]:
    return {"": backend_calls(problem, backend)}


def _on_threads(count: int, call: Callable[[], Any]) -> None:
    set_num_threads(count)
    call()


def _time(candidates: dict[Key, Callable[[], Any]], settings: Settings) -> tuple[dict[Key, Timing], Race[Key]]:
    """Time everybody in turn; after two rounds each peer's slower variants retire, and those that are far behind."""
    race = Race(candidates)
    race.run(PILOT * settings.budget, rounds=2)
    pilot = race.timings()
    best: dict[str, float] = {}
    for (name, _), timing in pilot.items():
        best[name] = min(best.get(name, timing.seconds), timing.seconds)
    rivals = [key for key in candidates if key[0] not in (OURS, PEAK, TRAFFIC, *BACKENDS.values())]
    fastest = min((best[name] for name, _ in rivals), default=0.0)
    slow = {key for key in rivals if best[key[0]] > HOPELESS * fastest or pilot[key].seconds > CLOSE * best[key[0]]}
    reference = BACKENDS["reference"], ""
    if reference in candidates and best[reference[0]] > HOPELESS * best[OURS]:
        slow.add(reference)
    race.drop(slow)
    race.run(settings.budget, settings.rounds - 2)
    times = race.timings()
    return {key: times[key] for key in candidates if key not in slow or pilot[key].seconds == best[key[0]]}, race


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"
