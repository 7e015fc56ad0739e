"""A picture of a comparison: how many times as fast as the best peer each row is, with its interval."""

from __future__ import annotations

import os
from typing import Any

from ..figures import check_format, new_figure
from ..peers import TITLES
from .kernels import Result
from .report import Run

COLOURS = {"faster": "tab:green", "even": "0.45", "slower": "tab:red", "uncertain": "tab:orange"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64)


def draw(path: str | os.PathLike[str], run: Run) -> None:
    """Draw a panel for each direction or contest; left of 1 a peer is faster.

    Parameters
    ----------
    path : path-like
        File to write; its ending says the format.
    run : Run
    """
    check_format(path)
    groups = {direction: [r for r in results if r.ratio] for direction, results in run.groups().items()}
    groups = {direction: results for direction, results in groups.items() if results}
    if not groups:
        raise ValueError("plot: there is nothing to draw, since nobody was compared with")
    heights = [len(results) + 1 for results in groups.values()]
    figure = new_figure(9, 0.22 * sum(heights) + 1.2 + 0.3 * len(groups))
    panels = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (direction, results) in zip(panels, groups.items(), strict=True):
        _panel(axes, direction, results)
    edges = [edge for results in groups.values() for r in results for edge in (r.low, r.high) if edge]
    ratio_axis(panels[-1], min(0.8, 0.9 * min(edges)), max(2.0, 1.1 * max(edges)))
    handles = [panels[0].plot([], [], "o", color=colour, label=verdict)[0] for verdict, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS), fontsize=8, frameon=False)
    figure.suptitle(title(run), fontsize=9)
    figure.savefig(path, dpi=110)


def title(run: Run) -> str:
    """Two lines: who is compared with, and what with."""
    facts = run.versions
    peers = ", ".join(f"{name} {facts[name]}" for name in TITLES.values() if name in facts)
    return (
        f"Times as fast as the best of {peers}\nfastnn {facts['fastnn']}, {facts['dtype']}, threads: {facts['threads']}, "
        f"{facts['processor']}, {facts['ISA level']}"
    )


def ratio_axis(axes: Any, low: float, high: float) -> None:
    """The axis of ratios from ``low`` to ``high``, in steps of two."""
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set(xscale="log", xlim=(low, high), xlabel="best peer's time over ours; grey: the peer is faster")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def lines_of_rows(axes: Any, labels: list[str], size: float) -> None:
    """A line for each row, the first one on top; the part where a peer is faster is grey."""
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.axvspan(1e-3, 1, color="0.95", zorder=0)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="y", color="0.92", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _panel(axes: Any, direction: str, results: list[Result]) -> None:
    for place, result in enumerate(results):
        colour = COLOURS.get(result.verdict, "black")
        axes.hlines(place, result.low, result.high, color=colour, linewidth=2, alpha=0.6)
        axes.plot(result.ratio, place, "o", color=colour, markersize=4)
    lines_of_rows(axes, [f"{result.label} ({TITLES[result.best]})" for result in results], 7)
    axes.set_title(direction, fontsize=9, loc="left")
