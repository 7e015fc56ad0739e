"""Time to an accuracy on MNIST's held-out digits, by plans and by PyTorch: python -m benchmarks.mnist FOLDER

Both train the same networks from the same weights, with Adam in batches of 64 and a learning rate that falls along half a cosine, epoch
by epoch; PyTorch runs eager, with its fused optimiser and, for convolutions, its channels_last layout. The order of the rows is drawn
by each library itself. Only training is timed, from the moment when the data are loaded: making a plan is a part of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn.data import Dataset, load_dataset
from fastnn.training import predict

BATCH = 64


class Contest(NamedTuple):
    """A network, how long it is trained at most, and the accuracy to reach."""

    name: str
    layers: Callable[[Any], list[Any]]
    epochs: int
    rate: float
    goal: float


CONTESTS = (
    Contest("784-128-10", lambda n: [n.Flatten(), n.Linear(784, 128), n.ReLU(), n.Linear(128, 10)], 12, 2e-3, 0.98),
    Contest(
        "conv16-pool-conv32-pool-128-10",
        lambda n: [
            n.Conv2d(1, 16, 3, padding=1), n.ReLU(), n.MaxPool2d(2), n.Conv2d(16, 32, 3, padding=1), n.ReLU(), n.MaxPool2d(2),
            n.Flatten(), n.Linear(32 * 7 * 7, 128), n.ReLU(), n.Linear(128, 10),
        ],
        4, 2e-3, 0.99,
    ),
)  # fmt: skip


def rates(contest: Contest) -> list[float]:
    """The learning rate of each epoch."""
    return [contest.rate * 0.5 * (1 + math.cos(math.pi * epoch / contest.epochs)) for epoch in range(contest.epochs)]


def by_plan(contest: Contest, data: Dataset, weights: dict[str, np.ndarray]) -> Iterator[Callable[[], np.ndarray]]:
    """Train; after each epoch, what predicts the held-out rows."""
    model = nn.Sequential(*contest.layers(nn))
    model.load_state_dict(weights)
    optimizer = optim.Adam(model.parameters())
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optimizer)
    for rate in rates(contest):
        optimizer.param_groups[0]["lr"] = rate
        plan.epoch(data.x_train, data.y_train, batch_size=BATCH)
        yield lambda: predict(model, data.x_test)


def by_torch(contest: Contest, data: Dataset, weights: dict[str, np.ndarray]) -> Iterator[Callable[[], np.ndarray]]:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(fastnn.get_num_threads())
    layout: Any = torch.channels_last if len(contest.layers(torch.nn)) > 4 else torch.contiguous_format
    model = torch.nn.Sequential(*contest.layers(torch.nn))
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()})
    model = model.to(memory_format=layout)
    x = torch.from_numpy(data.x_train).contiguous(memory_format=layout)
    y = torch.from_numpy(data.y_train.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for rate in rates(contest):
        optimizer.param_groups[0]["lr"] = rate
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            yield lambda: model(torch.from_numpy(data.x_test)).numpy()


def race(contest: Contest, data: Dataset, train: Callable[..., Any], weights: dict[str, np.ndarray]) -> list[str]:
    """Epochs until the goal is reached, or all of them: one line of the table."""
    seconds, accuracy = [], 0.0
    epochs = train(contest, data, weights)
    while len(seconds) < contest.epochs and accuracy < contest.goal:
        start = perf_counter()
        prediction = next(epochs)
        seconds.append(perf_counter() - start)
        accuracy = float(np.mean(prediction().argmax(1) == data.y_test))
    reached = f"{sum(seconds):.2f} s" if accuracy >= contest.goal else "not reached"
    return [f"{min(seconds):.3f} s", str(len(seconds)), f"{100 * accuracy:.2f} %", reached]


def main() -> None:
    """Train each network by each library, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="with MNIST's four files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", metavar="TEXT", default="", help="networks whose name contains the text")
    options = parser.parse_args()
    fastnn.set_num_threads(options.threads)
    fastnn.manual_seed(0)
    data = load_dataset(options.folder)
    rivals: dict[str, Callable[..., Any]] = {"fastnn": by_plan}
    if importlib.util.find_spec("torch") is not None:
        rivals["PyTorch"] = by_torch
    print("| network | library | fastest epoch | epochs | held-out accuracy | time to goal |", "|" + " --- |" * 6, sep="\n")
    for contest in CONTESTS:
        if options.only not in contest.name:
            continue
        weights = nn.Sequential(*contest.layers(nn)).state_dict()
        for library, train in rivals.items():
            cells = [f"{contest.name} to {100 * contest.goal:g} %", library, *race(contest, data, train, weights)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
