"""``fastnn train``: train a network, verify its kernels, show what its layers cost."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
from typing import Any

import numpy as np

import fastnn
from fastnn import distributed, nn, optim, random
from fastnn.data import NAMES, Dataset, load_dataset
from fastnn.kernels.operator import BACKENDS
from fastnn.measure import KernelCheck, Profile, profile, verify
from fastnn.measure.profiling import PHASES
from fastnn.training import Callback, LearningRateSchedule, Run, WeightAverage, accuracy, fit, predict

from . import networks
from .arguments import check_target, positive_float, positive_int
from .console import print_table

OPTIMIZERS = {
    "sgd": lambda parameters, lr: optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True),
    "adam": lambda parameters, lr: optim.Adam(parameters, lr=lr),
    "adamw": lambda parameters, lr: optim.AdamW(parameters, lr=lr, weight_decay=0.02),
    "rmsprop": lambda parameters, lr: optim.RMSprop(parameters, lr=lr),
}


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("train", help="train a network, verify its kernels, show what each layer costs")
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help=f"one of {', '.join(NAMES)} (default: digits)")
    parser.add_argument("--data", metavar="PATH", help="a folder with MNIST's IDX files, or an .npz file")
    parser.add_argument(
        "--model", choices=networks.MODELS, help="by default cnn for images, mlp for classes, linear for a regression"
    )
    parser.add_argument("--epochs", type=positive_int, metavar="N")
    parser.add_argument("--batch-size", type=positive_int, metavar="N")
    parser.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="adamw", help="default: adamw")
    parser.add_argument("--lr", type=positive_float, metavar="RATE", help="largest learning rate (it rises, then falls)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the split, the weights and the order (default: 0)")
    parser.add_argument("--backend", choices=BACKENDS, help="run on this backend")
    parser.add_argument("--threads", type=positive_int, metavar="N")
    parser.add_argument("--eager", action="store_true", help="run the model's own Python at each step instead of a plan")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw loss curves, confusion matrix, weights or filters (.png, .svg, .pdf)"
    )
    parser.add_argument("--save", metavar="FILE", help="save the weights as safetensors")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Train, verify, measure, report; 1 where a kernel disagrees with the reference."""
    if options.dataset and options.data:
        raise ValueError(f"give a data set's name or --data, not both: got {options.dataset!r} and --data {options.data}")
    if options.dataset and options.dataset not in NAMES:
        raise ValueError(f"no data set is called {options.dataset!r}; expected one of {', '.join(NAMES)}, or --data PATH")
    for option, needed in (("plot", "matplotlib"), ("save", "safetensors")):
        check_target(option, getattr(options, option), needed)
    comm = distributed.world()
    if options.threads:
        fastnn.set_num_threads(options.threads)
    elif comm is not None:
        distributed.share_processors(comm)
    with contextlib.ExitStack() as stack:
        if comm is not None and comm.Get_rank() > 0:  # the first process speaks for all
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        if options.backend:
            stack.enter_context(fastnn.use_backend(options.backend))
        return _run(options, comm)


