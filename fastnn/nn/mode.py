"""Training and evaluation mode for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .module import Module


@contextmanager
def mode_kept(model: Module, training: bool | None = None) -> Iterator[None]:
    """Put all modules into a mode (None: leave them as they are), and give each its own back at the end of the block.

    Examples
    --------
    >>> from fastnn import nn
    >>> from fastnn.nn.mode import mode_kept
    >>> model = nn.Sequential(nn.Dropout(0.5))
    >>> with mode_kept(model, training=False):
    ...     model[0].training
    False
    >>> model[0].training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
