"""Draws docs/kernels.png from what the table measured: python -m benchmarks.picture rows.json"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastnn.measure.bench.kernels import Result
from fastnn.measure.bench.picture import lines_of_rows, ratio_axis, title
from fastnn.measure.figures import new_figure
from fastnn.measure.problems.rows import DIRECTIONS, ROWS

from .report import Report

PICTURE = Path(__file__).parent.parent / "docs" / "kernels.png"
COLUMNS = (
    ("linear", "conv"),
    ("max pool", "average pool", "relu", "sigmoid", "tanh", "gelu", "elu", "softmax", "cross", "Adam", "SGD"),
)
LOOKS = dict(zip(DIRECTIONS, (("tab:blue", "o"), ("tab:orange", "s"), ("0.45", "D")), strict=True))
OFFSETS = dict(zip(DIRECTIONS, (-0.22, 0.0, 0.22), strict=True))


def draw(report: Report, path: Path) -> None:
    """One line a row: the ratio in each direction, left of 1 where a peer is faster, with a bar where a goal stands."""
    ratios = [r.ratio for r in report.results if r.ratio]
    measured = {r.label for r in report.results if r.ratio}
    columns = [[row.label for row in ROWS if row.label in measured and row.label.startswith(starts)] for starts in COLUMNS]
    height = 0.17 * max(map(len, columns)) + 1.6
    figure = new_figure(13, height)
    panels = figure.subplots(1, 2, sharex=True)
    for axes, labels in zip(panels, columns, strict=True):
        _panel(axes, labels, [r for r in report.results if r.label in labels and r.ratio])
        ratio_axis(axes, min([0.5, *(0.9 * ratio for ratio in ratios)]), max([8.0, *(1.1 * ratio for ratio in ratios)]))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(f"{title(report)}\n{report.summary()[0]}", fontsize=10)
    figure.savefig(path, dpi=110)


def _panel(axes: Any, labels: list[str], results: list[Result]) -> None:
    places = {label: place for place, label in enumerate(labels)}
    for direction, (color, marker) in LOOKS.items():
        mine = [r for r in results if r.direction == direction]
        heights = [places[r.label] + OFFSETS[direction] for r in mine]
        axes.hlines(heights, 1, [r.ratio for r in mine], color=color, linewidth=1, alpha=0.6)
        axes.scatter(
            [r.ratio for r in mine],
            heights,
            14,
            color,
            marker=marker,
            label="together" if direction == "both" else direction,
            zorder=3,
        )
        aims = [(r.goal, height) for r, height in zip(mine, heights, strict=True) if r.goal is not None]
        if aims:
            axes.scatter(*zip(*aims, strict=True), 40, color, marker="|", label=f"{direction}, goal", zorder=2)
    lines_of_rows(axes, labels, 8)


def main(argv: list[str] | None = None) -> None:
    """Read, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture", description=__doc__.partition("\n")[0])
    parser.add_argument("json", type=Path, help="what python -m benchmarks.kernels --json wrote")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    options = parser.parse_args(argv)
    draw(Report.load(options.json), options.picture)


if __name__ == "__main__":
    main()
