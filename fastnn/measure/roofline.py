"""The machine's roofline: how fast it computes at most, and how fast it can be fed.

No program that makes F operations on B bytes finishes before ``max(F / peak, B / bandwidth)`` seconds. Below the arithmetic intensity
F / B at which both are equal (the ridge), memory decides; above it, arithmetic does.

Source: Williams, Waterman, Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM 52 (2009).
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastnn.functional import checks
from fastnn.kernels import isa
from fastnn.threads import get_num_threads

from . import machine
from .timing import Race

FORMAT = 2  # of the file
DTYPES = ("float32", "float64")
MAIN = "DRAM"
OWN = ("L1", "L2")  # caches that each core has for itself


@dataclass(frozen=True)
class Roofline:
    """What one processor can do at most.

    Attributes
    ----------
    processor : str
    source : str
        What measured it: the level of the compiled kernels ("v4", "baseline", ...), or "NumPy", which is an estimate.
    peak : dict
        Dtype -> threads -> multiply-adds in registers, FLOP/s (two for each).
    bandwidth : dict
        "L1", "L2", "L3", "DRAM" -> threads -> bytes moved per second: read, or read and written back in place, whichever is faster.
    sizes : dict
        "L1", "L2", ... -> bytes of that cache.
    date : str
        When it was measured, UTC.
    """

    processor: str
    source: str
    peak: dict[str, dict[int, float]]
    bandwidth: dict[str, dict[int, float]]
    sizes: dict[str, int]
    date: str

    @property
    def threads(self) -> list[int]:
        """The numbers of threads that it was measured for."""
        return list(self.peak[DTYPES[0]])

    def flops_per_second(self, dtype: str = "float32", threads: int | None = None) -> float:
        """The peak for ``dtype`` on so many threads (by default those that fastnn may use)."""
        return self.peak[checks.choice("dtype", dtype, DTYPES)][self.nearest(threads)]

    def transfer(self, nbytes: float, threads: int | None = None) -> float:
        """The seconds that it takes at least to move so many bytes: what fits into a cache comes from there, the rest from further away."""
        count = self.nearest(threads)
        seconds, inside = 0.0, 0.0
        for level, rates in self.bandwidth.items():
            reach = self.sizes.get(level, math.inf) * (count if level in OWN else 1)
            seconds += max(min(nbytes, reach) - inside, 0.0) / rates[count]
            inside = max(reach, inside)
        return seconds

    def seconds(self, flops: float, nbytes: float, dtype: str = "float32", threads: int | None = None) -> float:
        """The time that nobody can beat who makes so many operations on so many bytes.

        Examples
        --------
        >>> from fastnn.measure import Roofline
        >>> machine = Roofline("", "", {"float32": {1: 100.0}}, {"L1": {1: 10.0}, "DRAM": {1: 5.0}}, {"L1": 32}, "")
        >>> machine.seconds(1000, 20), machine.seconds(1000, 132)
        (10.0, 23.2)
        """
        return max(flops / self.flops_per_second(dtype, threads), self.transfer(nbytes, threads))

    def nearest(self, threads: int | None) -> int:
        """The largest number of threads that was measured and is not more than asked for."""
        wanted = get_num_threads() if threads is None else checks.integer("threads", threads, 1)
        return max([number for number in self.threads if number <= wanted], default=self.threads[0])


def machine_roofline(*, refresh: bool = False, threads: int | None = None) -> Roofline:
    """This machine's roofline: measured once, in some seconds, then read from the user's cache folder.

    Parameters
    ----------
    refresh : bool
        Measure it anew.
    threads : int, optional
        The most threads to measure; by default as many as fastnn may use now, but no more than there are processors.

    Returns
    -------
    Roofline
    """
    most = min(get_num_threads(), os.cpu_count() or 1) if threads is None else checks.integer("threads", threads, 1)
    name, source = machine.processor(), isa.level() if machine.compiled() is not None else "NumPy"
    file = _file(name, source)
    known = None if refresh else _read(file, name, source)
    if known is not None and known.threads[-1] >= most:
        return known
    found = measure_roofline(most)
    _write(file, found)
    return found


def measure_roofline(threads: int, budget: float = 3.0) -> Roofline:
    """Measure the roofline for 1, 2, 4, ... and ``threads`` threads, in about ``budget`` seconds.

    The fastest sample counts, since a limit is asked for; and so many threads can do what fewer can.
    """
    counts = sorted({2**i for i in range(threads.bit_length())} | {threads})
    sizes = machine.caches()
    names = (*DTYPES, *sizes, MAIN)
    rates: dict[str, dict[int, float]] = {name: {} for name in names}
    for count in counts:
        memory = _memory(sizes, count)
        for name in names:
            probes = [machine.peak_probe(count, name)]
            if name in memory:
                probes = [machine.memory_probe(memory[name], count, kind) for kind in ("read", "update")]
            found = [_rate(probe, budget / len(names) / len(counts) / len(probes)) for probe in probes]
            rates[name][count] = max(*found, *rates[name].values(), 0.0)
    return Roofline(
        machine.processor(), isa.level() if machine.compiled() is not None else "NumPy",
        {name: rates[name] for name in DTYPES}, {name: rates[name] for name in (*sizes, MAIN)}, sizes,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    )  # fmt: skip


def _rate(probe: AbstractContextManager[machine.Probe], budget: float) -> float:
    """The most that a probe does in a second, measured alone: others would empty its cache."""
    with probe as (call, amount):
        race = Race({"": call})
        race.run(budget, rounds=5)
    return amount / race.timings(quantile=0.0)[""].seconds


def _memory(sizes: dict[str, int], threads: int) -> dict[str, int]:
    """For each level, the bytes that one thread moves: half of a core's own cache, four times the cache before for a shared one."""
    found, before = {}, 0
    for level, size in sizes.items():
        found[level] = size // 2 if level in OWN else min(size // 2, 4 * threads * before) // threads
        before = size
    return found | {MAIN: min(2 * before + machine.LEAST, machine.MOST) // threads}


def _file(name: str, source: str) -> Path | None:
    """Where this processor's roofline is kept; None where there is no home."""
    with suppress(RuntimeError):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return folder / "fastnn" / f"roofline-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-')}-{source}.json"
    return None


def _read(file: Path | None, name: str, source: str) -> Roofline | None:
    """What the file says, or None where it is not there, not whole, or not about this processor."""
    if file is None:
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            return None
        for table in ("peak", "bandwidth"):
            content[table] = {key: {int(n): float(v) for n, v in of.items()} for key, of in content[table].items()}
        found = Roofline(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    right = (found.processor, found.source, set(found.sizes)) == (name, source, set(machine.caches()))
    return found if right and _is_whole(found) else None


def _is_whole(found: Roofline) -> bool:
    """Whether every rate is there, for the same numbers of threads, and positive."""
    if set(found.peak) != set(DTYPES) or set(found.bandwidth) != {*found.sizes, MAIN}:
        return False
    tables = [*found.peak.values(), *found.bandwidth.values()]
    counts = list(tables[0])
    rates = [rate for table in tables for rate in table.values()]
    return bool(counts) and all(list(table) == counts for table in tables) and all(0 < rate < math.inf for rate in rates)


def _write(file: Path | None, found: Roofline) -> None:
    """Keep it; where that is not possible, it is measured again next time."""
    if file is None:
        return
    content: dict[str, Any] = {"format": FORMAT, **asdict(found)}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".json", delete=False, encoding="utf-8") as target:
            json.dump(content, target, indent=1)
        os.replace(target.name, file)
