"""Pictures of a training, by matplotlib (imported inside; no window is opened)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastnn.data import Dataset
from fastnn.measure.figures import check_format, new_figure
from fastnn.nn import Conv2d, Linear, Module
from fastnn.training import History


def plot_training(path: str | os.PathLike[str], model: Module, history: History, data: Dataset, prediction: np.ndarray) -> None:
    """Draw loss curves, the confusion matrix (targets against predictions for a regression), and the first layer's weights.

    Parameters
    ----------
    path : path-like
        File to write; its ending says the format.
    model : Module
    history : History
    data : Dataset
    prediction : array
        The model's output for ``data.x_test``.

    Raises
    ------
    ValueError
        Where the ending is not that of a picture.
    """
    check_format(path)
    figure = new_figure(15, 5)
    curves, result, weights = figure.subfigures(1, 3, squeeze=False)[0]
    _draw_curves(curves.subplots(), history)
    if data.classes:
        _draw_confusion(result.subplots(), data, prediction)
    else:
        _draw_regression(result.subplots(), data, prediction)
    _draw_weights(weights, model, data)
    figure.savefig(path)


def confusion_matrix(target: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts: a row for each true class, a column for each predicted one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.plotting import confusion_matrix
    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
    array([[1, 0],
           [1, 1]])
    """
    return np.bincount(target * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def _draw_curves(axes: Any, history: History) -> None:
    for name, label in (("loss", "training"), ("val_loss", "held out")):
        if name in history:
            axes.plot(range(1, history.epochs + 1), history[name], label=label)
    axes.set(title="Loss", xlabel="epoch", yscale="log")
    if history.epochs:
        axes.legend()


def _draw_confusion(axes: Any, data: Dataset, prediction: np.ndarray) -> None:
    count = len(data.classes)
    counts = confusion_matrix(data.y_test, prediction.argmax(1), count)
    axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    if count <= 20:
        for row, column in np.argwhere(counts):
            color = "white" if counts[row, column] > counts[row].sum() / 2 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color)
        axes.set_xticks(range(count), data.classes, rotation=90)
        axes.set_yticks(range(count), data.classes)
    axes.set(title="Held-out rows", xlabel="predicted", ylabel="true")


def _draw_regression(axes: Any, data: Dataset, prediction: np.ndarray) -> None:
    target, predicted = (values * data.target_scale + data.target_mean for values in (data.y_test, prediction))
    axes.plot(target.ravel(), predicted.ravel(), ".")
    axes.axline((float(target.mean()), float(target.mean())), slope=1, color="gray")
    axes.set(title="Held-out rows", xlabel="true", ylabel="predicted")


def _draw_weights(figure: Any, model: Module, data: Dataset) -> None:
    """Filters of a first convolution, templates of a layer that sees images, else the weights as one matrix."""
    layers = [layer for layer in model.modules() if isinstance(layer, (Conv2d, Linear))]
    if not layers:
        return
    first = layers[0]
    weight = first.weight.numpy()
    if isinstance(first, Linear) and not data.has_images:
        axes = figure.subplots()
        limit = float(np.abs(weight).max()) or 1.0
        axes.imshow(weight, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        axes.set(title="Weights of the first layer", xlabel="input", ylabel="output")
        return
    pictures = weight.mean(1) if isinstance(first, Conv2d) else weight.reshape(len(weight), *data.x_train.shape[1:]).mean(1)
    shown = pictures[:36]
    columns = int(np.ceil(np.sqrt(len(shown))))
    grid = figure.subplots(-(-len(shown) // columns), columns, squeeze=False)
    limit = float(np.abs(shown).max()) or 1.0
    titles = data.classes if len(layers) == 1 else ()
    for number, axes in enumerate(grid.ravel()):
        axes.set_axis_off()
        if number < len(shown):
            axes.imshow(shown[number], cmap="RdBu", vmin=-limit, vmax=limit)
            if number < len(titles):
                axes.set_title(titles[number], fontsize="small")
    if isinstance(first, Conv2d):
        figure.suptitle("First-layer filters")
    else:
        figure.suptitle("Weight templates" if len(layers) == 1 else "First-layer weights")
