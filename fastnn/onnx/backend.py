"""The ONNX backend interface: what ``onnx.backend.base`` asks of a library that runs models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastnn.autograd import Tensor, no_grad

from .network import Network, load


class Prepared:
    """A model that is ready to run; made by :func:`prepare`.

    Attributes
    ----------
    network : Network
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def run(self, inputs: Any, **options: Any) -> tuple[np.ndarray, ...]:
        """The outputs as arrays.

        Parameters
        ----------
        inputs : sequence of arrays in the order of the graph's inputs, mapping of their names to arrays, or a single array

        Raises
        ------
        TypeError, ValueError
            Where the inputs do not fit the model.
        """
        names = self.network.input_names
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise ValueError(f"inputs: expected {', '.join(names)}, got {', '.join(map(str, inputs))}")
            inputs = [inputs[name] for name in names]
        elif not isinstance(inputs, Sequence):
            inputs = [inputs]
        with no_grad():
            results = self.network(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple([result.numpy() if isinstance(result, Tensor) else np.asarray(result) for result in results])


def supports_device(device: str) -> bool:
    """Whether models run on ``device``: "CPU", or "CPU:0" and the like."""
    return isinstance(device, str) and device.partition(":")[0].upper() == "CPU"


def is_compatible(model: Any, device: str = "CPU", **options: Any) -> bool:
    """Whether fastnn has everything that a model asks for.

    Raises
    ------
    ValueError
        Where the model is malformed.
    """
    if not supports_device(device):
        return False
    try:
        load(model, **options)
    except NotImplementedError:
        return False
    return True


def prepare(model: Any, device: str = "CPU", **options: Any) -> Prepared:
    """A model ready to run in evaluation mode.

    Parameters
    ----------
    model : what :func:`load` takes as ``file``
    device : str
        Only the CPU.
    **options
        As :func:`load` takes them.

    Raises
    ------
    ValueError
        Where ``device`` is another, or the model is malformed.
    NotImplementedError
        Where the model asks for what fastnn lacks; the message names all of it.
    """
    if not supports_device(device):
        raise ValueError(f"device: fastnn runs on the CPU alone, got {device!r}")
    return Prepared(load(model, **options))
