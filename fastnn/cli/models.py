"""The networks that a command can be given: by their sizes, a name, a Python function, an ONNX file, or a file of weights."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastnn
from fastnn import nn
from fastnn.io import load_metadata

from . import networks

HELP = (
    "784-512-10 (sizes of linear layers, ReLU between them), lenet, FILE.py:FUNCTION (which returns a module, or the module and the "
    "shape of a row), FILE.onnx, or FILE.safetensors as 'fastnn train --save' writes it"
)

Shape = tuple[int, ...]


def load(text: str) -> tuple[nn.Module, Shape | None]:
    """A network, and the shape of one row of its input where that is known.

    Raises
    ------
    ValueError, TypeError
        Where the text names no network, or a file holds none.
    OSError
        Where there is no such file.
    ImportError
        Where a file of that kind needs a package that is not installed.

    Examples
    --------
    >>> from fastnn.cli.models import load
    >>> model, shape = load("20-30-5")
    >>> [type(layer).__name__ for layer in model], shape
    (['Linear', 'ReLU', 'Linear'], (20,))
    """
    if re.fullmatch(r"[1-9]\d*(-[1-9]\d*)+", text):
        return _dense([int(size) for size in text.split("-")])
    if text == "lenet":
        return _lenet(), (1, 28, 28)
    path, _, function = text.rpartition(":")
    if path.endswith(".py"):
        return _from_function(Path(path), function)
    if text.endswith(".onnx"):
        return _from_onnx(Path(text))
    if text.endswith(".safetensors"):
        return _from_weights(Path(text))
    raise ValueError(f"--model: expected {HELP}; got {text!r}")


def _dense(sizes: Sequence[int]) -> tuple[nn.Module, Shape]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), (sizes[0],)


def _lenet() -> nn.Module:
    """LeNet-5 with ReLU and maxima, for images of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _from_function(path: Path, name: str) -> tuple[nn.Module, Shape | None]:
    """What a function of a Python file returns; the file's own folder can be imported from."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(f"--model: there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        if not callable(function):
            raise ValueError(f"--model: {path} has no function {name!r}")
        made = function()
    finally:
        sys.path.pop(0)
    network, shape = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(network, nn.Module):
        raise TypeError(f"--model: expected {name}() to return a Module, got {type(network).__name__}")
    return network, None if shape is None else tuple(shape)


def _from_onnx(path: Path) -> tuple[nn.Module, Shape | None]:
    import onnx

    import fastnn.onnx

    if not path.is_file():
        raise FileNotFoundError(f"--model: there is no file {path}")
    network = fastnn.onnx.load(path)
    declared = {value.name: value for value in onnx.load(path, load_external_data=False).graph.input}
    dims = declared[network.input_names[0]].type.tensor_type.shape.dim[1:]
    row = tuple(dim.dim_value for dim in dims)
    return network, row if row and all(row) else None


def _from_weights(path: Path) -> tuple[nn.Module, Shape]:
    """The network that ``fastnn train --save`` described beside its weights."""
    if not path.is_file():
        raise FileNotFoundError(f"--model: there is no file {path}")
    described = _described(path)
    model = networks.build(described["model"], described["input_shape"], described["outputs"])
    model.load_state_dict(fastnn.load(path))
    return model, tuple(described["input_shape"])


def _described(path: Path) -> dict[str, Any]:
    text = load_metadata(path).get("fastnn.network")
    wrong = ValueError(
        f"--model: {path} does not say which network its weights are of; 'fastnn train --save' writes files that do"
    )
    if text is None:
        raise wrong
    try:
        found = json.loads(text)
        shape, outputs = found["input_shape"], found["outputs"]
        sizes = [*shape, outputs]
        if found["model"] not in networks.MODELS or not all(type(size) is int and size > 0 for size in sizes):
            raise wrong
    except (ValueError, KeyError, TypeError):
        raise wrong from None
    return found
