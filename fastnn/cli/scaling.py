"""``fastnn scaling``: how the cost of a training step grows with a property of the network."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from fastnn import nn
from fastnn.kernels.operator import BACKENDS
from fastnn.measure.scaling_result import Scaling
from fastnn.measure.scaling_study import OPTIMIZERS, scaling

from .arguments import add_outputs, check_outputs, names, positive_float, positive_int
from .console import print_table, show_progress

PROPERTIES = {"depth": 4, "width": 128, "batch": 32, "image": 16, "kernel": 3, "channels": 16}  # and what they are by default
OF_IMAGES = ("image", "kernel", "channels")
MOST = {"depth": 4096, "kernel": 255}  # more would take longer to build than anybody waits
USUAL = ("depth=1..64", "width=16..1024")


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "scaling",
        help="measure how the cost of a training step grows with depth, width, ...",
        description="Measures a chain of layers, Linear and ReLU, or Conv2d and ReLU where a property of images is given.",
    )
    parser.add_argument(
        "--vary", action="append", metavar="NAME=VALUES", type=_vary,
        help=f"what grows ({', '.join(PROPERTIES)}), as 1..64 for doubling or 2,4,8; may be repeated (default: {', '.join(USUAL)})",
    )  # fmt: skip
    for name, default in PROPERTIES.items():
        parser.add_argument(f"--{name}", type=positive_int, metavar="N", help=f"where it does not vary (default: {default})")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="default: sgd")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="may be repeated (default: the fastest)")
    parser.add_argument("--eager", action="store_true", help="also without a plan, as the model's own Python runs")
    parser.add_argument("--peers", type=names, default=[], metavar="NAMES", help="beside torch,jax where they are installed")
    parser.add_argument("--threads", type=positive_int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--budget", type=positive_float, default=1.0, metavar="SECONDS", help="for each value (default: 1)")
    add_outputs(parser)
    parser.set_defaults(run=run)


def _vary(text: str) -> tuple[str, list[int]]:
    """A property and its values."""
    name, _, given = text.partition("=")
    if name not in PROPERTIES or not given:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(PROPERTIES)} and its values, as depth=1..64, got {text!r}")
    try:
        ends = [positive_int(value) for value in (given.split("..", 1) if ".." in given else given.split(","))]
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"expected values as 1..64 or 2,4,8, got {given!r}") from None
    if name in MOST and max(ends) > MOST[name]:
        raise argparse.ArgumentTypeError(f"expected a {name} of at most {MOST[name]}, got {given!r}")
    values = _between(name, *ends) if ".." in given else ends
    if len(values) < 3 or sorted(set(values)) != values:
        raise argparse.ArgumentTypeError(f"expected at least three growing values, got {given!r}")
    if name == "kernel" and not all(value % 2 for value in values):
        raise argparse.ArgumentTypeError(f"expected odd sizes, which keep the size of the image, got {given!r}")
    return name, values


def _between(name: str, first: int, last: int) -> list[int]:
    """Doubling from ``first`` to ``last``, which is the last in any case; a kernel's size grows by two."""
    if name == "kernel":
        return list(range(first, last + 1, 2))
    return [*takewhile(lambda value: value < last, (first << power for power in range(64))), last]


def run(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    check_outputs(options)
    wanted = options.vary or [_vary(text) for text in USUAL]
    for name, values in wanted:
        _fixed(name, values, options)  # before anything is measured
    studies = []
    for name, values in wanted:
        found = _study(name, values, options)
        studies.append(found)
        _print(found)
    if options.plot:
        from fastnn.measure.scaling_picture import draw

        draw(options.plot, studies)
    if options.json:
        content = {"studies": [found.as_dict() for found in studies]}
        Path(options.json).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.markdown:
        Path(options.markdown).write_text("\n".join(found.markdown() for found in studies), encoding="utf-8")
    return 0


def _fixed(name: str, values: Sequence[int], options: argparse.Namespace) -> tuple[bool, dict[str, int]]:
    """Whether the layers are of images, and every property where it does not vary; refused where no such network can be measured."""
    given = {key: getattr(options, key) for key in PROPERTIES}
    images = name in OF_IMAGES or any(given[key] is not None for key in OF_IMAGES)
    if images and (name == "width" or given["width"] is not None):
        raise ValueError("--width: layers of images have channels; leave --image, --kernel and --channels out for dense ones")
    fixed = {key: PROPERTIES[key] if value is None else value for key, value in given.items()}
    if images and not fixed["kernel"] % 2:
        raise ValueError(f"--kernel: expected an odd size, which keeps the size of the image, got {fixed['kernel']}")
    for key, most in MOST.items():
        if fixed[key] > most:
            raise ValueError(f"--{key}: expected at most {most}, got {fixed[key]}")
    needed, there = _bytes(images, **fixed | {name: values[-1]}), _memory()
    if needed > there:
        raise ValueError(
            f"--vary: a step at {name} {values[-1]} needs {needed >> 30} GiB or more, this machine has {there / 2**30:.1f}"
        )
    return images, fixed


def _bytes(images: bool, *, depth: int, width: int, batch: int, image: int, kernel: int, channels: int) -> int:
    """What a step needs at least: weights and what both layers of each pair put out, with gradients, in float32."""
    weights, outputs = (channels**2 * kernel**2, channels * image**2) if images else (width**2, width)
    return 4 * 2 * depth * (weights + 2 * batch * outputs)


def _memory() -> float:
    """Bytes of this machine's memory; infinite where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _study(name: str, values: list[int], options: argparse.Namespace) -> Scaling:
    images, fixed = _fixed(name, values, options)

    def properties(value: int) -> dict[str, int]:
        return fixed | {name: value}

    return scaling(
        lambda value: _network(images, **properties(value)), name, values,
        input_shape=lambda value: _shape(images, **properties(value)), batch_size=lambda value: properties(value)["batch"],
        optimizer=options.optimizer, backends=options.backend, eager=options.eager, peers=options.peers,
        threads=options.threads, budget=options.budget, progress=show_progress if sys.stderr.isatty() else None,
    )  # fmt: skip


def _network(images: bool, *, depth: int, width: int, channels: int, kernel: int, **_: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _number in range(depth):
        layers += [nn.Conv2d(channels, channels, kernel, padding=kernel // 2) if images else nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers)


def _shape(images: bool, *, width: int, channels: int, image: int, **_: int) -> tuple[int, ...]:
    return (channels, image, image) if images else (width,)


def _print(found: Scaling) -> None:
    titles, *rows = found.exponents()
    print_table(
        f"A training step by {found.parameter} = {', '.join(map(str, found.values))}: time ~ value^exponent", titles, rows
    )
    titles, *rows = _times(found)
    print_table("Times", titles, rows)
    for sentence in found.sentences():
        print(f"- {sentence}")
    print(flush=True)


def _times(found: Scaling) -> list[list[str]]:
    """A line for each curve, a column for each value."""
    titles, *rows = found.table()
    lines: dict[str, list[str]] = {}
    for name, _, seconds, *_rest in rows:
        lines.setdefault(name, [name]).append(seconds)
    return [["", *[f"{found.parameter} {value}" for value in found.values]], *lines.values()]
