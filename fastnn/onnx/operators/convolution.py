"""Convolution."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F

from ..node import Node, implements
from ..values import check_room
from .windows import spatial_rank, windows


@implements("Conv", lacks=spatial_rank)
def conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Cross-correlation over one or two dimensions."""
    if len(w.shape) != len(x.shape) or list(node.get("kernel_shape") or w.shape[2:]) != list(w.shape[2:]):
        raise ValueError(f"W: shape {tuple(w.shape)} fits neither X of shape {tuple(x.shape)} nor the kernel_shape")
    place = windows(node, x.shape[2:], w.shape[2:])
    check_room((x.shape[0], w.shape[0], *place.size))
    padding = tuple(zip(place.before, place.after, strict=True))
    convolve: Any = F.conv1d if len(x.shape) == 3 else F.conv2d
    return convolve(x, w, b, place.stride, padding, place.dilation, node["group"])
