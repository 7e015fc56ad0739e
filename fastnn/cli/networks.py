"""The networks of ``fastnn train``, and how each is trained by default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fastnn import nn
from fastnn.data import Dataset

MODELS = ("linear", "mlp", "cnn")


class Recipe(NamedTuple):
    """How to train: for so many epochs, in such batches, with a learning rate that rises to ``lr`` and falls again."""

    epochs: int
    batch_size: int
    lr: float


def default_model(data: Dataset) -> str:
    """A CNN for images, an MLP for classes of rows, a linear model for a regression (the MLP overfits a small table)."""
    if data.has_images:
        return "cnn"
    return "mlp" if data.classes else "linear"


def recipe(kind: str, data: Dataset) -> Recipe:
    """Epochs, batch size and learning rate for a model on so much data."""
    large = len(data.x_train) > 10_000
    if large:
        return {"linear": Recipe(8, 64, 2e-3), "mlp": Recipe(12, 128, 3e-3), "cnn": Recipe(5, 64, 4e-3)}[kind]
    if data.has_images:
        return {"linear": Recipe(30, 32, 1e-2), "mlp": Recipe(40, 32, 5e-3), "cnn": Recipe(20, 64, 8e-3)}[kind]
    return {"linear": Recipe(60, 16, 1e-2), "mlp": Recipe(60, 16, 5e-3), "cnn": Recipe(60, 16, 5e-3)}[kind]


def build(kind: str, shape: Sequence[int], outputs: int) -> nn.Sequential:
    """A new network for rows of a shape, which are images where it has three dimensions.

    Raises
    ------
    ValueError
        Where a CNN is wanted for rows that are no images, or images too small for it.
    """
    if kind == "cnn":
        return _cnn(shape, outputs)
    has_images, size = len(shape) == 3, math.prod(shape)
    if kind == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(size, outputs))
    width = 32 if not has_images else 256 if size > 400 else 128
    rate = 0.3 if has_images else 0.1
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(size, width), nn.ReLU(), nn.Dropout(rate),
        nn.Linear(width, width), nn.ReLU(), nn.Dropout(rate),
        nn.Linear(width, outputs),
    )  # fmt: skip


def _cnn(shape: Sequence[int], outputs: int) -> nn.Sequential:
    if len(shape) != 3:
        raise ValueError(f"--model cnn: needs images, but a row is {math.prod(shape)} numbers; use linear or mlp")
    channels, height, width = shape
    if min(height, width) < 4:
        raise ValueError(f"--model cnn: needs images of at least 4 x 4, got {height} x {width}")
    if min(height, width) < 16:  # one pooling: two would leave little of the picture
        features, pooled = 32 * (height // 2) * (width // 2), [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    else:
        features = 32 * (height // 4) * (width // 4)
        pooled = [nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
        *pooled,
        nn.Flatten(), nn.Dropout(0.25),
        nn.Linear(features, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, outputs),
    )  # fmt: skip
