"""The rows of the table and what each must reach, as data. A goal is a ratio: the best peer's time over ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

Shape = tuple[int, ...]

DIRECTIONS = ("forward", "backward", "both")  # both: the forward pass that records, then the backward pass
UPDATES = ("Adam", "SGD")


@dataclass(frozen=True)
class Row:
    """One problem that is measured forward, backward, and both together.

    Attributes
    ----------
    label : str
    operation : str
        Name in ``fastnn.functional`` or, for an update of parameters, in ``fastnn.optim``.
    shapes : mapping
        Argument -> its shape, in the order of the call.
    options : mapping
        The other arguments, or the optimiser's options.
    goals : mapping
        Direction -> goal.
    allowed : float or None
        Seconds that the forward call may take in all.
    group : str
        Rows of one group have one goal together, in GROUPS.
    precision : str
        Of convolutions; "fast" allows Winograd's F(4x4,3x3).
    numba : bool
        Whether the row counts in the comparison of Cython with Numba.
    packed : bool
        Whether the weight is packed beforehand, as ONNX Runtime packs its constants; measured forward alone.
    threads : bool
        Whether the row is measured on two threads where it is compute-bound and long enough.
    """

    label: str
    operation: str
    shapes: Mapping[str, Shape]
    options: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    allowed: float | None = None
    group: str = ""
    precision: str = "default"
    numba: bool = False
    threads: bool = False
    packed: bool = False

    @property
    def updates(self) -> bool:
        """Whether this is an update of parameters."""
        return self.operation in UPDATES

    @property
    def directions(self) -> tuple[str, ...]:
        """What can be measured: an update has one direction, and so has a packed weight, which is for inference."""
        return DIRECTIONS[:1] if self.updates or self.packed else DIRECTIONS


def _goals(forward: float | None = None, backward: float | None = None, both: float | None = None) -> dict[str, float]:
    found = dict(zip(DIRECTIONS, (forward, backward, both), strict=True))
    return {direction: goal for direction, goal in found.items() if goal is not None}


class Group(NamedTuple):
    """What rows must reach together.

    Attributes
    ----------
    mean : dict
        Direction -> goal for the geometric mean.
    lowest : float
        None of the rows may be below it.
    """

    mean: Mapping[str, float]
    lowest: float = 0.0


GROUPS = {
    "conv 3x3 N=1": Group(_goals(1.2, 1.2), 1.0),
    "conv 3x3 N=16": Group(_goals(1.0, 1.0), 0.9),
    "conv 3x3 fast N=16": Group(_goals(1.2, 1.2)),
    "conv few channels": Group(_goals(1.5, 4.0)),
}
NUMBA_GOAL = 0.5  # Cython's time over Numba's, geometric mean of forward and of backward
THREADS_GOAL = 1.8  # two threads over one, of each compute-bound case above THREADS_FROM
THREADS_FROM = 10e-3  # seconds


def _linear(rows: int, inputs: int, outputs: int, *goals: float, label: str = "", allowed: float | None = None) -> Row:
    shapes = {"x": (rows, inputs), "w": (outputs, inputs), "b": (outputs,)}
    label = label or f"{rows}x{inputs}->{outputs}"
    return Row(f"linear {label}", "linear", shapes, goals=_goals(*goals), allowed=allowed, numba=True, threads=True)


def _conv(
    label: str, batch: int, image: Shape, outputs: int, kernel: int, *goals: float,
    group: str = "", precision: str = "default", **options: int,
) -> Row:  # fmt: skip
    channels = image[0] // options.get("groups", 1)
    shapes = {"x": (batch, *image), "w": (outputs, channels, kernel, kernel), "b": (outputs,)}
    return Row(
        f"conv {label} N={batch}", "conv2d", shapes, options, _goals(*goals), group=group, precision=precision, numba=True, threads=True
    )  # fmt: skip


def _linear_rows() -> Iterator[Row]:
    yield _linear(1, 4, 4, 1.0, allowed=1.5e-6)
    for size, forward, backward in ((64, 2.0, 6.0), (256, 2.0, 6.0), (1024, 1.2, 2.0), (4096, 1.0, 2.0)):
        yield _linear(1, size, size, forward, backward)
    yield _linear(32, 784, 128, 1.3, 1.7)
    yield _linear(128, 784, 256, 1.15, 1.15)
    yield _linear(128, 1024, 1024, 1.15, 1.15)
    for rows, inputs, outputs in ((32, 784, 128), (128, 784, 256), (128, 1024, 1024)):
        packed = _linear(rows, inputs, outputs, label=f"{rows}x{inputs}->{outputs}, packed weight")
        yield replace(packed, packed=True, numba=False, threads=False)
    yield _linear(512, 2048, 2048, 0.97, 0.97)
    for size in (512, 1024, 2048):
        yield _linear(size, size, size, 0.97, 0.97, label=f"square {size}")


def _conv_rows() -> Iterator[Row]:
    for batch, precision, name in ((1, "default", "3x3"), (16, "default", "3x3"), (16, "fast", "3x3 fast")):
        for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
            image, group = (channels, size, size), f"conv {name} N={batch}"
            yield _conv(
                f"{name} {channels}x{size}x{size}", batch, image, channels, 3, group=group, precision=precision, padding=1
            )
    for batch in (1, 16):
        yield _conv("1x1 64x56x56->256", batch, (64, 56, 56), 256, 1, 1.0, 1.0)
        yield _conv("1x1 256x14x14->1024", batch, (256, 14, 14), 1024, 1, 1.0, 1.0)
        yield _conv("3x3 stride 2 64x56x56->128", batch, (64, 56, 56), 128, 3, 1.0, 1.0, stride=2, padding=1)
        yield _conv("3x3 dilated 2 64x56x56->64", batch, (64, 56, 56), 64, 3, 1.0, 1.0, dilation=2, padding=2)
    for batch in (1, 16):
        few = "conv few channels"
        yield _conv("5x5 1x28x28->6", batch, (1, 28, 28), 6, 5, group=few)
        yield _conv("3x3 3x32x32->32", batch, (3, 32, 32), 32, 3, group=few, padding=1)
        yield _conv("7x7 stride 2 3x224x224->64", batch, (3, 224, 224), 64, 7, group=few, stride=2, padding=3)
    for batch, channels, size, forward, backward in (
        (1, 384, 14, 2.5, 2.5), (16, 384, 14, 2.5, 2.5), (1, 96, 56, 2.5, 2.5), (16, 96, 56, 1.3, 1.8),
    ):  # fmt: skip
        label = f"depthwise 3x3 {channels}x{size}x{size}"
        yield _conv(label, batch, (channels, size, size), channels, 3, forward, backward, padding=1, groups=channels)


def _pooling_rows() -> Iterator[Row]:
    for batch, channels, size in ((1, 64, 112), (16, 64, 112), (64, 32, 28)):
        shapes = {"x": (batch, channels, size, size)}
        label = f"{channels}x{size}x{size} N={batch}"
        average = _goals(1.0 if batch == 16 else 1.5, 1.5)
        yield Row(f"max pool 2x2 {label}", "max_pool2d", shapes, {"kernel_size": 2}, _goals(1.5, 1.5), numba=True)
        three = {"kernel_size": 3, "stride": 2, "padding": 1}
        yield Row(f"max pool 3x3 stride 2 {label}", "max_pool2d", shapes, three, _goals(1.5, 1.5), numba=True)
        yield Row(f"average pool 2x2 {label}", "avg_pool2d", shapes, {"kernel_size": 2}, average, numba=True)
        yield Row(f"average pool global {label}", "global_avg_pool", shapes, {}, average, numba=True)


def _elementwise_rows() -> Iterator[Row]:
    goals = {
        "relu": ((1.5, 1.5), (1.3, 1.0)), "sigmoid": ((2.0, 2.0), (2.0, 1.0)), "tanh": ((2.0, 2.0), (2.0, 1.0)),
        "gelu": ((2.0, 2.0), (2.0, 1.5)), "elu": ((2.0, 2.0), (2.0, 1.5)),
    }  # fmt: skip
    for name, (small, medium) in goals.items():
        for label, size, pair in (("1e3", 1_000, small), ("1e5", 100_000, medium), ("1e7", 10_000_000, (1.0, 1.0))):
            yield Row(f"{name} {label}", name, {"x": (size,)}, goals=_goals(*pair))


def _row_rows() -> Iterator[Row]:
    for batch, classes, goal in ((128, 10, 1.5), (128, 1000, 1.5), (4096, 4096, 1.0)):
        yield Row(f"softmax {batch}x{classes}", "softmax", {"x": (batch, classes)}, {"dim": 1}, _goals(goal, goal))
    for batch, classes in ((128, 10), (128, 1000), (4096, 4096)):
        shapes = {"x": (batch, classes), "t": (batch,)}
        yield Row(f"cross entropy {batch}x{classes}", "cross_entropy", shapes, goals=_goals(4.0, None, 4.0))
    for label, size in (("1M", 1_000_000), ("10M", 10_000_000)):
        yield Row(f"Adam {label}", "Adam", {"p": (size,)}, {"lr": 1e-3}, _goals(1.0))
        yield Row(f"SGD momentum {label}", "SGD", {"p": (size,)}, {"lr": 1e-3, "momentum": 0.9}, _goals(1.0))


ROWS = (*_linear_rows(), *_conv_rows(), *_pooling_rows(), *_elementwise_rows(), *_row_rows())
