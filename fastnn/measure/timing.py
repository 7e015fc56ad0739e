"""The measuring engine: rival functions timed in turn in one process, so that what disturbs one disturbs all.

Whatever fastnn says about time is measured here, and what stands between a clock and the truth is dealt with here:

- **The clock's resolution.** A sample lasts at least 0.2 ms, and at least a thousand of the clock's own steps: short functions are called
  many times for each sample. The loop around a call costs some 30 ns, which are not subtracted.
- **Warm-up.** The first call of a function is never counted (it compiles, allocates, faults pages in), and where the calls are short each
  sample begins with one that is not, since the rivals have emptied the caches meanwhile.
- **The garbage collector** runs before, and is off during, the measurement.
- **Drift** of the processor's frequency or of a neighbour's load: each round takes one sample of every function, so that slow seconds are
  everybody's. A ratio is the ratio of samples taken side by side.
- **What the one before leaves in the caches**: the order within a round is drawn. Who always followed a rival that reads the same 64 MiB
  took 2.4 ms where others took 3.3 for the same work.
- **Migration** from one processor to another: :func:`pinned` holds the process to as many processors as there are threads.
- **Other processes** that take the processor away: Linux tells how long the thread waited to get it back (``schedstat``). Where a call is
  so long that hardly a sample goes undisturbed on a busy machine, that wait is taken off, as far as no thread of this process computed
  meanwhile: waiting for one's own threads is part of what the code costs, as sleeping is.
- **Disturbed samples.** A disturbance only ever adds time, so the 10 % quantile of the samples tells what the code costs, more steadily
  than the minimum does. How far the median lies above it is the spread.
- **What is left.** :meth:`Race.ratio` gives an interval (:mod:`fastnn.measure.samples`), from resampled blocks of rounds, since
  disturbances come in bursts. What the interval does not decide is called uncertain, and a difference of less than 3 % even: so much may
  come from where the memory happens to lie, which no number of samples in one process shows.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from random import Random
from time import perf_counter, process_time
from typing import Generic, TypeVar

import numpy as np

from fastnn.functional import checks

from .samples import Ratio, Timing, paired_ratio, summarize

_SAMPLE = 200e-6  # seconds that a sample lasts at least
_STEPS = 1000  # of the clock, that a sample lasts at least
_WARM = 10e-3  # where a rival's call is shorter, all warm up before each sample, since the others have emptied the caches


Name = TypeVar("Name", bound=Hashable)
Clock = Callable[[], float]  # seconds since any moment


class Race(Generic[Name]):
    """Rival functions that are timed in turn, as long as one likes.

    A sample is as many calls as last 0.2 ms, after one more that warms the caches (none of them where every call lasts 10 ms). Every
    round takes a sample of each function, without the garbage collector. Noise only ever adds time, so a low quantile tells what the
    code costs, and more steadily than the minimum does.

    Parameters
    ----------
    functions : mapping of str to callable or sequence of callables
        Called without arguments. A sequence is a function in stages, which are called one after the other and timed apart.
    clock : callable, optional
        Seconds since any moment.
    waited, busy : callable, optional
        Seconds that the thread has waited for a processor until now, by default as Linux tells, and that the process has had one.

    Examples
    --------
    >>> from fastnn.measure import Race
    >>> race = Race({"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))})
    >>> race.run(budget=0.02)
    >>> race.ratio("long", "short").verdict
    'faster'
    >>> race.drop(["long"])
    >>> race.run(budget=0.02)
    >>> times = race.timings()
    >>> times["short"].samples > times["long"].samples
    True
    """

    def __init__(
        self,
        functions: Mapping[Name, Callable[[], object] | Sequence[Callable[[], object]]],
        clock: Clock = perf_counter,
        waited: Clock | None = None,
        busy: Clock | None = None,
    ) -> None:
        self._functions = {name: (given,) if callable(given) else tuple(given) for name, given in functions.items()}
        real = clock is perf_counter
        self._clock = clock
        self._waited = waited or (waiting_time if real else _never)
        self._busy = busy or (process_time if real else _never)
        self._least = max(_SAMPLE, _STEPS * clock_step(clock))
        self._calls: dict[Name, int] = {}
        self._samples: dict[Name, list[list[float]]] = {name: [] for name in functions}  # by round, the seconds of each stage
        self._turns = Random(0)  # draws the order of each round, on from one run to the next
        self._fastest = float("inf")  # seconds of the shortest call of all; whether to warm up must be one decision for all

    def run(self, budget: float = 1.0, rounds: int = 7) -> None:
        """Time all that have not been dropped, for ``budget`` seconds together but at least for so many rounds."""
        budget = checks.real("budget", budget, 0.0)
        rounds = checks.integer("rounds", rounds, 1)
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            for name, stages in self._functions.items():
                if name not in self._calls:
                    self._calls[name], seconds = self._calibrate(stages)
                    self._fastest = min(self._fastest, seconds)
            names = list(self._functions)
            end = self._clock() + budget
            done = 0
            while done < rounds or self._clock() < end:
                self._turns.shuffle(names)
                for name in names:
                    self._sample(name)
                done += 1
        finally:
            if enabled:
                gc.enable()

    def drop(self, names: Iterable[Name]) -> None:
        """Time these no more; what was measured of them stays."""
        for name in names:
            del self._functions[name]

    def timings(self, quantile: float = 0.1) -> dict[Name, Timing]:
        """What was measured, of those too that were dropped, in the order in which they were given."""
        return {
            name: summarize(self.samples(name), self._calls[name], quantile) for name, rounds in self._samples.items() if rounds
        }

    def samples(self, name: Name) -> list[float]:
        """Seconds of one call in each round."""
        return [sum(stages) for stages in self._samples[name]]

    def stages(self, name: Name, quantile: float = 0.1) -> list[Timing]:
        """What was measured of each stage of one function."""
        rounds = self._samples[name]
        return [summarize(values, self._calls[name], quantile) for values in zip(*rounds, strict=True)]

    def ratio(self, name: Name, other: Name, quantile: float = 0.1) -> Ratio:
        """The time of ``name`` over that of ``other``, by the rounds in which both ran, with its interval."""
        pairs = np.array(list(zip(self.samples(name), self.samples(other), strict=False)))
        return paired_ratio(pairs[:, 0], pairs[:, 1], quantile)

    def _sample(self, name: Name) -> None:
        stages, count = self._functions[name], self._calls[name]
        if self._fastest < _WARM:
            for stage in stages:
                stage()
        self._samples[name].append([seconds / count for seconds in self._run(stages, count)])

    def _calibrate(self, stages: Sequence[Callable[[], object]]) -> tuple[int, float]:
        """How many calls make one sample, and the seconds of one; a short function is called twice before, to warm it up."""
        seconds = sum(self._run(stages, 1))
        if seconds > _WARM:
            return 1, seconds
        self._run(stages, 1)
        count = 1
        while (seconds := sum(self._run(stages, count))) < self._least:
            count *= 2
        return count, seconds / count

    def _run(self, stages: Sequence[Callable[[], object]], count: int) -> list[float]:
        """Seconds of ``count`` calls, stage by stage."""
        clock, calls = self._clock, repeat(None, count)
        if count == 1:
            return [self._run_once(stage) for stage in stages]
        if len(stages) == 1:
            function = stages[0]
            start = clock()
            for _ in calls:
                function()
            return [clock() - start]
        sums = [0.0] * len(stages)
        for _ in calls:
            start = clock()
            for index, stage in enumerate(stages):
                stage()
                end = clock()
                sums[index] += end - start
                start = end
        return sums

    def _run_once(self, stage: Callable[[], object]) -> float:
        """Seconds of one call, less those in which others had the processor."""
        clock, waited, busy = self._clock, self._waited(), self._busy()
        start = clock()
        stage()
        seconds = clock() - start
        return seconds - max(0.0, min(self._waited() - waited, seconds - (self._busy() - busy)))


def interleaved(
    functions: Mapping[Name, Callable[[], object]], *, budget: float = 1.0, quantile: float = 0.1, rounds: int = 7
) -> dict[Name, Timing]:
    """Time rival functions in turn, as :class:`Race` does.

    Parameters
    ----------
    functions : mapping of str to callable
        Called without arguments.
    budget : float
        Seconds for all of them together; exceeded where so many rounds last longer.
    quantile : float in [0, 1]
        Which quantile of the samples counts.
    rounds : int
        The least number of samples of each function.

    Returns
    -------
    dict of str to Timing
        In the order of ``functions``.

    Examples
    --------
    >>> from fastnn.measure import interleaved
    >>> times = interleaved({"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))}, budget=0.05)
    >>> times["short"].seconds < times["long"].seconds
    True
    """
    quantile = checks.real("quantile", quantile, 0.0, 1.0)
    race = Race(functions)
    race.run(budget, rounds)
    return race.timings(quantile)


def waiting_time() -> float:
    """Seconds that the calling thread was ready to run while another had its processor; 0 where the system does not tell.

    Examples
    --------
    >>> from fastnn.measure.timing import waiting_time
    >>> waiting_time() >= 0
    True
    """
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        return int(os.pread(file, 64, 0).split()[1]) * 1e-9
    finally:
        os.close(file)


def _never() -> float:
    return 0.0


def clock_step(clock: Clock = perf_counter) -> float:
    """The smallest step that a clock was seen to make, in seconds; 0 where it did not move."""
    readings = np.array([clock() for _ in range(200)])
    steps = np.diff(readings)
    return float(steps[steps > 0].min(initial=np.inf)) if (steps > 0).any() else 0.0


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Hold the calling thread, and threads that start in the block, to so many processors, where the system can do that.

    They are the last of those that the process may use, because interrupts mostly go to the first. A thread that starts in the block,
    as one of a pool that is made there, stays on them.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
