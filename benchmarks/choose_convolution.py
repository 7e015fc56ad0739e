"""Measures the compiled algorithms of convolution on a grid of shapes and writes which one to take: ``kernels/convolution/choices.h``.

``python -m benchmarks.choose_convolution`` takes about two minutes; the extension has to be built again afterwards.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn.kernels import isa
from fastnn.measure import interleaved

CHANNELS = (64, 128, 256, 512)
SIDES = (7, 14, 28, 56)
BATCHES = (1, 4, 16)
TASKS = ("forward", "data gradient")
MOST_FLOPS = 4e9  # of one measurement; larger problems take the choice of a smaller batch
ADVANTAGE = 0.95  # what another algorithm's time must be of the first one's, so that noise does not choose
KINDS = {
    "3x3": (3, ("winograd", "direct")),
    "3x3, fast": (3, ("winograd", "winograd_fast", "direct")),
}  # kernel, and candidates: the first one wins a tie
TARGET = Path(__file__).parents[1] / "kernels" / "convolution" / "choices.h"


def _problem(kernels: Any, kernel: int, channels: int, side: int, batch: int, task: str) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((batch, channels, side, side), np.float32) for _ in range(2))
    w = rng.standard_normal((channels, channels, kernel, kernel), np.float32)
    geometry = ((1, 1), (kernel // 2,) * 4, (1, 1), 1)
    if task == "forward":
        return lambda: kernels.conv2d(x, w, None, *geometry, y)
    return lambda: kernels.conv2d_backward(y, x, w, *geometry, x, None, None)


def _forced(kernels: Any, name: str, compute: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        kernels.force(name)
        compute()

    return run


def _choose(kernels: Any, kind: str, channels: int, side: int, batch: int, task: str) -> str:
    """The fastest candidate; one that is not the first has to be so twice."""
    kernel, names = KINDS[kind]
    compute = _problem(kernels, kernel, channels, side, batch, task)
    for _ in range(2):
        times = interleaved({name: _forced(kernels, name, compute) for name in names}, budget=0.4)
        kernels.force(None)
        best = min(times, key=lambda name: times[name].seconds)
        if times[best].seconds >= ADVANTAGE * times[names[0]].seconds:
            return names[0]
        names = (names[0], best)
    return best


def choices(kernels: Any, kind: str, task: str) -> list[list[list[int]]]:
    """For all channels, sides and batches, the number of the algorithm."""
    table: list[list[list[int]]] = []
    for channels in CHANNELS:
        table.append([])
        for side in SIDES:
            row: list[int] = []
            for batch in BATCHES:
                if row and 2 * batch * (channels * side * KINDS[kind][0]) ** 2 > MOST_FLOPS:
                    row.append(row[-1])
                    continue
                name = _choose(kernels, kind, channels, side, batch, task)
                print(f"{kind} {task} {channels}x{side}x{side} N={batch}: {name}", flush=True)
                row.append(kernels.NAMES.index(name))
            table[-1].append(row)
    return table


def main() -> None:
    fastnn.set_num_threads(1)
    kernels = importlib.import_module(f"fastnn.kernels.convolution.cython_kernels_{isa.level()}")
    legend = ", ".join(f"{index} {name}" for index, name in enumerate(kernels.NAMES))
    parts = [choices(kernels, kind, task) for kind in KINDS for task in TASKS]
    body = ",\n    ".join(str(part).replace("[", "{").replace("]", "}").replace("}}, ", "}},\n     ") for part in parts)
    TARGET.write_text(
        f"/* Written by benchmarks/choose_convolution.py. {legend};\n"
        f"   for {', '.join(f'{kind} {task}' for kind in KINDS for task in TASKS)};\n"
        f"   for {CHANNELS} channels, sides {SIDES}, batches {BATCHES}. */\n"
        f"static const unsigned char fastnn_convolution_choices[{len(parts)}][{len(CHANNELS)}][{len(SIDES)}][{len(BATCHES)}] = {{\n"
        f"    {body},\n}};\n"
    )


if __name__ == "__main__":
    main()
