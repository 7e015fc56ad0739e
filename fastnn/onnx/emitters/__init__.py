"""fastnn's operators as nodes of ONNX, a file for each kind; importing them fills the writer's table."""

from . import arrangement, elementwise, layers, windows

__all__ = ["arrangement", "elementwise", "layers", "windows"]
