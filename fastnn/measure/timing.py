"""The measuring engine: rival functions timed in turn in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from itertools import repeat
from time import perf_counter
from typing import NamedTuple

import numpy as np

from fastnn.functional import checks

_SAMPLE = 200e-6  # a sample lasts at least this long: a thousand times what the clock resolves
_WARM = 5e-3  # shorter calls are warmed up before each sample, since the others have emptied the caches


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


def interleaved(
    functions: Mapping[str, Callable[[], object]], *, budget: float = 1.0, quantile: float = 0.1, rounds: int = 7
) -> dict[str, Timing]:
    """Time rival functions in turn, a sample of each in every round, without the garbage collector.

    A sample is as many calls as last 0.2 ms, after one more that warms the caches; nothing is subtracted. Noise only ever adds time,
    so the low quantile tells what the code costs, and more steadily than the minimum does.

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
    budget = checks.real("budget", budget, 0.0)
    quantile = checks.real("quantile", quantile, 0.0, 1.0)
    rounds = checks.integer("rounds", rounds, 1)
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        calls = {name: _calibrate(function) for name, function in functions.items()}
        samples: dict[str, list[float]] = {name: [] for name in functions}
        names = list(functions)
        end = perf_counter() + budget
        done = 0
        while done < rounds or perf_counter() < end:
            for name in names[done % len(names) :] + names[: done % len(names)]:  # nobody always follows the same rival
                samples[name].append(_sample(functions[name], calls[name], samples[name]))
            done += 1
    finally:
        if enabled:
            gc.enable()
    return {name: _timing(values, calls[name], quantile) for name, values in samples.items()}


def _calibrate(function: Callable[[], object]) -> int:
    """How many calls make one sample; a short function is called twice before, to warm it up."""
    if _run(function, 1) > _WARM:
        return 1
    function()
    count = 1
    while _run(function, count) < _SAMPLE:
        count *= 2
    return count


def _sample(function: Callable[[], object], count: int, before: list[float]) -> float:
    if not before or before[-1] < _WARM:
        function()
    return _run(function, count) / count


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
