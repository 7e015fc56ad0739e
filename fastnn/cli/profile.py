"""``fastnn profile``: what each layer of a network costs."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn import nn, random
from fastnn.kernels.operator import BACKENDS
from fastnn.measure.profiling import Profile, profile
from fastnn.measure.profiling.tables import COLUMNS, notes, rows, title

from . import models
from .arguments import add_outputs, check_outputs, check_target, positive_float, positive_int
from .console import print_table
from .train import OPTIMIZERS

LOSSES = {"cross_entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss, "l1": nn.L1Loss, "bce_with_logits": nn.BCEWithLogitsLoss}
LEAST_WANTED = (
    "special",
    "memory KB",
    "ran",
    "MB",
    "FLOP/B",
    "spread",
    "GB/s",
)  # columns that go first where a terminal is narrow


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("profile", help="show what each layer's forward and backward pass cost")
    parser.add_argument("--model", default="784-512-10", metavar="NETWORK", help=f"{models.HELP} (default: 784-512-10)")
    parser.add_argument("--input", type=_shape, metavar="SHAPE", help="of one row, as 3x32x32, where the network does not tell")
    parser.add_argument("--batch-size", type=positive_int, default=64, metavar="N", help="default: 64")
    parser.add_argument("--loss", choices=sorted(LOSSES), help="by default cross_entropy for a row of scores, else mse")
    parser.add_argument("--optimizer", choices=[*sorted(OPTIMIZERS), "none"], help="default: adam; none: neither update nor plan")
    parser.add_argument("--inference", action="store_true", help="measure predictions instead of steps of training")
    parser.add_argument("--eager", action="store_true", help="run the model's own Python at each step instead of a plan")
    parser.add_argument("--backend", choices=BACKENDS, help="run on this backend")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    parser.add_argument("--threads", type=positive_int, metavar="N")
    parser.add_argument("--budget", type=positive_float, default=2.0, metavar="SECONDS", help="to measure for (default: 2)")
    parser.add_argument("--report", metavar="FILE", help="write tables and pictures as one HTML file")
    add_outputs(parser)
    parser.set_defaults(run=run)


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"expected sizes as 3x32x32, got {text!r}")
    return tuple(int(size) for size in text.split("x"))


def run(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    check_outputs(options)
    check_target("report", options.report)
    for option in ("loss", "optimizer"):
        if options.inference and getattr(options, option) is not None:
            raise ValueError(f"--{option}: a prediction has none; leave it or --inference out, got {getattr(options, option)}")
    if options.threads:
        fastnn.set_num_threads(options.threads)
    with fastnn.use_backend(options.backend) if options.backend else contextlib.nullcontext():
        found = _profile(options)
    _print(found)
    if options.plot:
        found.plot(options.plot)
    if options.json:
        Path(options.json).write_text(json.dumps(found.as_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.markdown:
        Path(options.markdown).write_text(found.markdown(), encoding="utf-8")
    if options.report:
        found.report(options.report)
    return 0


def _profile(options: argparse.Namespace) -> Profile:
    random.manual_seed(0)
    model, known = models.load(options.model)
    shape = options.input or known
    if shape is None:
        raise ValueError("--input: the network does not tell the shape of a row, expected one as 3x32x32")
    model.to(np.dtype(options.dtype))
    parameters, optimizer = list(model.parameters()), None
    if parameters and options.optimizer != "none" and not options.inference:
        optimizer = OPTIMIZERS[options.optimizer or "adam"](parameters, 1e-3)
    return profile(
        model, shape, options.batch_size, loss=LOSSES[options.loss]() if options.loss else None, optimizer=optimizer,
        training=not options.inference, compiled=not options.eager and (options.inference or optimizer is not None),
        budget=options.budget,
    )  # fmt: skip


def _print(found: Profile) -> None:
    lines = [list(COLUMNS), *rows(found)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 180
    kept = list(range(len(COLUMNS)))
    for column in LEAST_WANTED:
        if sum(max(len(line[index]) for line in lines) + 2 for index in kept) + 2 > room:
            kept.remove(COLUMNS.index(column))
    print_table(title(found), *_columns(lines, kept))
    for note in notes(found):
        print(f"- {note}")


def _columns(lines: list[list[str]], kept: list[int]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of some columns."""
    header, *rest = [[line[index] for index in kept] for line in lines]
    return header, rest
