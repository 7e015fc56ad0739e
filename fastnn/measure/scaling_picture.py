"""Pictures of scaling: times on log-log axes, the law of each, and the slope that theory gives, by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .figures import check_format, new_figure
from .machine import processor
from .scaling_result import PHASES, TELLS, Scaling

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def draw(path: str | os.PathLike[str], studies: Sequence[Scaling]) -> None:
    """Draw one row of panels for each study: forward, backward and update.

    Points are measured times; the line through them is the law that was fitted, solid where it describes them. The dashed grey line
    has the slope that the cost model gives; the dotted vertical line stands where overhead and work take equally long.

    Parameters
    ----------
    path : path-like
        File to write; its ending says the format.
    studies : sequence of Scaling
    """
    check_format(path)
    figure = new_figure(12, 0.6 + 3.8 * len(studies))
    panels = figure.subplots(len(studies), len(PHASES), squeeze=False)
    for row, study in zip(panels, studies, strict=True):
        for axes, phase in zip(row, PHASES, strict=True):
            _panel(axes, study, phase)
        low, high = (extreme([axes.get_ylim() for axes in row], axis=0) for extreme in (np.min, np.max))
        for axes in row:
            axes.set_ylim(low[0], 4 * high[1])  # room for the legend
    threads = {study.threads for study in studies}
    figure.suptitle(f"Time of a training step, {processor()}, threads: {', '.join(map(str, sorted(threads)))}", fontsize=10)
    figure.savefig(path, dpi=110)


def _panel(axes: Any, study: Scaling, phase: str) -> None:
    values = np.array(study.values, float)
    curves = [curve for curve in study.curves if curve.phase == phase]
    axes.set(xscale="log", yscale="log", xlabel=study.parameter, title=phase)
    for curve, colour in zip(curves, COLOURS * (len(curves) // len(COLOURS) + 1), strict=False):
        law = study.law(curve)
        told = law.high - law.low <= TELLS
        label = f"{curve.name}: {law.exponent:.2f} ({law.low:.2f} to {law.high:.2f})" if told else f"{curve.name}: no one law"
        axes.plot(values, curve.seconds, "o", color=colour, markersize=5, label=label)
        inside = np.geomspace(values[law.first], values[law.last], 60)
        axes.plot(inside, [law.at(value) for value in inside], color=colour, linewidth=1.2)
        if values[0] < law.crossover < values[-1]:
            axes.axvline(law.crossover, color=colour, linestyle=":", linewidth=1)
    if curves:
        _theory(axes, study, phase, values, min(curve.seconds[-1] for curve in curves))
    axes.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
    axes.yaxis.set_major_formatter(lambda seconds, _: _seconds(seconds))
    axes.minorticks_off()
    axes.grid(color="0.92", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, loc="upper left", framealpha=0.9, edgecolor="none")


def _theory(axes: Any, study: Scaling, phase: str, values: np.ndarray, last: float) -> None:
    """The operations, brought to a line just below the fastest time at the last value."""
    flops = np.array(study.flops[phase], float)
    label = f"operations: {study.theory(phase):.2f}"
    axes.plot(values, 0.6 * last * flops / flops[-1], color="0.5", linestyle="--", linewidth=1, label=label)


def _seconds(seconds: float) -> str:
    for unit, name in UNITS:
        if seconds >= unit * 0.999:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