def _run(options: argparse.Namespace, comm: Any) -> int:
    data = load_dataset(options.data or options.dataset or "digits", seed=options.seed)
    random.manual_seed(options.seed)
    kind = options.model or networks.default_model(data)
    model, plan = networks.build(kind, data.x_train.shape[1:], data.outputs), networks.recipe(kind, data)
    epochs, batch_size = options.epochs or plan.epochs, min(options.batch_size or plan.batch_size, len(data.x_train))
    lr = options.lr or plan.lr
    loss = nn.CrossEntropyLoss() if data.classes else nn.MSELoss()
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr)
    steps = epochs * -(-len(data.x_train) // batch_size)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps + 1)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{data.name}: {len(data.x_train):,} rows to train, {len(data.x_test):,} held out; {kind}, {parameters:,} parameters")
    if comm is not None:
        print(f"{comm.Get_size()} processes, {fastnn.get_num_threads()} threads each")
    # Checked on fresh weights, whose losses and gradients are of ordinary size, and on both sizes of batch.
    first = comm is None or comm.Get_rank() == 0
    sizes = {batch_size, len(data.x_train) % batch_size or batch_size} if first else ()
    checks = [
        check for n in sorted(sizes, reverse=True) for check in verify(model, data.x_train[:n], data.y_train[:n], loss, optimizer)
    ]
    checks = list({(check.operator, check.shapes): check for check in checks}.values())
    callbacks: list[Callback] = [LearningRateSchedule(schedule, every="batch"), WeightAverage(0.8)]
    if options.save:
        callbacks.append(_Save(options.save, kind, data))
    history = fit(
        model, (data.x_train, data.y_train), validation=(data.x_test, data.y_test), loss=loss, optimizer=optimizer,
        epochs=epochs, batch_size=batch_size, callbacks=callbacks, progress=not options.quiet, eager=options.eager, comm=comm,
    )  # fmt: skip
    if not first:
        return 0
    word = "interrupted after" if history.interrupted else "trained"
    print(f"{word} {history.epochs} epochs in {history.seconds:.1f} s")
    _print_checks(checks)
    _print_costs(_profile(model, data.x_train[:batch_size], data.y_train[:batch_size], loss, optimizer, options.eager))
    prediction = predict(model, data.x_test)
    if options.plot:
        from fastnn.plotting import plot_training

        plot_training(options.plot, model, history, data, prediction)
    if options.save:
        print(f"saved {options.save}")
    _print_result(data, prediction)
    return 0 if all(check.ok for check in checks) else 1


def _print_checks(checks: list[KernelCheck]) -> None:
    rows = []
    for check in checks:
        shapes = " ".join("-" if shape is None else "x".join(map(str, shape)) or "scalar" for shape in check.shapes)
        rows.append(
            [check.operator, check.backend, shapes, f"{check.error:.1e}", f"{check.tolerance:.1e}", "yes" if check.ok else "NO"]
        )
    failed = sum(not check.ok for check in checks)
    verdict = f"{failed} of {len(checks)} disagree" if failed else f"all {len(checks)} agree"
    print_table(
        f"Kernels against the reference in float64: {verdict}",
        ["operator", "backend", "shapes", "max error", "allowed", "agrees"],
        rows,
    )


def _profile(model: nn.Module, x: np.ndarray, y: np.ndarray, loss: nn.Module, optimizer: Any, eager: bool) -> Profile:
    """What a step costs in the way in which the network was trained."""
    if eager:
        return profile(model, x, loss=loss, optimizer=optimizer, target=y, roofline=False, budget=0.5)
    return profile(fastnn.compile(model, loss, optimizer), x, target=y, roofline=False, budget=0.5)


def _print_costs(found: Profile) -> None:
    rows = []
    for layer in found.layers:
        cells = [f"{layer.name} {layer.kind}".strip()]
        for phase in PHASES:
            part = layer.parts.get(phase)
            cells += (
                ["-", "-"] if part is None else [f"{part.seconds * 1e3:.3f}", f"{part.flops / 1e6:.3f}" if part.flops else "-"]
            )
        rows.append([*cells, found.scaled(layer.seconds)])
    rows.append([found.between, *["-"] * 6, found.scaled(found.rest)])
    columns = ["layer", "forward ms", "MFLOP", "backward ms", "MFLOP", "update ms", "MFLOP", "share"]
    print_table(f"Cost of a step of {found.input_shape[0]} rows: {found.total * 1e3:.2f} ms", columns, rows)


class _Save(Callback):
    """Writes the weights after every epoch and at the end, with a description that a reader can build the network again from."""

    def __init__(self, path: str, kind: str, data: Dataset) -> None:
        self._path, self._kind, self._data = path, kind, data

    def on_epoch_end(self, run: Run) -> None:
        data = self._data
        described = {
            "model": self._kind,
            "dataset": data.name,
            "input_shape": list(data.x_train.shape[1:]),
            "outputs": data.outputs,
            "classes": list(data.classes),
            "layers": [repr(layer) for layer in run.model.children()],
            "epochs": run.epoch,
        }
        if run.is_first:
            fastnn.save(run.model.state_dict(), self._path, metadata={"fastnn.network": json.dumps(described)})

    on_end = on_epoch_end


def _print_result(data: Dataset, prediction: np.ndarray) -> None:
    if data.classes:
        print(f"held-out accuracy: {100 * accuracy(prediction, data.y_test):.1f} %")
        return
    error = prediction.astype(np.float64) - data.y_test
    rmse = math.sqrt(np.mean(error**2)) * data.target_scale
    spread = np.sum((data.y_test - data.y_test.mean(0, dtype=np.float64)) ** 2)
    r2 = 1 - np.sum(error**2) / spread if spread else math.nan
    print(f"held-out RMSE: {rmse:.4g}, R2: {r2:.2f}")
