"""Draws docs/kernels.png: how many times as fast as the NumPy reference each kernel is, on one thread.

python benchmarks/picture.py
"""

from pathlib import Path
from time import perf_counter

import matplotlib
import numpy as np
from threadpoolctl import threadpool_limits

import fastnn
from fastnn import dispatch
from fastnn.kernels import find
from fastnn.kernels.examples import cases, draw

OPERATORS = [
    "linear",
    "conv2d",
    "max_pool2d",
    "avg_pool2d",
    "relu",
    "gelu",
    "sigmoid",
    "softmax",
    "cross_entropy",
    "batch_norm",
    "adam",
]
PICTURE = Path(__file__).parent.parent / "docs" / "kernels.png"


def seconds(case, backend, repeats=9, budget=0.4):
    """The fastest of several timings of one call."""
    args = draw(case, "float32")
    with dispatch.use_backend(backend):
        out = dispatch.run(case.operator, args)
        best, start = np.inf, perf_counter()
        while repeats > 0 or perf_counter() - start < budget:
            before = perf_counter()
            dispatch.run(case.operator, args, out)
            best, repeats = min(best, perf_counter() - before), repeats - 1
    return best


def largest(operator):
    """The operator's example with the most bytes."""

    def size(case):
        return sum(a.nbytes for a in draw(case, "float32") if isinstance(a, np.ndarray))

    return max((case for case in cases() if case.operator is operator), key=size)


def processor():
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "this processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "this processor")


def main():
    """Measure, print and draw."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fastnn.set_num_threads(1)
    labels, ratios = [], {"cython": [], "numba": []}
    with threadpool_limits(limits=1):
        for name in OPERATORS:
            for operator in (find(name), find(name).backward):
                if operator is None:
                    continue
                case = largest(operator)
                reference = seconds(case, "reference")
                for backend, values in ratios.items():
                    values.append(reference / seconds(case, backend))
                labels.append(operator.name)
                print(f"{operator.name:<26}" + "".join(f"{backend} {values[-1]:7.2f}x   " for backend, values in ratios.items()))
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(labels) + 1.2), layout="constrained")
    places = np.arange(len(labels))
    for offset, (backend, values) in zip((-0.2, 0.2), ratios.items(), strict=True):
        axes.barh(places + offset, np.array(values) - 1, 0.4, left=1, label=backend.capitalize())
        for place, value in zip(places + offset, values, strict=True):
            side = "left" if value >= 1 else "right"
            axes.annotate(
                f"{value:.3g}",
                (value, place),
                (3 if value >= 1 else -3, 0),
                textcoords="offset points",
                ha=side,
                va="center",
                size=7,
            )
    axes.set(
        xscale="log",
        xlabel="times as fast as the NumPy reference (float32, one thread)",
        title=f"fastnn {fastnn.__version__} on {processor()}",
        yticks=places,
        yticklabels=labels,
    )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.1, y=0.01)
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
