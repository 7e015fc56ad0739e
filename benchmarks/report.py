"""The table: its lines as they are measured, its summary, its Markdown and its JSON."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from datetime import UTC, datetime
from math import exp, log
from pathlib import Path
from typing import Any, NamedTuple

import fastnn
from fastnn.kernels import isa

from .compare import Result, Settings
from .peers import NAMES
from .rows import CALL_LIMIT, GROUPS, NUMBA_GOAL, THREADS_GOAL

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (0.0, "ns"))


class Cell(NamedTuple):
    """One goal and what was reached."""

    name: str
    direction: str
    reached: float
    goal: float

    @property
    def share(self) -> float:
        """What was reached, as a share of the goal."""
        return self.reached / self.goal


def duration(seconds: float) -> str:
    """A time with three digits and its unit."""
    unit, name = next((size, name) for size, name in UNITS if seconds >= size or not size)
    return f"{seconds / (unit or 1e-9):.3g} {name}"


def verdict(ratio: float, goal: float | None) -> str:
    """What a goal came to."""
    return "" if goal is None else "met" if ratio >= goal else "missed" if ratio >= 0.8 * goal else "MISSED, below 0.8"


def header(peers: list[str]) -> list[str]:
    """The titles of the columns."""
    return ["row", "direction", "fastnn", *(NAMES[p] for p in peers), "best peer", "ratio", "goal", "", "of the limit"]


def line(result: Result, peers: list[str]) -> list[str]:
    """One result as text, column by column."""
    times = [duration(result.peers[p]) if p in result.peers else "-" for p in peers]
    best = f"{NAMES[result.best]} {result.variants[result.best]}".strip() if result.best else "-"
    ratio = f"{result.ratio:.2f}" if result.peers else "-"
    goal = "-" if result.goal is None else f"{result.goal:g}"
    return [
        result.label, result.direction, duration(result.seconds), *times, best, ratio, goal, verdict(result.ratio, result.goal),
        f"{100 * result.fraction:.0f} %",
    ]  # fmt: skip


def geometric_mean(values: list[float]) -> float:
    """The geometric mean of what is not empty."""
    return exp(sum(map(log, values)) / len(values))


def cells(results: list[Result]) -> list[Cell]:
    """Every goal of the table: of rows, of groups, of one call's cost, of threads, of Numba."""
    found = [Cell(r.label, r.direction, r.ratio, r.goal) for r in results if r.goal is not None and r.peers]
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    numba: dict[str, list[float]] = defaultdict(list)
    for r in results:
        if r.group and r.peers:
            groups[r.group, r.direction].append(r.ratio)
        if r.numba is not None:
            numba[r.direction].append(r.seconds / r.numba)
        if r.two_threads is not None:
            found.append(Cell(f"{r.label}, two threads over one", r.direction, r.seconds / r.two_threads, THREADS_GOAL))
        for name, seconds in r.extra.items():
            found.append(Cell(f"{r.label} against {name}", r.direction, seconds / r.seconds, 1.0))
            found.append(Cell(f"{r.label} in at most {duration(CALL_LIMIT)}", r.direction, CALL_LIMIT / r.seconds, 1.0))
    for (group, direction), ratios in groups.items():
        if direction in GROUPS[group]:
            found.append(
                Cell(f"{group}, geometric mean of {len(ratios)}", direction, geometric_mean(ratios), GROUPS[group][direction])
            )
    for direction in ("forward", "backward"):
        if direction in numba:
            mean = geometric_mean(numba[direction])
            found.append(
                Cell(f"Cython's time over Numba's, geometric mean of {len(numba[direction])}", direction, mean, NUMBA_GOAL)
            )
    return found


def versions(settings: Settings) -> dict[str, str]:
    """What was measured with what."""
    from importlib.metadata import version

    found = {"fastnn": version("fastnn"), "Python": sys.version.split()[0]}
    found |= {NAMES[name]: module.version for name, module in settings.peers.items()}
    if settings.numba:
        found["Numba"] = version("numba")
    machine = settings.machine
    rates = ", ".join(f"{rate * 1e-9:.1f} at {size / 2**20:g} MiB" for size, rate in machine.bandwidths.items())
    return found | {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "processor": machine.processor, "ISA level": isa.level(),
        "dtype": settings.dtype, "threads": str(fastnn.get_num_threads()), "peak": f"{machine.peak * 1e-9:.0f} GFLOP/s",
        "copied, GB/s": rates,
    }  # fmt: skip


def summary(results: list[Result], missing: list[str]) -> list[str]:
    """How many goals were met, and whether the table counts."""
    found = cells(results)
    met, low = sum(cell.share >= 1 for cell in found), sum(cell.share < 0.8 for cell in found)
    text = [f"{met} of {len(found)} goals met, {len(found) - met} missed, {low} of them below 0.8 of the goal."]
    if missing:
        text.append(f"The table does not count: {', '.join(NAMES[name] for name in missing)} not installed or left out.")
    return text


def markdown(results: list[Result], settings: Settings, missing: list[str], notes: list[str]) -> str:
    """The whole report."""
    peers = list(settings.peers)
    parts = ["# Kernels against other libraries", "\n".join(f"- {name}: {value}" for name, value in versions(settings).items())]
    parts += [*summary(results, missing), *notes, _table([header(peers), *(line(r, peers) for r in results)])]
    titles = ["goal", "direction", "reached", "asked", ""]
    rows = [[c.name, c.direction, f"{c.reached:.2f}", f"{c.goal:g}", verdict(c.reached, c.goal)] for c in cells(results)]
    parts += ["## Goals", _table([titles, *rows])]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[list[str]]) -> str:
    first, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([first, "|" + "---|" * len(rows[0]), *rest])


def write_json(path: Path, results: list[Result], settings: Settings, missing: list[str], notes: list[str]) -> None:
    """Everything that was measured, for a picture or a comparison."""
    content: dict[str, Any] = {
        "versions": versions(settings), "missing": missing, "notes": notes, "summary": summary(results, missing),
        "rows": [r.as_dict() for r in results], "goals": [c._asdict() for c in cells(results)],
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
