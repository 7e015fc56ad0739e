"""Models from and for elsewhere: ONNX files in and out. Needs the package onnx (``pip install 'fastnn[onnx]'``)."""

try:
    import onnx as _onnx  # noqa: F401  # all modules here do; said once, in plain words
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "onnx":
        raise
    raise ImportError("fastnn.onnx needs the package onnx: pip install 'fastnn[onnx]'") from None

from .backend import Prepared, is_compatible, prepare, supports_device
from .export import export
from .lacking import supported_operators
from .network import Network, load

__all__ = ["Network", "Prepared", "export", "is_compatible", "load", "prepare", "supported_operators", "supports_device"]
