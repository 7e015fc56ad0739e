"""The measuring engine: rival functions timed in turn in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import repeat
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from fastnn.functional import checks

_SAMPLE = 200e-6  # a sample lasts at least this long: a thousand times what the clock resolves
_WARM = 10e-3  # where a rival's call is shorter, all warm up before each sample, since the others have emptied the caches


Name = TypeVar("Name", bound=Hashable)


class Timing(NamedTuple):
    """Seconds of one call.

    Attributes
    ----------
    seconds : float
        The low quantile over the samples.
    spread : float
        How far the median lies above it, as a share of it.
    samples : int
        How many samples were taken.
    calls : int
        Calls in each sample, of which ``seconds`` is the mean.
    """

    seconds: float
    spread: float
    samples: int
    calls: int


class Race(Generic[Name]):
    """Rival functions that are timed in turn, as long as one likes.

    A sample is as many calls as last 0.2 ms, after one more that warms the caches (none of them where every call lasts 10 ms);
    nothing is subtracted. Every round takes a sample of each function, without the garbage collector. Noise only ever adds time, so a
    low quantile tells what the code costs, and more steadily than the minimum does.

    Parameters
    ----------
    functions : mapping of str to callable
        Called without arguments.

    Examples
    --------
    >>> from fastnn.measure import Race
    >>> race = Race({"short": lambda: sum(range(10)), "long": lambda: sum(range(10_000))})
    >>> race.run(budget=0.02)
    >>> race.drop(["long"])
    >>> race.run(budget=0.02)
    >>> times = race.timings()
    >>> times["short"].samples > times["long"].samples
    True
    """

    def __init__(self, functions: Mapping[Name, Callable[[], object]]) -> None:
        self._functions = dict(functions)
        self._calls: dict[Name, int] = {}
        self._samples: dict[Name, list[float]] = {name: [] for name in functions}
        self._fastest = float("inf")  # seconds of the shortest call of all; whether to warm up must be one decision for all

    def run(self, budget: float = 1.0, rounds: int = 7) -> None:
        """Time all that have not been dropped, for ``budget`` seconds together but at least for so many rounds."""
        budget = checks.real("budget", budget, 0.0)
        rounds = checks.integer("rounds", rounds, 1)
        enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            for name, function in self._functions.items():
                if name not in self._calls:
                    self._calls[name], seconds = _calibrate(function)
                    self._fastest = min(self._fastest, seconds)
            names = list(self._functions)
            end = perf_counter() + budget
            done = 0
            while done < rounds or perf_counter() < end:
                for _ in names:
                    self._sample(names[0])
                    names.append(names.pop(0))
                names.append(names.pop(0))  # nobody always follows the same rival
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
        quantile = checks.real("quantile", quantile, 0.0, 1.0)
        return {name: _timing(values, self._calls[name], quantile) for name, values in self._samples.items() if values}

    def _sample(self, name: Name) -> None:
        function, count = self._functions[name], self._calls[name]
        if self._fastest < _WARM:
            function()
        self._samples[name].append(_run(function, count) / count)


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


def _calibrate(function: Callable[[], object]) -> tuple[int, float]:
    """How many calls make one sample, and the seconds of one; a short function is called twice before, to warm it up."""
    seconds = _run(function, 1)
    if seconds > _WARM:
        return 1, seconds
    function()
    count = 1
    while (seconds := _run(function, count)) < _SAMPLE:
        count *= 2
    return count, seconds / count


def _run(function: Callable[[], object], count: int) -> float:
    """Seconds of ``count`` calls."""
    calls = repeat(None, count)
    start = perf_counter()
    for _ in calls:
        function()
    return perf_counter() - start


def _timing(samples: list[float], calls: int, quantile: float) -> Timing:
    low, median = np.quantile(samples, (quantile, 0.5))
    return Timing(float(low), float(median / low - 1), len(samples), calls)
