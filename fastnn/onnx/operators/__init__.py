"""The operators of ONNX by functionals of fastnn, a file a family; importing them fills the table."""

from . import (
    activation,
    arithmetic,
    attention,
    constant,
    convolution,
    elementary,
    linear,
    loss,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    selection,
    shape,
)

__all__ = [
    "activation", "arithmetic", "attention", "constant", "convolution", "elementary", "linear", "loss", "normalization", "pooling",
    "recurrent", "reduction", "resize", "selection", "shape",
]  # fmt: skip
